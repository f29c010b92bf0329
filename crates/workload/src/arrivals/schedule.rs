//! The intended instants of one driver, drawn one after the other; they never depend on how the load is doing.
//!
//! A gap is drawn as *work*: 1 for equal gaps, exponential with mean 1 for Poisson arrivals. The rate is how fast time
//! works it off. So a change of the rate touches only the time after it: what is left of the running gap is worked
//! off at the new rate, and there is neither a hole nor a burst at the change.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::{Arrivals, Profile};

/// Longest gap between two starts, so that a tiny rate cannot overflow the clock.
const MAX_GAP: Duration = Duration::from_secs(3600);

/// The intended instants of one driver's open loop.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The spacing, with the rate in force at `from`.
    arrivals: Arrivals,
    rng: ChaCha8Rng,
    /// Where the running gap began: the last start that was taken, or a change of the rate since.
    from: Instant,
    /// What lies between `from` and the next start.
    work: f64,
    /// Rates after `from`, by their beginning.
    changes: VecDeque<(Instant, f64)>,
    next: Option<Instant>,
}

impl Schedule {
    /// Starts at `start`; none for a closed loop or a rate that is not positive. `phase` (0-1) shifts constant
    /// arrivals within their first gap, so that parallel drivers interleave.
    pub fn new(arrivals: Arrivals, start: Instant, phase: f64, rng: ChaCha8Rng) -> Option<Self> {
        let rate = arrivals.rate()?;
        if rate.is_nan() || rate <= 0.0 {
            return None;
        }
        let changes = VecDeque::new();
        let mut schedule = Self { arrivals, rng, from: start, work: phase, changes, next: None };
        if matches!(arrivals, Arrivals::Poisson(_)) {
            schedule.work = schedule.draw();
        }
        schedule.next = schedule.find_next();
        Some(schedule)
    }

    /// Follows `share` (0-1) of the rates of `profile` from `start` on; no start lies after its end.
    pub fn follow(&mut self, profile: &Profile, share: f64, start: Instant) {
        let begins = profile.begins().map(|(after, rate)| (start + after, rate * share));
        let end = (start + profile.duration(), 0.0);
        self.changes = begins.chain([end]).collect();
        self.next = self.find_next();
    }

    /// The next intended start; `None`: the profile is over.
    pub fn next_start(&self) -> Option<Instant> {
        self.next
    }

    /// Takes the next intended start off the schedule.
    pub fn take(&mut self) -> Option<Instant> {
        let intended = self.next?;
        self.advance(intended);
        self.work = self.draw();
        self.next = self.find_next();
        Some(intended)
    }

    /// From `now` on the rate is `ops_per_s`, whatever a profile says. Starts that lay before `now` and were not yet
    /// taken stay where they are; a rate of 0 pauses.
    pub fn set_rate(&mut self, now: Instant, ops_per_s: f64) {
        let now = now.max(self.from);
        if self.next.is_some_and(|next| next <= now) {
            self.changes.retain(|(at, _)| *at < now);
            self.changes.push_back((now, ops_per_s));
        } else {
            self.advance(now);
            self.changes.clear();
            self.arrivals = self.arrivals.with_rate(ops_per_s);
        }
        self.next = self.find_next();
    }

    /// Works off the running gap until `to`, which does not lie after the next start.
    fn advance(&mut self, to: Instant) {
        while let Some((at, rate)) = self.changes.front().copied()
            && at <= to
        {
            self.changes.pop_front();
            self.work_off(at);
            self.arrivals = self.arrivals.with_rate(rate);
        }
        self.work_off(to);
    }

    fn work_off(&mut self, to: Instant) {
        let done = to.saturating_duration_since(self.from).as_secs_f64() * self.rate();
        self.work = (self.work - done).max(0.0);
        self.from = self.from.max(to);
    }

    /// Where the running gap ends, through all changes to come.
    fn find_next(&self) -> Option<Instant> {
        let (mut from, mut work, mut rate) = (self.from, self.work, self.rate());
        for (at, new_rate) in &self.changes {
            if rate > 0.0 && from + gap(work / rate) < *at {
                break;
            }
            let done = at.saturating_duration_since(from).as_secs_f64() * rate;
            (work, from, rate) = (f64::max(work - done, 0.0), from.max(*at), *new_rate);
        }
        (rate > 0.0).then(|| from + gap(work / rate))
    }

    fn draw(&mut self) -> f64 {
        match self.arrivals {
            // 1 - u lies in (0, 1]: its logarithm is finite.
            Arrivals::Poisson(_) => -(1.0 - self.rng.random::<f64>()).ln(),
            Arrivals::Closed | Arrivals::Constant(_) => 1.0,
        }
    }

    fn rate(&self) -> f64 {
        self.arrivals.rate().unwrap_or(0.0)
    }
}

