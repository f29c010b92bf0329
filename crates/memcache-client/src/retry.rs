//! A budget for retries, so that an outage does not multiply the load on what is left.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Tokens that may be saved up: retries of about ten seconds without failures.
const TOKENS_MAX: f64 = 100.0;
/// Tokens per second whatever the load, so that a quiet client may retry too.
const TOKENS_PER_SECOND: f64 = 1.0;

/// One token a retry; each op adds a share of one.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    per_op: f64,
    balance: Mutex<Balance>,
}

#[derive(Debug)]
struct Balance {
    tokens: f64,
    refilled: Instant,
    ops: u64,
}

impl RetryBudget {
    pub(crate) fn new(per_op: f64) -> Self {
        Self {
            per_op,
            balance: Mutex::new(Balance { tokens: TOKENS_PER_SECOND, refilled: Instant::now(), ops: 0 }),
        }
    }

    /// Takes one token if there is one; `ops` is the number of ops so far.
    pub(crate) fn withdraw(&self, ops: u64) -> bool {
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let seconds = (now - balance.refilled).as_secs_f64();
        let new_ops = ops.saturating_sub(balance.ops) as f64;
        balance.tokens =
            (balance.tokens + seconds * TOKENS_PER_SECOND + new_ops * self.per_op).min(TOKENS_MAX);
        balance.refilled = now;
        balance.ops = balance.ops.max(ops);
        if balance.tokens < 1.0 {
            return false;
        }
        balance.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_retry_in_ten_ops_and_one_a_second() {
        let budget = RetryBudget::new(0.1);
        assert!(budget.withdraw(0));
        assert!(!budget.withdraw(9));
        assert!(budget.withdraw(10));
        assert!(!budget.withdraw(10));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(budget.withdraw(10));
        // A long healthy time saves up a bounded number.
        assert_eq!((0..1_000).filter(|_| budget.withdraw(1_000_000)).count(), TOKENS_MAX as usize);
    }
}
