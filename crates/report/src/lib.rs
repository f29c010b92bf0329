//! Reports: texts, pages and files from a journal and its verdict. Pure until something writes.
//!
//! Whatever comes from outside (names, notes, errors) goes through [`plain`], and then through the escaping of its format:
//! maud's for HTML, `junit`'s for XML, `markdown`'s for Markdown.

mod charts;
mod dose;
mod history;
mod html;
mod junit;
mod markdown;
mod measures;
mod page;
mod recovery;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use observation::journal::Journal;
use verdict::Verdict;

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use table::table;

/// File name of the page of a run within its folder.
pub const PAGE: &str = "report.html";

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
    write_whole(&dir.join("verdict.json"), &json)?;
    write_whole(&dir.join("summary.md"), &markdown(verdict))?;
    write_whole(&dir.join("junit.xml"), &junit(verdict))?;
    write_whole(&page, &html(journal, verdict))?;
    Ok(page)
}

/// Beside it first, then in its place: a reader never sees half a file.
pub fn write_whole(path: &Path, text: &str) -> Result<(), WriteError> {
    let write = || {
        let beside = path.with_extension("tmp");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| WriteError { path: path.to_owned(), error })
}

/// Text from outside without what steers a terminal or a reader's eye: control characters, and marks that turn the
/// direction of what follows.
fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => ' ',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// At most `most` characters, and an ellipsis where some are missing.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
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
