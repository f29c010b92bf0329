//! Memory of processes and containers, ten times a second.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lab::{Lab, Servers};
use observation::clock::RunClock;
use observation::{Memory, Record};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(100);
/// Bytes of a file of the kernel that are read: it is a number, or a page of lines.
const TEXT_MAX: usize = 16 * 1024;

/// A process or a container whose memory is watched. As text: a process's id, or the folder of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    name: String,
    of: Of,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    Process(u32),
    Group(PathBuf),
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, of) = match text.parse() {
            Ok(id) => (format!("process {id}"), Of::Process(id)),
            Err(_) if text.starts_with('/') => (text.to_owned(), Of::Group(PathBuf::from(text))),
            Err(_) => return Err("write a process's id, or the folder of a control group".to_owned()),
        };
        let watched = Self { name, of };
        if watched.bytes().is_none() {
            return Err(format!("{} cannot be read", watched.file().display()));
        }
        Ok(watched)
    }
}

impl Watched {
    fn process(name: impl Into<String>, id: u32) -> Self {
        Self { name: name.into(), of: Of::Process(id) }
    }

    fn file(&self) -> PathBuf {
        match &self.of {
            Of::Process(id) => PathBuf::from(format!("/proc/{id}/status")),
            Of::Group(folder) => folder.join("memory.current"),
        }
    }

    /// `None`: it is gone, or this is no Linux.
    fn bytes(&self) -> Option<u64> {
        // Files of the kernel are made when they are read: they do not block.
        let text = std::fs::read_to_string(self.file()).ok()?;
        let text = text.get(..text.len().min(TEXT_MAX))?;
        match self.of {
            Of::Group(_) => text.trim().parse().ok(),
            Of::Process(_) => {
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
                line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
            }
        }
    }
}

/// A lab's memcached, this process, and `more`.
pub(crate) fn targets(lab: &Lab, more: &[Watched]) -> Vec<Watched> {
    let mut targets = vec![Watched::process("load, database and proxy", std::process::id())];
    if let Servers::Real(servers) = lab.servers() {
        let named = |(index, id)| Watched::process(format!("memcached{}", index + 1), id);
        targets.extend(servers.iter().map(|server| server.id()).enumerate().map(named));
    }
    targets.extend(more.iter().cloned());
    targets
}

/// Until `stop`; what is gone is silent.
pub(crate) async fn watch(
    targets: Vec<Watched>,
    (clock, records): (RunClock, mpsc::Sender<Record>),
    stop: CancellationToken,
) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = stop.cancelled() => return,
        }
        for target in &targets {
            let Some(bytes) = target.bytes() else { continue };
            let memory = Memory { at_us: clock.now_us(), name: target.name.clone(), bytes };
            if records.send(Record::Memory(memory)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_a_group_are_read_and_others_refused() {
        let own: Watched = std::process::id().to_string().parse().unwrap();
        assert!(own.bytes().unwrap() > 100_000);
        let group = tempfile::tempdir().unwrap();
        std::fs::write(group.path().join("memory.current"), "123456\n").unwrap();
        let watched: Watched = group.path().to_str().unwrap().parse().unwrap();
        assert_eq!(watched.bytes(), Some(123_456));
        for bad in ["memcached", "/nowhere", "4294967295"] {
            assert!(bad.parse::<Watched>().is_err(), "{bad}");
        }
    }
}