fn gap(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_GAP).min(MAX_GAP)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(5)
    }

    fn gaps(arrivals: Arrivals, n: usize) -> Vec<f64> {
        let start = Instant::now();
        let mut schedule = Schedule::new(arrivals, start, 0.0, rng()).unwrap();
        let mut last = start;
        let mut taken = Vec::new();
        for _ in 0..n {
            let at = schedule.take().unwrap();
            taken.push((at - last).as_secs_f64());
            last = at;
        }
        taken
    }

    /// Starts that are taken before `end`.
    fn count(schedule: &mut Schedule, end: Instant) -> f64 {
        let mut n = 0.0;
        while schedule.next_start().is_some_and(|next| next < end) {
            schedule.take();
            n += 1.0;
        }
        n
    }

    /// 1 for equal gaps, 4 standard deviations for Poisson arrivals.
    fn tolerance(arrivals: Arrivals, expected: f64) -> f64 {
        if matches!(arrivals, Arrivals::Poisson(_)) { 4.0 * expected.sqrt() } else { 1.0 }
    }

    #[tokio::test]
    async fn poisson_gaps_have_the_mean_and_the_spread_of_their_rate() {
        let gaps = gaps(Arrivals::Poisson(1000.0), 100_000);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "coefficient of variation");
    }

    #[tokio::test]
    async fn constant_gaps_are_equal_and_shards_interleave() {
        assert!(gaps(Arrivals::Constant(500.0), 100).iter().skip(1).all(|g| (g - 0.002).abs() < 1e-6));
        let start = Instant::now();
        let schedule = Schedule::new(Arrivals::Constant(100.0), start, 0.25, rng()).unwrap();
        assert_eq!(schedule.next_start().unwrap() - start, Duration::from_micros(2500));
    }

    #[tokio::test]
    async fn a_rate_that_is_none_gives_no_schedule_and_a_tiny_one_no_overflow() {
        let now = Instant::now();
        for arrivals in [Arrivals::Closed, Arrivals::Poisson(0.0), Arrivals::Poisson(f64::NAN)] {
            assert!(Schedule::new(arrivals, now, 0.0, rng()).is_none());
        }
        let mut slow = Schedule::new(Arrivals::Constant(1e-300), now, 0.0, rng()).unwrap();
        assert!(slow.take().unwrap() + MAX_GAP >= slow.next_start().unwrap());
    }

    #[tokio::test]
    async fn starts_in_each_interval_are_the_integral_of_the_rate() {
        for arrivals in [Arrivals::Constant(1000.0), Arrivals::Poisson(1000.0)] {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(arrivals, now, 0.0, rng()).unwrap();
            for rate in [1000.0, 5000.0, 0.5, 3.0, 250.0, 20_000.0, 100.0] {
                schedule.set_rate(now, rate);
                let end = now + Duration::from_secs(20);
                let n = count(&mut schedule, end);
                let expected = rate * 20.0;
                assert!((n - expected).abs() <= tolerance(arrivals, expected), "{n} of {expected}");
                now = end;
            }
        }
    }

    #[tokio::test]
    async fn a_new_rate_works_off_what_is_left_of_the_gap() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Arrivals::Constant(1.0), start, 1.0, rng()).unwrap();
        let at = |ms| start + Duration::from_millis(ms);
        // A quarter of the gap is done; the other three take a tenth of the time.
        schedule.set_rate(at(250), 10.0);
        assert_eq!(schedule.next_start(), Some(at(325)));
        // A pause keeps what is left, however often the rate changes.
        schedule.set_rate(at(300), 0.0);
        assert_eq!(schedule.next_start(), None);
        schedule.set_rate(at(60_000), 0.0);
        schedule.set_rate(at(90_000), 1.0);
        assert_eq!(schedule.next_start(), Some(at(90_250)));
    }

    #[tokio::test]
    async fn a_backlog_keeps_the_rate_that_it_was_drawn_at() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut schedule = Schedule::new(Arrivals::Constant(100.0), start, 1.0, rng()).unwrap();
        // Nothing was taken for 10 s, and the rate changed twice meanwhile.
        schedule.set_rate(at(4), 1000.0);
        schedule.set_rate(at(10), 10.0);
        let counts = [4, 10, 20].map(|s| count(&mut schedule, at(s)));
        for (n, expected) in counts.into_iter().zip([400.0, 6000.0, 100.0]) {
            assert!((n - expected).abs() <= 1.0, "{counts:?}");
        }
        // The clock of who changes the rate may be behind: what was taken stays taken.
        let last = schedule.next_start().unwrap();
        schedule.take();
        schedule.set_rate(at(3), 10.0);
        assert!(schedule.next_start().unwrap() > last);
    }

    #[tokio::test]
    async fn a_profile_is_followed_step_by_step_and_ends() {
        let profile: Profile = "500/10s,1000/10s,2/3s,2000/30s".parse().unwrap();
        for arrivals in [Arrivals::Constant(250.0), Arrivals::Poisson(250.0)] {
            let start = Instant::now();
            let mut schedule = Schedule::new(arrivals, start, 0.0, rng()).unwrap();
            schedule.follow(&profile, 0.5, start);
            let mut end = start;
            for step in profile.steps() {
                end += step.lasts;
                let expected = step.rate.ops_per_s() / 2.0 * step.lasts.as_secs_f64();
                let n = count(&mut schedule, end);
                assert!((n - expected).abs() <= tolerance(arrivals, expected), "{n} of {expected}");
            }
            assert_eq!(schedule.take(), None);
        }
    }

    #[tokio::test]
    async fn a_set_rate_overrides_the_rest_of_a_profile() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut schedule = Schedule::new(Arrivals::Constant(100.0), start, 0.0, rng()).unwrap();
        schedule.follow(&"100/10s,1000/10s".parse().unwrap(), 1.0, start);
        assert!((count(&mut schedule, at(5)) - 500.0).abs() <= 1.0);
        schedule.set_rate(at(5), 10.0);
        assert!((count(&mut schedule, at(105)) - 1000.0).abs() <= 1.0);
    }
}
