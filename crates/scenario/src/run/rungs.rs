//! One rung of the way down, for several backends at the same time: one that fails or hangs keeps none of the others.

use std::collections::BTreeSet;

use futures::future::join_all;

use crate::backends::{Backend, BackendError};

/// The calls that end faults, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    Lift,
    Remove,
    ReadBack,
}

/// Backends whose call failed, by their position.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) failed: BTreeSet<usize>,
    /// Those of them that gave no answer.
    pub(super) hung: BTreeSet<usize>,
    errors: Vec<String>,
}

impl Trouble {
    pub(super) fn is_none(&self) -> bool {
        self.failed.is_empty()
    }

    /// Every error.
    pub(super) fn text(&self) -> String {
        self.errors.join("; ")
    }

    /// This trouble and the other.
    pub(super) fn and(mut self, other: Trouble) -> Trouble {
        self.failed.extend(other.failed);
        self.hung.extend(other.hung);
        self.errors.extend(other.errors);
        self
    }

    fn add(&mut self, n: usize, error: &BackendError) {
        self.failed.insert(n);
        if error.hangs() {
            self.hung.insert(n);
        }
        self.errors.push(error.to_string());
    }
}

/// Takes one rung with the backends at these positions.
pub(super) async fn take(
    rung: Rung,
    backends: &mut [Box<dyn Backend>],
    of: impl Fn(usize) -> bool,
) -> Trouble {
    let chosen = backends.iter_mut().enumerate().filter(|(n, _)| of(*n));
    let calls = chosen.map(async |(n, backend)| {
        let answer = match rung {
            Rung::Lift => backend.lift().await,
            Rung::Remove => backend.remove().await,
            Rung::ReadBack => backend.read_back().await,
        };
        (n, answer)
    });
    let mut trouble = Trouble::default();
    for (n, answer) in join_all(calls).await {
        if let Err(error) = answer {
            trouble.add(n, &error);
        }
    }
    trouble
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;

    use super::*;
    use crate::backends::{Answer, DoseCounter, Leftover, Offer, Resource, Target};
    use crate::faults::FaultSpec;

    /// Answers every call in the same way, and notes it.
    #[derive(Debug)]
    struct Fake {
        answer: fn() -> Result<(), BackendError>,
        called: Arc<Mutex<Vec<Rung>>>,
    }

    impl Fake {
        fn answer(&mut self, rung: Rung) -> Answer<'_, ()> {
            self.called.lock().unwrap().push(rung);
            let answer = (self.answer)();
            async move { answer }.boxed_local()
        }
    }

    impl Backend for Fake {
        fn describe(&self) -> String {
            "fake".to_owned()
        }
        fn offer(&self, _: &FaultSpec) -> Offer {
            Offer::Cannot("it is a fake".to_owned())
        }
        fn outlasts_us(&self) -> bool {
            false
        }
        fn sweep(&mut self) -> Answer<'_, Vec<Leftover>> {
            async { Ok(Vec::new()) }.boxed_local()
        }
        fn plan(&mut self, _: &FaultSpec, _: &Target, _: u64) -> Result<Vec<String>, BackendError> {
            Ok(Vec::new())
        }
        fn resource(&self, _: &str) -> Option<Resource> {
            None
        }
        fn apply<'a>(&'a mut self, _: &'a str) -> Answer<'a, ()> {
            async { Ok(()) }.boxed_local()
        }
        fn lift(&mut self) -> Answer<'_, ()> {
            self.answer(Rung::Lift)
        }
        fn remove(&mut self) -> Answer<'_, ()> {
            self.answer(Rung::Remove)
        }
        fn read_back(&mut self) -> Answer<'_, ()> {
            self.answer(Rung::ReadBack)
        }
        fn dose(&self, _: &[Target]) -> Option<Box<dyn DoseCounter>> {
            None
        }
    }

    #[tokio::test]
    async fn a_backend_that_fails_or_hangs_keeps_none_of_the_others() {
        let called = Arc::default();
        let fake = |answer| -> Box<dyn Backend> { Box::new(Fake { answer, called: Arc::clone(&called) }) };
        let mut backends = [
            fake(|| Err(BackendError::Failed("refused".to_owned()))),
            fake(|| Ok(())),
            fake(|| Err(BackendError::Hangs("no answer".to_owned()))),
        ];
        let trouble = take(Rung::Lift, &mut backends, |_| true).await;
        assert_eq!(*called.lock().unwrap(), [Rung::Lift; 3]);
        assert_eq!((trouble.failed, trouble.hung), ([0, 2].into(), [2].into()));
        assert_eq!(trouble.errors.join("; "), "refused; no answer");

        called.lock().unwrap().clear();
        let trouble = take(Rung::Remove, &mut backends, |n| n == 1).await;
        assert!(trouble.is_none());
        assert_eq!(*called.lock().unwrap(), [Rung::Remove]);
    }
}
