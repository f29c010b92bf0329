//! Whether a phase has shown what it is for, and may end before its time. What that is, the judge says: this room knows no rules of
//! the judge's, so whoever composes a run hands one in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use observation::journal::Entry;

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(250);

/// Watches one run as it is written down.
pub trait Stability: Send {
    /// One more line of the journal; the phases and faults are told by such lines too.
    fn entry(&mut self, entry: &Entry);
    /// Why the phase that runs now may end; `None`: not yet.
    fn stable(&mut self) -> Option<String>;
}

/// Makes a [`Stability`] for each run.
#[derive(Clone)]
pub struct UntilStable(Arc<dyn Fn() -> Box<dyn Stability> + Send + Sync>);

impl UntilStable {
    /// With `make` for each run.
    pub fn new(make: impl Fn() -> Box<dyn Stability> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn begin(&self) -> Watching {
        Watching(Arc::new(Mutex::new((self.0)())))
    }
}

impl fmt::Debug for UntilStable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UntilStable")
    }
}

/// The one of a run. Clones share it.
#[derive(Clone)]
pub(crate) struct Watching(Arc<Mutex<Box<dyn Stability>>>);

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

impl Watching {
    pub(crate) fn entry(&self, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(entry);
    }

    /// Waits until the phase may end, and says why.
    pub(crate) async fn stable(&self) -> String {
        loop {
            let why = self.0.lock().unwrap_or_else(PoisonError::into_inner).stable();
            match why {
                Some(why) => return why,
                None => tokio::time::sleep(PERIOD).await,
            }
        }
    }
}
