//! Reports: texts and files from a verdict. Pure until [`write_all`] writes.

mod junit;
mod markdown;
pub mod suite;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use verdict::Verdict;

pub use junit::junit;
pub use markdown::markdown;
pub use table::table;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("report {path}: {error}")]
pub struct WriteError {
    path: PathBuf,
    error: io::Error,
}

/// Writes `verdict.json`, `summary.md` and `junit.xml` into `dir`, each whole or not at all.
pub fn write_all(dir: &Path, verdict: &Verdict) -> Result<(), WriteError> {
    let failed = |path: &Path, error: io::Error| WriteError { path: path.to_owned(), error };
    let path = dir.join("verdict.json");
    let json = serde_json::to_string_pretty(verdict).map_err(|error| failed(&path, error.into()))?;
    for (name, text) in
        [("verdict.json", json), ("summary.md", markdown(verdict)), ("junit.xml", junit(verdict))]
    {
        let path = dir.join(name);
        write_whole(&path, &text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Beside it first, then in its place: a reader never sees half a file.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Text from outside without control characters: it must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Milliseconds for people.
fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Numbers of a run with their names, in reading order: the same in every report.
fn measures(verdict: &Verdict) -> Vec<(String, String)> {
    let m = &verdict.measures;
    let mut rows = vec![
        ("baseline goodput".to_owned(), format!("{:.0} ops/s ± {:.0}", m.baseline_goodput, m.baseline_sigma)),
        ("time to first error".to_owned(), millis(m.time_to_error_ms)),
    ];
    for (server, ms) in &m.time_to_trip_ms {
        rows.push((
            format!("time to trip, {}", plain(server)),
            ms.map_or("no trip".to_owned(), |ms| millis(Some(ms))),
        ));
    }
    rows.push(("goodput retained".to_owned(), m.goodput_retained.map_or("-".to_owned(), percent)));
    let classes: Vec<String> =
        m.error_share_by_class.iter().map(|(class, share)| format!("{class} {}", percent(*share))).collect();
    let classes = if classes.is_empty() { "none".to_owned() } else { classes.join(", ") };
    rows.push(("errors under the fault".to_owned(), classes));
    rows.push(("errors of healthy servers".to_owned(), percent(m.healthy_error_share)));
    rows.push(("time to close".to_owned(), millis(m.time_to_close_ms)));
    rows.push(("time to recover".to_owned(), millis(m.time_to_recover_ms)));
    for phase in ["stabilization", "testing", "recovery"] {
        if let Some([p50, p99]) = m.latency_ms.get(phase) {
            rows.push((format!("latency p50 / p99, {phase}"), format!("{p50:.2} / {p99:.2} ms")));
        }
    }
    rows.push(("wrong values".to_owned(), format!("{} of {} ops", m.wrong_values, m.ops)));
    rows
}

#[cfg(test)]
mod tests;
