//! The runner's own witness: one small request to each proxy every 50 ms, on a connection of its own, past all client code. It
//! shows whether the fault was there and whether it is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use observation::clock::RunClock;
use observation::{Canary, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;

use super::recorder::Journal;
use crate::metrics::{CANARY, Metrics};

/// Between two requests to one server.
const PERIOD: Duration = Duration::from_millis(50);
/// No answer after this long is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Canaries that make a baseline: two minutes of them.
const BASELINE_MAX: usize = 2400;
/// An answer may take so many times what it took before the fault.
const SLOWER: f64 = 1.5;
/// Below this an answer is not late: on loopback the scheduler is measured.
const FLOOR: Duration = Duration::from_millis(1);

/// Asks one proxy until `stop`. Every request has a connection of its own: a share of stalled connections shows as that share
/// of canaries.
pub(crate) async fn run(
    target: String,
    server: Option<String>,
    addr: String,
    clock: RunClock,
    journal: Journal,
    (health, metrics): (Arc<Health>, Metrics),
    stop: CancellationToken,
) {
    let (target, server, addr): (Arc<str>, _, Arc<str>) = (target.into(), server, addr.into());
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {
                let addr = Arc::clone(&addr);
                asking.spawn(async move {
                    let sent = Instant::now();
                    (sent, ask(&addr, sent + PATIENCE).await, sent.elapsed())
                });
            }
            Some(Ok((sent, result, took))) = asking.join_next(), if !asking.is_empty() => {
                let (took_us, error) = match result {
                    Ok(()) => (Some(took.as_micros() as u64), None),
                    Err(error) => (None, Some(error.to_string())),
                };
                if took_us.is_some() {
                    health.add(sent, took);
                }
                let touched = took_us.is_none() || health.is_slow(took);
                metrics.dose_measured(&target, CANARY, touched.into(), 1);
                let at_us = clock.at(sent);
                let canary = Canary { at_us, target: target.to_string(), server: server.clone(), took_us, error };
                journal.append(Record::Canary(canary)).await;
            }
        }
    }
}

/// What the canaries of one proxy say about it: as quick as before the fault, or not.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    baseline: Vec<Duration>,
    /// An answer that takes so long is one that the fault has delayed.
    slow: Option<Duration>,
    /// When the fault had gone, and the quickest answer to a canary that was sent since.
    since: Option<(Instant, Option<Duration>)>,
    faulted: bool,
    /// Something has answered.
    any: bool,
}

impl Health {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, sent: Instant, took: Duration) {
        let answers = &mut *self.answers();
        answers.any = true;
        match &mut answers.since {
            Some((since, best)) if sent >= *since => *best = Some(best.map_or(took, |best| best.min(took))),
            _ if !answers.faulted && answers.baseline.len() < BASELINE_MAX => answers.baseline.push(took),
            _ => {}
        }
    }

    /// Was any canary answered, with or without a fault?
    pub(crate) fn has_answered(&self) -> bool {
        self.answers().any
    }

    /// The fault begins: what is answered from now on is no baseline.
    pub(crate) fn fault_begins(&self) {
        self.answers().faulted = true;
    }

    /// The fault delays what it touches by at least this.
    pub(crate) fn fault_delays(&self, delay: Duration) {
        let answers = &mut *self.answers();
        answers.baseline.sort_unstable();
        answers.slow = answers.baseline.get(answers.baseline.len() / 2).map(|usual| *usual + delay);
    }

    fn is_slow(&self, took: Duration) -> bool {
        self.answers().slow.is_some_and(|slow| took >= slow)
    }

    /// The fault is gone: what is asked from now on says whether that is so.
    pub(crate) fn fault_is_gone(&self) {
        self.answers().since = Some((Instant::now(), None));
    }

    /// Why it is not as quick as before; `None`: it is, or there is no before.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut answers = self.answers();
        let (_, best) = answers.since?;
        answers.baseline.sort_unstable();
        let usual = *answers.baseline.get(answers.baseline.len() / 2)?;
        let limit = usual.mul_f64(SLOWER).max(FLOOR);
        match best {
            Some(best) if best <= limit => None,
            Some(best) => Some(format!("the quickest canary took {best:?}, before the fault {usual:?}")),
            None => Some(format!("no canary was answered, before the fault within {usual:?}")),
        }
    }
}

async fn ask(addr: &str, deadline: Instant) -> std::io::Result<()> {
    let mut stream = address::connect(addr, deadline.saturating_duration_since(Instant::now())).await?;
    let asking = async {
        stream.set_nodelay(true)?;
        stream.write_all(b"mn\r\n").await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await.map(|_| reply)
    };
    match &timeout_at(deadline, asking).await.map_err(|_| std::io::Error::other("no answer"))?? {
        b"MN\r\n" => Ok(()),
        other => Err(std::io::Error::other(format!("answered {:?}", other.escape_ascii().to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_proxy_is_well_when_one_canary_after_the_fault_is_as_quick_as_half_of_those_before() {
        let ms = Duration::from_millis;
        let health = Health::default();
        (1..=9).for_each(|n| health.add(Instant::now(), ms(n)));
        health.fault_begins();
        let faulted = Instant::now();
        health.add(faulted, ms(1));
        tokio::time::advance(ms(10)).await;
        health.fault_is_gone();
        assert!(health.complaint().unwrap().contains("no canary"));
        health.add(faulted, ms(1));
        assert!(health.complaint().is_some(), "it was asked under the fault");
        health.add(Instant::now(), ms(8));
        assert_eq!(health.complaint().unwrap(), "the quickest canary took 8ms, before the fault 5ms");
        health.add(Instant::now(), Duration::from_micros(7500));
        assert_eq!(health.complaint(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_is_what_a_fault_delays_and_nothing_is_before_it() {
        let ms = Duration::from_millis;
        let health = Health::default();
        health.add(Instant::now(), ms(2));
        assert!(!health.is_slow(ms(900)));
        health.fault_delays(ms(100));
        assert!(health.is_slow(ms(102)) && !health.is_slow(ms(101)));
    }

    #[tokio::test]
    async fn a_canary_that_reaches_nothing_names_the_address_and_is_no_sign_of_life() {
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = ask(&refused, Instant::now() + PATIENCE).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{refused}: ")), "{error}");
        let health = Health::default();
        assert!(!health.has_answered());
        health.fault_begins();
        health.add(Instant::now(), FLOOR);
        assert!(health.has_answered());
    }

    #[tokio::test]
    async fn without_a_baseline_nothing_is_said() {
        let health = Health::default();
        health.fault_begins();
        health.fault_is_gone();
        assert_eq!(health.complaint(), None);
    }
}
