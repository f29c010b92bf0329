//! Files that tell an external agent what to do when. Each is whole or not there; the number in it only grows, over runs too.

use std::path::{Path, PathBuf};

use anyhow::Context;
use observation::clock::wall_ms;

/// The load begins to grow: whatever the agent wants to disturb, it may now.
pub const INJECTION: &str = "main_injection_timestamp.txt";
/// The target has failed under load: whatever the agent can do about it, it should now.
pub const MITIGATION: &str = "mitigation_trigger.txt";
/// Longest marker that is read back.
const BYTES_MAX: u64 = 4096;

/// Writes markers into one directory, or nowhere.
#[derive(Debug)]
pub struct Markers {
    dir: Option<PathBuf>,
    sequence: u64,
}

impl Markers {
    /// Into `dir`, which is made if it is missing; goes on counting where the markers in it end.
    pub fn new(dir: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = dir else { return Ok(Self { dir: None, sequence: 0 }) };
        std::fs::create_dir_all(dir).with_context(|| format!("--marker-dir {}", dir.display()))?;
        let last = [INJECTION, MITIGATION].iter().filter_map(|name| sequence(&dir.join(name))).max();
        Ok(Self { dir: Some(dir.to_owned()), sequence: last.unwrap_or(0) })
    }

    /// Writes a marker: Unix seconds on the first line, then `name: value` lines, `end` on the last.
    pub fn write(&mut self, name: &str, phase: &str, rate: f64, because: &str) -> anyhow::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        self.sequence += 1;
        let (seconds, because) = (wall_ms() as f64 / 1e3, because.replace(['\n', '\r'], " "));
        let text = format!(
            "{seconds:.3}\nsequence: {}\nphase: {phase}\nrate: {rate:.3}\nbecause: {because}\nend\n",
            self.sequence
        );
        report::write(&dir.join(name), &text).context("--marker-dir")
    }
}

/// The number in a marker; `None`: there is no such file, or it is none of ours.
fn sequence(path: &Path) -> Option<u64> {
    if std::fs::metadata(path).ok()?.len() > BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("sequence: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_over_markers_and_over_runs() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("markers");
        let mut markers = Markers::new(Some(&inside)).unwrap();
        markers.write(INJECTION, "load_increase", 50.0, "now").unwrap();
        markers.write(MITIGATION, "mitigation", 450.0, "slow\nand bad").unwrap();
        let mut again = Markers::new(Some(&inside)).unwrap();
        again.write(INJECTION, "load_increase", 50.0, "again").unwrap();
        let numbers = [INJECTION, MITIGATION].map(|name| sequence(&inside.join(name)));
        assert_eq!(numbers, [Some(3), Some(2)]);
        let text = std::fs::read_to_string(inside.join(MITIGATION)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].parse::<f64>().unwrap() > 1.7e9, "{text}");
        assert_eq!(
            lines[1..],
            ["sequence: 2", "phase: mitigation", "rate: 450.000", "because: slow and bad", "end"]
        );
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn ten_thousand_polls_never_see_half_a_marker() {
        let dir = tempfile::tempdir().unwrap();
        let mut markers = Markers::new(Some(dir.path())).unwrap();
        markers.write(MITIGATION, "mitigation", 1.0, "first").unwrap();
        let path = dir.path().join(MITIGATION);
        let done = std::sync::atomic::AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                let because = "x".repeat(2_000);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    markers.write(MITIGATION, "mitigation", 1.0, &because).unwrap();
                }
            });
            let mut last = 0;
            let mut changes = 0;
            for _ in 0..10_000 {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.ends_with("\nend\n") && text.lines().count() == 6, "{text:?}");
                let now = sequence(&path).unwrap();
                assert!(now >= last);
                changes += u32::from(now > last);
                last = now;
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            changes
        });
        assert!(seen >= 2, "it was never written meanwhile");
    }

    #[test]
    fn without_a_directory_nothing_is_written() {
        Markers::new(None).unwrap().write(INJECTION, "x", 1.0, "y").unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = Markers::new(Some(&dir.path().join("file"))).unwrap_err();
        assert!(format!("{error:#}").contains("--marker-dir"), "{error:#}");
    }
}
