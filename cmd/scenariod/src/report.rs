//! `scenariod report`: the files of recorded runs anew, and a page of several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::report::suite::{SUITE_FILE, SUITE_VERSION, Suite, SuiteRun};
use ::report::{SUITE_PAGE, SUITE_TABLE, suite_markdown, suite_page, write, write_all};
use observation::Record;
use observation::journal::Journal;
use telemetry::output::print;
use verdict::Verdict;

use crate::failure::{Failure, infrastructure, usage};

/// Judges each run, writes its files beside its journal, and for several runs or a suite a page of all.
pub fn main(runs: &[PathBuf]) -> Result<u8, Failure> {
    if let [suite] = runs
        && suite.join(SUITE_FILE).is_file()
    {
        return of_suite(suite);
    }
    let folders: Vec<PathBuf> = runs.iter().map(|path| folder(path)).collect();
    let mut runs = Vec::new();
    let mut verdicts = BTreeMap::new();
    for dir in &folders {
        let (journal, verdict) = one(dir)?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        runs.push(recorded(&journal, &verdict, name.clone()));
        verdicts.insert(name, verdict);
    }
    if folders.len() < 2 {
        return Ok(0);
    }
    let Some(parent) =
        folders[0].parent().filter(|first| folders.iter().all(|dir| dir.parent() == Some(*first)))
    else {
        return Err(usage(anyhow::anyhow!(
            "the reports are written, but a page of all needs runs that lie in one folder: copy them beside each other"
        )));
    };
    let suite = Suite {
        v: SUITE_VERSION,
        began_ms: runs.iter().map(|run| run.began_ms).min().unwrap_or_default(),
        ended_ms: runs.iter().map(|run| run.ended_ms).max(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        jobs: 1,
        runs,
        repeated: Vec::new(),
    };
    let pages = Pages { suite, verdicts };
    print(&format!("{}\n", pages.write(parent, Path::new(""))?.display()));
    Ok(0)
}

/// Writes the files of each run of a suite anew, then its page.
fn of_suite(dir: &Path) -> Result<u8, Failure> {
    for run in folders_of(&dir.join(".."), &Suite::read(dir).map_err(infrastructure)?)? {
        // A run that was deleted keeps its line.
        if let Err(failure) = one(&run) {
            tracing::warn!("{:#}", failure.error());
        }
    }
    print(&format!("{}\n", Pages::read(dir)?.write(dir, Path::new(".."))?.display()));
    Ok(0)
}

/// A suite's record, and what its journals say.
pub struct Pages {
    suite: Suite,
    /// By run folder.
    verdicts: BTreeMap<String, Verdict>,
}

impl Pages {
    /// The suite whose record is in `dir`, with the journals of its runs.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let suite = Suite::read(dir).map_err(infrastructure)?;
        Self::of(suite, &dir.join(".."))
    }

    /// A suite whose run folders are in `runs`.
    pub fn of(suite: Suite, runs: &Path) -> Result<Self, Failure> {
        let mut verdicts = BTreeMap::new();
        for run in folders_of(runs, &suite)? {
            if let Ok(journal) = Journal::read(&run) {
                let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
                verdicts.insert(name, verdict::judge(&journal));
            }
        }
        Ok(Self { suite, verdicts })
    }

    /// Page and table into `dir`, from which the way to the run folders is `runs`; gives the page.
    pub fn write(&self, dir: &Path, runs: &Path) -> Result<PathBuf, Failure> {
        self.write_table(&dir.join(SUITE_TABLE))?;
        let path = dir.join(SUITE_PAGE);
        write(&path, &suite_page(&self.suite, &self.verdicts, runs)).map_err(infrastructure)?;
        Ok(path)
    }

    /// The table alone.
    pub fn write_table(&self, path: &Path) -> Result<(), Failure> {
        write(path, &suite_markdown(&self.suite, &self.verdicts)).map_err(infrastructure)
    }
}

/// The run folders of a suite, which are in `runs`.
fn folders_of(runs: &Path, suite: &Suite) -> Result<Vec<PathBuf>, Failure> {
    let names = suite.runs.iter().map(|run| run.dir.as_str()).filter(|name| !name.is_empty());
    let folder = |name: &str| {
        // The record may come from elsewhere: only a name, never a way to another place.
        match Path::new(name).file_name() {
            Some(own) if own == name => Ok(runs.join(own)),
            _ => Err(usage(anyhow::anyhow!("{SUITE_FILE}: {name:?} is not the name of a run folder"))),
        }
    };
    names.map(folder).collect()
}

fn one(dir: &Path) -> Result<(Journal, Verdict), Failure> {
    let journal = Journal::read(dir).map_err(infrastructure)?;
    if let Some((said, _)) = crate::metastable::said(&journal) {
        let dir = dir.display();
        return Err(usage(anyhow::anyhow!(
            "{dir}: a run of an experiment on metastable failure ({said}); it has its page already"
        )));
    }
    let verdict = verdict::judge(&journal);
    let page = write_all(dir, &journal, &verdict).map_err(infrastructure)?;
    print(&format!("{:<18}{}\n", verdict.name(), page.display()));
    Ok((journal, verdict))
}

/// A journal is named by its folder; `.` and `..` have no name of their own.
fn folder(path: &Path) -> PathBuf {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

/// What a journal says of its run, as a suite records it.
fn recorded(journal: &Journal, verdict: &Verdict, dir: String) -> SuiteRun {
    let began_ms = journal.entries.iter().find_map(|entry| match &entry.record {
        Record::Run(run) => Some(run.wall_ms),
        _ => None,
    });
    let began_ms = began_ms.unwrap_or_default();
    let last_us = journal.entries.iter().map(|entry| entry.at_us).max().unwrap_or_default();
    SuiteRun {
        scenario: verdict.scenario.clone(),
        dir,
        result: verdict.name().to_owned(),
        reasons: verdict.reasons.clone(),
        began_ms,
        ended_ms: began_ms.saturating_add(last_us / 1000),
        job: 1,
        attempt: 1,
        stopped: verdict.stopped.clone(),
        rerun: false,
    }
}
