//! The command that applies a mitigation. It gets a shell, a process group of its own and a limit; whatever is left of the group
//! is killed at its limit, or at the end of the run.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// A mitigation.
#[derive(Debug, Clone)]
pub struct Hook {
    /// For `sh -c`.
    pub command: String,
    /// It is killed when it takes longer.
    pub limit: Duration,
}

/// Kills what is left of a mitigation's process group when it goes out of scope.
#[derive(Debug)]
pub struct Applied {
    group: Option<Pid>,
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Nobody is left, most of the time.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Hook {
    /// Runs it to its end, to its limit, or until `stop`. What it left running in its group stays as long as the guard. Says what
    /// became of it.
    pub async fn run(&self, rate: f64, stop: &CancellationToken) -> (Applied, String) {
        let spawned = Command::new("sh")
            .args(["-c", &self.command])
            .env("OVERLOAD_PHASE", "mitigation")
            .env("OVERLOAD_CRITICAL_RATE", format!("{rate:.3}"))
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                return (Applied { group: None }, format!("mitigation: cannot be started: {error}"));
            }
        };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let applied = Applied { group };
        let told = tokio::select! {
            told = ended(&mut child) => told,
            () = tokio::time::sleep(self.limit) => {
                drop(applied);
                return (Applied { group: None }, format!("mitigation: killed, it took longer than {:?}", self.limit));
            }
            () = stop.cancelled() => {
                drop(applied);
                return (Applied { group: None }, "mitigation: killed by the end of the run".to_owned());
            }
        };
        (applied, told)
    }
}

async fn ended(child: &mut Child) -> String {
    match child.wait().await {
        Ok(status) if status.success() => "mitigation: applied".to_owned(),
        Ok(status) => format!("mitigation: the command failed ({status})"),
        Err(error) => format!("mitigation: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn run(command: &str, limit: Duration) -> (Applied, String) {
        let hook = Hook { command: command.to_owned(), limit };
        hook.run(450.0, &CancellationToken::new()).await
    }

    fn alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A zombie is dead.
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    async fn dies(pid: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive(pid) {
            assert!(Instant::now() < deadline, "{pid} lives");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn the_command_knows_the_rate_and_its_end_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rate");
        let command = format!("echo $OVERLOAD_CRITICAL_RATE > {}", file.display());
        let (_applied, told) = run(&command, Duration::from_secs(30)).await;
        assert_eq!(told, "mitigation: applied");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "450.000\n");
        let (_applied, told) = run("exit 3", Duration::from_secs(30)).await;
        assert!(told.contains("failed") && told.contains('3'), "{told}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; wait", file.display());
        let (_applied, told) = run(&command, Duration::from_millis(500)).await;
        assert!(told.contains("killed, it took longer than 500ms"), "{told}");
        dies(&std::fs::read_to_string(file).unwrap()).await;
    }

    #[tokio::test]
    async fn what_it_left_running_is_killed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let (applied, told) =
            run(&format!("sleep 600 & echo $! > {}", file.display()), Duration::from_secs(30)).await;
        assert_eq!(told, "mitigation: applied");
        let pid = std::fs::read_to_string(file).unwrap();
        assert!(alive(&pid));
        drop(applied);
        dies(&pid).await;
        let stop = CancellationToken::new();
        stop.cancel();
        let hook = Hook { command: "sleep 600".to_owned(), limit: Duration::from_secs(600) };
        assert!(hook.run(1.0, &stop).await.1.contains("by the end of the run"));
    }
}
