//! A task of a load that panics takes its part of the load with it. What is left is no load that anybody asked for, so it is
//! known at once, the load ends, and its summary says so.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

/// A task of the load has panicked: a bug of the load generator or of the client under test, and no finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{task} died, so the load was not the one that was asked for: {why}")]
pub struct Died {
    /// Which one.
    pub task: String,
    /// Its last words.
    pub why: String,
}

/// The deaths of one load. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deaths {
    first: Arc<OnceLock<Died>>,
    known: CancellationToken,
}

impl Deaths {
    /// Runs a task to its end; `None`: it panicked, which is known from now on.
    pub(crate) async fn watch<T>(&self, task: impl Into<String>, work: impl Future<Output = T>) -> Option<T> {
        // What is unwound is not used again: the load ends.
        let panicked = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(ended) => return Some(ended),
            Err(panicked) => panicked,
        };
        let died = Died { task: task.into(), why: last_words(&*panicked) };
        tracing::error!("{died}");
        // Only the first is told: later ones may be its consequences.
        let _ = self.first.set(died);
        self.known.cancel();
        None
    }

    /// Cancelled by the first one, or by whoever ends the load.
    pub(crate) fn end(&self) -> CancellationToken {
        self.known.child_token()
    }

    /// Waits for the first one.
    pub(crate) async fn first(&self) -> Died {
        self.known.cancelled().await;
        match self.told() {
            Some(died) => died,
            // It is set before it is known.
            None => std::future::pending().await,
        }
    }

    /// The first one, if there is any.
    pub(crate) fn told(&self) -> Option<Died> {
        self.first.get().cloned()
    }
}

fn last_words(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panicked.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_panics_is_named_and_ends_the_others() {
        let deaths = Deaths::default();
        let end = deaths.end();
        assert_eq!(deaths.watch("one", async { 7 }).await, Some(7));
        assert!(deaths.told().is_none() && !end.is_cancelled());
        assert_eq!(deaths.watch("driver 2", async { panic!("no {}", "way") }).await, None::<()>);
        assert_eq!(deaths.watch("driver 3", async { panic!("later") }).await, None::<()>);
        assert!(end.is_cancelled());
        let told = "driver 2 died, so the load was not the one that was asked for: no way";
        assert_eq!(deaths.first().await.to_string(), told);
        assert_eq!(deaths.told().unwrap().to_string(), told);
    }
}
