//! What is to be done, with the settings of whoever does it.

use std::path::PathBuf;

use lab::LabConfig;

use crate::settings::Runs;
use crate::{compare, explain, metastable, reap};

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Print the scenarios and experiments.
    List,
    /// Serve the servers and proxies of a lab until a signal.
    ServeLab(LabConfig),
    /// Run scenarios.
    Run(Box<Runs>),
    /// Run experiments on metastable failure.
    Metastable(metastable::Settings),
    /// Say what is expected.
    Explain(explain::Settings),
    /// Judge these journals.
    Judge(Vec<PathBuf>),
    /// Report on these runs.
    Report(Vec<PathBuf>),
    /// Compare two runs.
    Compare(compare::Settings),
    /// Print a text.
    Print(String),
    /// Write files, by their names, into a folder.
    Write {
        /// It need not exist.
        dir: PathBuf,
        /// Names and contents.
        files: Vec<(String, String)>,
    },
    /// Take away what dead runs have left.
    Reap(reap::Settings),
}
