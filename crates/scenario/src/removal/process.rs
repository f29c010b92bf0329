//! Processes, told from all others since the machine's start: a process id is used again, and means another process elsewhere.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Inode of this process's PID namespace.
pub(crate) fn space() -> std::io::Result<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid")?;
    let link = link.to_string_lossy();
    let inode = link.strip_prefix("pid:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
    inode.ok_or_else(|| std::io::Error::other(format!("/proc/self/ns/pid is {link:?}")))
}

/// When this process was started, in clock ticks since the machine's start.
pub(crate) fn started() -> std::io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    started_by(&stat).ok_or_else(|| std::io::Error::other("/proc/self/stat cannot be read"))
}

/// Has the process of this namespace ended that had this id and was started then? `false` when that cannot be told.
pub(crate) fn has_ended(pid: u32, started: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => started_by(&stat) != Some(started),
        // Another user's may be hidden, and is there all the same.
        Err(_) => match i32::try_from(pid).ok().and_then(Pid::from_raw) {
            Some(pid) => test_kill_process(pid) == Err(Errno::SRCH),
            None => false,
        },
    }
}

fn started_by(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may contain anything; the 22nd is the start.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie is dead: only its parent has not noticed yet.
    let alive = !matches!(fields.next()?, "Z" | "X" | "x");
    alive.then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_dead() {
        let stat = |state: &str| {
            format!("7 (a) b ({state}) {state} 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9 9")
        };
        assert_eq!(started_by(&stat("S")), Some(4711));
        for state in ["Z", "X"] {
            assert_eq!(started_by(&stat(state)), None, "{state}");
        }
        assert_eq!(started_by("7 (short) S 1"), None);
    }

    #[test]
    fn this_process_runs_and_one_with_its_id_that_was_started_earlier_has_ended() {
        let (pid, started) = (std::process::id(), started().unwrap());
        assert!(!has_ended(pid, started));
        assert!(has_ended(pid, started - 1));
    }
}
