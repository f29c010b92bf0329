//! A retry budget: retries are at most a share of the first tries.

use std::sync::Mutex;

use crate::lock;

/// Retries that may be saved up.
const SAVED_MAX: f64 = 10.0;

#[derive(Debug)]
pub(crate) struct Budget {
    share: f64,
    saved: Mutex<f64>,
}

impl Budget {
    pub(crate) fn new(share: f64) -> Self {
        Self { share, saved: Mutex::new(0.0) }
    }

    /// A first try.
    pub(crate) fn earn(&self) {
        let mut saved = lock(&self.saved);
        *saved = (*saved + self.share).min(SAVED_MAX);
    }

    /// May there be a retry?
    pub(crate) fn spend(&self) -> bool {
        let mut saved = lock(&self.saved);
        let may = *saved >= 1.0;
        if may {
            *saved -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_tries() {
        let budget = Budget::new(0.1);
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.earn();
            retries += u32::from(budget.spend());
        }
        assert!((98..=100).contains(&retries), "{retries}");
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }
}
