//! A query that breaker and limit have let through, until it has ended - or its caller is gone.

use crate::breaker::{Breaker, Pass};
use crate::limit::Limit;

/// Gives back what it was given when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Admitted<'a> {
    breaker: Option<(&'a Breaker, Pass)>,
    limit: Option<&'a Limit>,
    answered: Option<bool>,
}

impl<'a> Admitted<'a> {
    /// `None`: not now.
    pub(crate) fn ask(
        breaker: Option<&'a Breaker>,
        limit: Option<&'a Limit>,
        admit: impl FnOnce(&Breaker) -> Option<Pass>,
    ) -> Option<Self> {
        let mut admitted = Self::default();
        if let Some(breaker) = breaker {
            admitted.breaker = Some((breaker, admit(breaker)?));
        }
        if let Some(limit) = limit {
            if !limit.enter() {
                return None;
            }
            admitted.limit = Some(limit);
        }
        Some(admitted)
    }

    /// It has ended.
    pub(crate) fn ended(mut self, answered: bool) {
        self.answered = Some(answered);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        match (self.limit, self.answered) {
            (Some(limit), Some(answered)) => limit.leave(answered),
            (Some(limit), None) => limit.cancel(),
            (None, _) => {}
        }
        match (self.breaker, self.answered) {
            (Some((breaker, pass)), Some(answered)) => breaker.ended(pass, answered),
            (Some((breaker, pass)), None) => breaker.cancel(pass),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::BreakerRule;

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_the_limit_refuses_is_not_lost_and_neither_is_a_place() {
        let second = Duration::from_secs(1);
        let (breaker, limit) =
            (Breaker::new(BreakerRule { open: second, ramp: Duration::ZERO }), Limit::new(10 * second));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut ask = || Admitted::ask(Some(&breaker), Some(&limit), |breaker| breaker.admit(&mut rng));
        let hung: Vec<_> = std::iter::from_fn(&mut ask).collect();
        assert_eq!(hung.len(), 20);
        (0..20).for_each(|_| breaker.ended(Pass::Normal, false));
        tokio::time::advance(second).await;
        assert!(ask().is_none(), "the limit is full");
        drop(hung);
        let probe = ask();
        assert!(probe.is_some() && ask().is_none(), "one probe at a time");
        drop(probe);
        assert!(ask().is_some());
    }
}
