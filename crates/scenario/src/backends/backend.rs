//! What every backend answers: [`Backend`], and the types of its answers.

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use observation::Dose;
use observation::clock::RunClock;
use tokio_util::sync::CancellationToken;

use super::resource::Resource;
use super::target::Target;
use crate::faults::FaultSpec;

/// The answer of a backend to a fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Offer {
    /// It gives this.
    Gives(Given),
    /// It cannot give it, because of this.
    Cannot(String),
}

/// The fault that is really applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The fault that is applied.
    pub spec: FaultSpec,
    /// The difference to what the scenario means, if there is one.
    pub substitute: Option<String>,
}

impl Given {
    /// Exactly what was meant.
    pub fn as_meant(spec: &FaultSpec) -> Self {
        Self { spec: spec.clone(), substitute: None }
    }
}

/// Why a backend did not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The scenario asks for something that does not exist at this backend.
    #[error("{0}")]
    Misfit(String),
    /// It is not permitted or not possible here.
    #[error("{0}")]
    Refused(String),
    /// A call failed.
    #[error("{0}")]
    Failed(String),
    /// A call has no answer; another call would wait behind it.
    #[error("{0}")]
    Hangs(String),
}

impl BackendError {
    /// A call has no answer.
    pub fn hangs(&self) -> bool {
        matches!(self, BackendError::Hangs(_))
    }
}

/// Something that an earlier run has left, and that was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name and place.
    pub what: String,
    /// Whose it was, where the name tells more than itself.
    pub whose: Option<String>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// The answer to a call of a backend.
pub type Answer<'a, T> = LocalBoxFuture<'a, Result<T, BackendError>>;

/// One way to apply faults, for one run.
///
/// A run calls in this order, and what may be repeated is marked by *:
///
/// 1. [`sweep`](Backend::sweep)*, then [`permitted`](Backend::permitted)* and [`prepare`](Backend::prepare) for each fault;
/// 2. [`plan`](Backend::plan) for each fault and target, [`begin`](Backend::begin) once, [`apply`](Backend::apply) for each part;
/// 3. [`look`](Backend::look), [`lift`](Backend::lift)*, [`remove`](Backend::remove)*;
/// 4. [`read_back`](Backend::read_back)* at every way out, whatever was called before.
pub trait Backend: fmt::Debug + Send {
    /// Name, version and place, for the journal.
    fn describe(&self) -> String;

    /// The fault that it gives for this one, as far as that can be said without a call.
    fn offer(&self, spec: &FaultSpec) -> Offer;

    /// Do its faults outlast this process? Then a janitor must know how to undo them.
    fn outlasts_us(&self) -> bool;

    /// Takes away what dead runs have left, and gives what that was.
    fn sweep(&mut self) -> Answer<'_, Vec<Leftover>>;

    /// Must this user be permitted to give faults here? Then a suite asks before its first run.
    fn needs_permission(&self) -> bool {
        false
    }

    /// Fails when the fault is not permitted or not possible at these targets. Asked without a claim too, so it changes nothing
    /// that another run could meet.
    fn permitted<'a>(&'a mut self, _: &'a FaultSpec, _: &'a [Target]) -> Answer<'a, ()> {
        async { Ok(()) }.boxed_local()
    }

    /// Under the claim of the run: fails when the fault is refused as the scenario writes it, and takes away what dead runs have
    /// left where it will be given.
    fn prepare<'a>(&'a mut self, _: &'a FaultSpec) -> Answer<'a, Vec<Leftover>> {
        async { Ok(Vec::new()) }.boxed_local()
    }

    /// Names the parts of a fault at one target. `deadline`: Unix seconds. Nothing is applied yet.
    fn plan(&mut self, spec: &FaultSpec, target: &Target, deadline: u64)
    -> Result<Vec<String>, BackendError>;

    /// The words in which a janitor is told of a part; `None`: the run's own claim covers it.
    fn resource(&self, part: &str) -> Option<Resource>;

    /// Everything is planned, and nothing applied yet.
    fn begin(&mut self) -> Answer<'_, ()> {
        async { Ok(()) }.boxed_local()
    }

    /// Applies a planned part. It is remembered before the call: the answer may get lost, the effect not.
    fn apply<'a>(&'a mut self, part: &'a str) -> Answer<'a, ()>;

    /// Reads counters that go with their faults, before those are lifted.
    fn look(&mut self) -> LocalBoxFuture<'_, ()> {
        async {}.boxed_local()
    }

    /// Ends the effect of everything that was applied, at once. Tries everything before it gives an error.
    fn lift(&mut self) -> Answer<'_, ()>;

    /// Takes away everything that was applied, and reads back that it is gone.
    fn remove(&mut self) -> Answer<'_, ()>;

    /// Takes away everything of this run's that it finds or remembers, and reads back that nothing is there.
    fn read_back(&mut self) -> Answer<'_, ()>;

    /// Cancelled when the backend has ended the faults by itself, because this process stood still.
    fn lapsed(&self) -> CancellationToken {
        CancellationToken::new()
    }

    /// A counter of what its faults touch at these targets; `None`: it cannot count.
    fn dose(&self, targets: &[Target]) -> Option<Box<dyn DoseCounter>>;
}

/// Counts what faults touch, beside the calls of the backend.
pub trait DoseCounter: Send {
    /// Time between two reads.
    fn period(&self) -> Duration;

    /// The dose since the last read, on the run's clock. A read that fails loses nothing: the next one has it.
    fn read(&mut self, clock: RunClock) -> BoxFuture<'_, Vec<Dose>>;
}
