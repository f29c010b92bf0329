//! An adaptive limit of queries at once: one more for as many answers as it allows, a third less when one is missed
//! (additive increase, multiplicative decrease).

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock;

const FIRST: f64 = 20.0;
const LEAST: f64 = 2.0;
const MOST: f64 = 1_000.0;
const DECREASE: f64 = 0.7;

#[derive(Debug)]
pub(crate) struct Limit {
    /// The limit falls at most once in so long: what was asked before it fell says nothing about it.
    patience: Duration,
    state: Mutex<LimitState>,
}

#[derive(Debug)]
struct LimitState {
    limit: f64,
    in_flight: u32,
    fell: Option<Instant>,
}

impl Limit {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, state: Mutex::new(LimitState { limit: FIRST, in_flight: 0, fell: None }) }
    }

    /// True: one more query is under way, until [`Limit::leave`].
    pub(crate) fn enter(&self) -> bool {
        let mut state = lock(&self.state);
        let may = f64::from(state.in_flight) < state.limit;
        state.in_flight += u32::from(may);
        may
    }

    pub(crate) fn leave(&self, answered: bool) {
        let mut state = lock(&self.state);
        // A limit that is not used must not grow.
        let used = f64::from(state.in_flight) * 2.0 >= state.limit;
        state.in_flight = state.in_flight.saturating_sub(1);
        if answered {
            if used {
                state.limit = (state.limit + 1.0 / state.limit).min(MOST);
            }
        } else if state.fell.is_none_or(|at| at.elapsed() >= self.patience) {
            state.fell = Some(Instant::now());
            state.limit = (state.limit * DECREASE).max(LEAST);
        }
    }

    /// One that entered was never asked, or its caller is gone: it says nothing.
    pub(crate) fn cancel(&self) {
        let mut state = lock(&self.state);
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(limit: &Limit) -> usize {
        (0..2_000).take_while(|_| limit.enter()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_with_answers_and_falls_once_a_patience() {
        let limit = Limit::new(Duration::from_millis(200));
        assert_eq!(entered(&limit), 20);
        (0..20).for_each(|_| limit.leave(false));
        // 20 * 0.7, once.
        assert_eq!(entered(&limit), 14);
        tokio::time::advance(Duration::from_millis(200)).await;
        (0..14).for_each(|_| limit.leave(false));
        assert_eq!(entered(&limit), 10);
        for _ in 0..2_000 {
            limit.leave(true);
            limit.enter();
        }
        (0..10).for_each(|_| limit.leave(true));
        assert!(limit.enter());
        assert!(entered(&limit) > 10);
    }
}
