//! Leases: toxics whose owner has to say again and again that it is there. When it does not, they are removed, and the proxies
//! that it has switched off are switched on again. An extension; without a lease nothing of this happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{LeaseState, LeaseTerms};

/// Leases at the same time.
const LEASES_MAX: usize = 64;
/// Longest prefix, bytes.
const PREFIX_MAX: usize = 96;
/// Proxies that one lease switches on.
const ENABLE_MAX: usize = 256;
/// Bounds of the time between two renewals, ms.
const TTL_MIN: u64 = 100;
const TTL_MAX: u64 = 600_000;

#[derive(Default)]
pub(super) struct Leases(Mutex<BTreeMap<String, Lease>>);

struct Lease {
    /// `None`: lapsed, and not renewed since.
    until: Option<Instant>,
    enable: Vec<String>,
    lapses: u64,
}

/// What is to be done for a lease that was not renewed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lapsed {
    pub(super) prefix: String,
    pub(super) enable: Vec<String>,
}

impl Leases {
    /// Never held across an await.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes or renews the lease of all toxics whose names begin with `prefix`; the error says what makes no sense.
    pub(super) fn renew(&self, prefix: &str, terms: LeaseTerms) -> Result<LeaseState, String> {
        if prefix.is_empty() || prefix.len() > PREFIX_MAX {
            return Err(format!("a prefix has 1 to {PREFIX_MAX} bytes"));
        }
        if !(TTL_MIN..=TTL_MAX).contains(&terms.ttl_ms) {
            return Err(format!("ttl_ms is {}; it must lie between {TTL_MIN} and {TTL_MAX}", terms.ttl_ms));
        }
        if terms.enable.len() > ENABLE_MAX {
            return Err(format!("enable names {} proxies; at most {ENABLE_MAX}", terms.enable.len()));
        }
        let mut all = self.all();
        if !all.contains_key(prefix) && all.len() == LEASES_MAX {
            let over = all.iter().find(|(_, lease)| lease.until.is_none()).map(|(prefix, _)| prefix.clone());
            all.remove(&over.ok_or_else(|| format!("there are {LEASES_MAX} leases already"))?);
        }
        let lease = all.entry(prefix.to_owned());
        let lease = lease.or_insert(Lease { until: None, enable: Vec::new(), lapses: 0 });
        lease.until = Some(Instant::now() + Duration::from_millis(terms.ttl_ms));
        lease.enable = terms.enable;
        Ok(LeaseState { ttl_ms: terms.ttl_ms, lapses: lease.lapses })
    }

    /// Forgets a lease; its toxics stay. `false`: there is none.
    pub(super) fn end(&self, prefix: &str) -> bool {
        self.all().remove(prefix).is_some()
    }

    /// Those whose time is over, each once.
    pub(super) fn lapse(&self) -> Vec<Lapsed> {
        let now = Instant::now();
        let mut lapsed = Vec::new();
        for (prefix, lease) in self.all().iter_mut() {
            if lease.until.is_some_and(|until| until <= now) {
                lease.until = None;
                lease.lapses += 1;
                lapsed.push(Lapsed { prefix: prefix.clone(), enable: lease.enable.clone() });
            }
        }
        lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(ttl_ms: u64) -> LeaseTerms {
        LeaseTerms { ttl_ms, enable: vec!["down".to_owned()] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_lapses_once_and_its_owner_is_told_when_it_comes_back() {
        let leases = Leases::default();
        assert_eq!(leases.renew("me.", terms(1000)).unwrap(), LeaseState { ttl_ms: 1000, lapses: 0 });
        for _ in 0..3 {
            tokio::time::advance(Duration::from_millis(999)).await;
            assert_eq!(leases.lapse(), []);
            assert_eq!(leases.renew("me.", terms(1000)).unwrap().lapses, 0);
        }
        tokio::time::advance(Duration::from_millis(1000)).await;
        let lapsed = Lapsed { prefix: "me.".to_owned(), enable: vec!["down".to_owned()] };
        assert_eq!(leases.lapse(), [lapsed]);
        assert_eq!(leases.lapse(), []);
        assert_eq!(leases.renew("me.", terms(1000)).unwrap().lapses, 1);
        assert!(leases.end("me.") && !leases.end("me."));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(leases.lapse(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_have_bounds_and_a_lapsed_one_makes_room() {
        let leases = Leases::default();
        for (prefix, ttl_ms) in [("", 1000), (&*"x".repeat(97), 1000), ("x", 99), ("x", 600_001)] {
            leases.renew(prefix, terms(ttl_ms)).unwrap_err();
        }
        leases.renew("x", LeaseTerms { ttl_ms: 1000, enable: vec![String::new(); 257] }).unwrap_err();
        for n in 0..LEASES_MAX {
            leases.renew(&format!("{n}."), terms(1000 + n as u64)).unwrap();
        }
        assert!(leases.renew("more.", terms(1000)).unwrap_err().contains("64 leases already"));
        tokio::time::advance(Duration::from_millis(1000)).await;
        assert_eq!(leases.lapse().len(), 1);
        leases.renew("more.", terms(1000)).unwrap();
    }
}
