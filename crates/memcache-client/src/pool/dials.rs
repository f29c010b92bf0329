//! When a pool may dial. At any time, unless it has lost many connections at once that had lived for a while: then it
//! makes new ones at a rate, and an op that may not dial waits a little for a connection to come free, so that a
//! restarted server is not met by every client's every connection in the same instant. A pool that was refused for
//! want of room waits, longer each time.

use std::time::Duration;

use tokio::time::Instant;

/// Dials and losses are counted in steps of this.
const STEP: Duration = Duration::from_millis(100);
/// Shortest wait: the timer's step. The rest of a token may be so small that its time rounds to nothing, and who waits
/// would ask for ever in one instant.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Share of a pool that, lost within a step, is a storm.
const STORM: f64 = 0.25;
/// A connection that was lost younger than this is not one of a restart.
const SETTLED: Duration = Duration::from_secs(1);
/// First and longest wait after a refusal for want of room.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Better at this time; an op that cannot wait may dial.
    Storm(Instant),
    /// Not before this time.
    NoRoom(Instant),
}

impl Wait {
    /// When to ask again.
    pub(super) fn until(self) -> Instant {
        match self {
            Wait::Storm(until) | Wait::NoRoom(until) => until,
        }
    }
}

#[derive(Debug)]
pub(super) struct DialLimit {
    connections: f64,
    per_s: f64,
    /// Dials that may begin now, while a storm lasts.
    tokens: f64,
    refilled: Instant,
    storm_until: Option<Instant>,
    /// Losses within the present step, and when it began.
    losses: (u32, Instant),
    paused_until: Option<Instant>,
    pause: Duration,
}

impl DialLimit {
    /// For a pool of so many connections.
    pub(super) fn new(connections: usize, per_s: f64) -> Self {
        let now = Instant::now();
        Self {
            connections: connections as f64,
            per_s,
            tokens: 0.0,
            refilled: now,
            storm_until: None,
            losses: (0, now),
            paused_until: None,
            pause: PAUSE.0,
        }
    }

    /// Takes the right to dial; or says when to ask again.
    pub(super) fn try_dial(&mut self, now: Instant) -> Option<Wait> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Some(Wait::NoRoom(until));
        }
        self.storm_until = self.storm_until.filter(|until| now < *until);
        self.storm_until?;
        let passed = now.saturating_duration_since(self.refilled);
        self.refilled = now;
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_s).min(self.step());
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.per_s).clamp(WAIT_MIN, STEP);
        Some(Wait::Storm(now + wait))
    }

    fn step(&self) -> f64 {
        (self.per_s * STEP.as_secs_f64()).max(1.0)
    }

    /// A connection of this age was lost. Many at once are a storm; it lasts as long as it takes to replace all at the rate.
    pub(super) fn lost(&mut self, now: Instant, age: Duration) {
        if age < SETTLED {
            return;
        }
        if now.saturating_duration_since(self.losses.1) >= STEP {
            self.losses = (0, now);
        }
        self.losses.0 += 1;
        if f64::from(self.losses.0) > (self.connections * STORM).max(4.0) {
            if self.storm_until.is_none() {
                (self.tokens, self.refilled) = (self.step(), now);
            }
            self.storm_until = Some(now + Duration::from_secs_f64((self.connections / self.per_s).min(60.0)));
        }
    }

    /// The server has no room.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// A dial has succeeded.
    pub(super) fn succeeded(&mut self) {
        self.pause = PAUSE.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dials(limit: &mut DialLimit) -> usize {
        (0..1_000).take_while(|_| limit.try_dial(Instant::now()).is_none()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn all_at_once_in_peace_and_a_tenth_a_step_in_a_storm() {
        let mut limit = DialLimit::new(40, 40.0);
        assert_eq!(dials(&mut limit), 1_000);
        (0..10).for_each(|_| limit.lost(Instant::now(), SETTLED));
        (0..90).for_each(|_| limit.lost(Instant::now(), SETTLED / 2));
        assert_eq!(dials(&mut limit), 1_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        (0..40).for_each(|_| limit.lost(Instant::now(), SETTLED));
        let mut made = Vec::new();
        for _ in 0..10 {
            made.push(dials(&mut limit));
            tokio::time::advance(STEP).await;
        }
        assert_eq!(made, [4; 10]);
        assert_eq!(dials(&mut limit), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_never_told_to_ask_again_in_the_same_instant() {
        let mut limit = DialLimit::new(6, 20.0);
        (0..6).for_each(|_| limit.lost(Instant::now(), SETTLED));
        // All but 2e-11 of a token: the time of the rest is less than a nanosecond.
        limit.tokens = 1.0 - 2e-11;
        let next = limit.try_dial(Instant::now()).unwrap();
        assert!(next.until() > Instant::now());
        tokio::time::sleep_until(next.until()).await;
        assert_eq!(limit.try_dial(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_is_asked_less_and_less_often() {
        let mut limit = DialLimit::new(10, 10.0);
        let begin = Instant::now();
        let mut asked = Vec::new();
        for _ in 0..6 {
            while let Some(next) = limit.try_dial(Instant::now()) {
                tokio::time::sleep_until(next.until()).await;
            }
            asked.push(begin.elapsed().as_millis());
            limit.pause(Instant::now());
        }
        assert_eq!(asked, [0, 100, 300, 700, 1500, 3100]);
    }
}
