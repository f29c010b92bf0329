//! Where a run takes place, what it ends with, and why there is none.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use observation::journal::JournalError;
use observation::{EndStatus, Fault, Hello};
use tokio::sync::watch;
use toxiproxy::ClientError;

use super::observe::NoStream;
use super::onlooker::Onlooker;
use super::stable::UntilStable;
use super::status::Status;
use crate::backends::BackendError;
use crate::backends::toxiproxy::{TestProxies, Toxiproxy};
use crate::metrics::Metrics;
use crate::removal::claim::ClaimError;
use crate::removal::janitor::JanitorError;
use crate::stop::StopRule;

/// Where a run takes place.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The Toxiproxy through which the client reaches its servers.
    pub toxiproxy: Toxiproxy,
    /// Does the Toxiproxy end with this process, and its faults with it?
    pub inside: bool,
    /// The proxies through which it does.
    pub proxies: TestProxies,
    /// Base URL of the observation stream.
    pub observe: String,
    /// Folder of the run folders.
    pub runs: PathBuf,
    /// Patience for the stream's hello.
    pub wait: Duration,
    /// Where phases and toxics are exported.
    pub metrics: Metrics,
    /// What ends a run, or a phase of it, before its time.
    pub endings: Endings,
    /// Sees the journals as they are written.
    pub onlooker: Onlooker,
    /// Which phase it is, and the goodput.
    pub status: watch::Sender<Status>,
    /// Version written into the journal.
    pub tool_version: String,
    /// Which breakers a fault must open.
    pub forecast: Forecast,
    /// This program: started again as [`crate::janitor`] where a fault could outlast it.
    pub program: PathBuf,
}

/// By the client's names, the servers whose breakers the faults that are on must open within 5 s: the judge's law, asked before the
/// run is over.
pub type Forecast = fn(&Ahead<'_>) -> BTreeSet<String>;

/// What a [`Forecast`] knows.
#[derive(Debug)]
pub struct Ahead<'a> {
    /// Who the client is and how it is set.
    pub hello: &'a Hello,
    /// What is on.
    pub faults: &'a [Fault],
    /// ops/s that are wanted, over all servers.
    pub offered: f64,
    /// How long the faults will be on.
    pub length: Duration,
}

/// What ends a run, or a phase of it, before its time.
#[derive(Debug, Clone)]
pub struct Endings {
    /// The run is stopped when one of these fires, or one of the scenario's own.
    pub abort_if: Vec<StopRule>,
    /// The run is stopped when the client has not been seen for this long: what is not seen cannot be judged.
    pub blind: Duration,
    /// The first and the last phase end as soon as they have shown what they are for.
    pub until_stable: Option<UntilStable>,
}

/// What a run left on disk.
#[derive(Debug)]
pub struct RunOutcome {
    /// Run folder.
    pub dir: PathBuf,
    /// How it ended.
    pub status: EndStatus,
    /// Why, when not completed.
    pub reason: Option<String>,
    /// Are all faults gone, as read back?
    pub clean: bool,
}

/// Why there was no run, or none that left a journal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The fault proxy.
    #[error(transparent)]
    Proxy(#[from] ClientError),
    /// Somebody else tests there, or that cannot be told.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No watchdog, no fault.
    #[error(transparent)]
    Janitor(#[from] JanitorError),
    /// The observation stream.
    #[error(transparent)]
    Stream(#[from] NoStream),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The scenario does not fit these servers.
    #[error("scenario {scenario}: {why}")]
    Misfit {
        /// Which.
        scenario: String,
        /// Why.
        why: String,
    },
    /// What it means cannot be given here, and nothing else is given for it.
    #[error("scenario {scenario}: {why}")]
    Refused {
        /// Which.
        scenario: String,
        /// Why.
        why: String,
    },
    /// A backend did not do what it was asked to do.
    #[error(transparent)]
    Backend(BackendError),
}
