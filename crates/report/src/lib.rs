//! Reports: texts, pages and files from a journal and its verdict. Pure until something writes.
//!
//! Whatever comes from outside (names, notes, errors) goes through `plain`, and then through the escaping of its format:
//! maud's for HTML, `junit`'s for XML, `markdown`'s for Markdown.

mod brief;
mod charts;
pub mod compare;
mod dose;
mod experiment;
mod history;
mod html;
mod junit;
mod markdown;
mod measures;
mod metastable;
mod not_asked;
mod overload;
mod page;
mod recovery;
pub mod suite;
mod suite_markdown;
mod suite_page;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use observation::journal::Journal;
use verdict::Verdict;

use ::page::cut;

pub use ::page::plain;
pub use brief::{brief, line};
pub use experiment::{
    CellRun, CellRuns, EXPERIMENT_FILE, EXPERIMENT_VERSION, Experiment, Found, GridRow, Sweep, Try, of_sweep,
    write_experiment,
};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use metastable::metastable_page;
pub use overload::{OverloadRun, overload};
pub use page::tone;
pub use suite_markdown::suite_markdown;
pub use suite_page::suite_page;
pub use table::table;

/// File name of the page of a run within its folder.
pub const PAGE: &str = "report.html";
/// File name of the page of a suite.
pub const SUITE_PAGE: &str = "suite.html";
/// File name of the table of a suite.
pub const SUITE_TABLE: &str = "suite.md";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("report {path}: {error}")]
pub struct WriteError {
    path: PathBuf,
    error: io::Error,
}

/// Writes `verdict.json`, `summary.md`, `junit.xml` and [`PAGE`] into `dir`, each whole or not at all. Gives the path of the page.
pub fn write_all(dir: &Path, journal: &Journal, verdict: &Verdict) -> Result<PathBuf, WriteError> {
    let json = serde_json::to_string_pretty(verdict)
        .map_err(|error| WriteError { path: dir.join("verdict.json"), error: error.into() })?;
    let page = dir.join(PAGE);
    write(&dir.join("verdict.json"), &json)?;
    write(&dir.join("summary.md"), &markdown(verdict))?;
    write(&dir.join("junit.xml"), &junit(verdict))?;
    write(&page, &html(journal, verdict))?;
    Ok(page)
}

/// Writes one file, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<(), WriteError> {
    write_whole(path, text).map_err(|error| WriteError { path: path.to_owned(), error })
}

/// Beside it first, then in its place: a reader never sees half a file.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    // A device or a pipe must not be replaced by a file.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    let beside = path.with_extension("tmp");
    let filled = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    filled.and_then(|()| std::fs::rename(&beside, path)).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Milliseconds for people.
fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms.abs() < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests;
