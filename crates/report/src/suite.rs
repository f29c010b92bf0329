//! The record of several runs: which ran when, and how each ended. Written anew after each run, so that a suite that was killed
//! leaves a whole file.

use std::io;
use std::path::{Path, PathBuf};

use observation::json;
use serde::{Deserialize, Serialize};

use crate::{WriteError, write_whole};

/// Version of the record's form.
pub const SUITE_VERSION: u32 = 1;
/// Its file name within the suite's folder, which is beside the run folders.
pub const SUITE_FILE: &str = "suite.json";

/// Several runs. Readers ignore what they do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// [`SUITE_VERSION`].
    pub v: u32,
    /// Unix milliseconds.
    pub began_ms: u64,
    /// Unix milliseconds; absent: it still runs, or was killed.
    pub ended_ms: Option<u64>,
    /// Version of the tool that ran it.
    pub tool_version: String,
    /// Runs side by side at most.
    pub jobs: u32,
    /// In the order in which they were asked for; those that have ended.
    pub runs: Vec<SuiteRun>,
    /// One entry a scenario that was run more than once, as far as its runs have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<Repeated>,
}

/// One run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteRun {
    /// Scenario name.
    pub scenario: String,
    /// Name of the run folder, beside the suite's; empty: there is none.
    pub dir: String,
    /// As [`verdict::Ruling::name`]; `ERROR` when there was no run.
    pub result: String,
    /// Why it is not a pass, the strongest first.
    pub reasons: Vec<String>,
    /// Unix milliseconds.
    pub began_ms: u64,
    /// Unix milliseconds.
    pub ended_ms: u64,
    /// Which of the runs side by side, from 1.
    pub job: u32,
    /// Which run of its scenario, from 1.
    pub attempt: u32,
    /// Ended on purpose before its time, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Inconclusive, and run again: its result does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rerun: bool,
}

/// All runs of one scenario together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// Scenario name.
    pub scenario: String,
    /// The majority's, as [`verdict::Ruling::name`].
    pub result: String,
    /// `deterministic`, `noisy` or `bistable`.
    pub class: String,
    /// Runs that have ended.
    pub runs: u32,
}

/// Why there is no record to read.
#[derive(Debug, thiserror::Error)]
#[error("suite {path}: {error}")]
pub struct ReadError {
    path: PathBuf,
    error: io::Error,
}

impl Suite {
    /// Writes it into `dir`, whole or not at all.
    pub fn write(&self, dir: &Path) -> Result<(), WriteError> {
        let path = dir.join(SUITE_FILE);
        let written = serde_json::to_string_pretty(self).map_err(io::Error::from);
        written.and_then(|text| write_whole(&path, &text)).map_err(|error| WriteError { path, error })
    }

    /// Reads it from `dir`.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let path = dir.join(SUITE_FILE);
        let read = std::fs::read(&path).and_then(|bytes| json::read(&bytes).map_err(io::Error::other));
        read.map_err(|error| ReadError { path, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_read_back_as_it_was_written_and_a_later_version_is_read_too() {
        let run = SuiteRun {
            scenario: "a".into(),
            dir: "t-a".into(),
            result: "INCONCLUSIVE".into(),
            reasons: vec!["because".into()],
            began_ms: 3,
            ended_ms: 4,
            job: 1,
            attempt: 2,
            stopped: Some("a signal".into()),
            rerun: true,
        };
        let repeated =
            Repeated { scenario: "a".into(), result: "PASS".into(), class: "noisy".into(), runs: 3 };
        let suite = Suite {
            v: SUITE_VERSION,
            began_ms: 1,
            ended_ms: None,
            tool_version: "0".into(),
            jobs: 2,
            runs: vec![run],
            repeated: vec![repeated],
        };
        let dir = tempfile::tempdir().unwrap();
        suite.write(dir.path()).unwrap();
        assert_eq!(Suite::read(dir.path()).unwrap(), suite);
        let later = r#"{"v":2,"began_ms":1,"ended_ms":null,"tool_version":"0","jobs":1,"of_tomorrow":1,
            "runs":[{"scenario":"a","dir":"d","result":"PASS","reasons":[],"began_ms":1,"ended_ms":2,"job":1,"attempt":1}]}"#;
        std::fs::write(dir.path().join(SUITE_FILE), later).unwrap();
        assert_eq!(Suite::read(dir.path()).unwrap().runs[0].stopped, None);
        std::fs::write(dir.path().join(SUITE_FILE), "{").unwrap();
        assert!(Suite::read(dir.path()).unwrap_err().to_string().contains(SUITE_FILE));
    }
}
