//! The one place that reads the wall clock, the alignment of two monotonic clocks, and the time that neither of them has seen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Unix time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// A monotonic clock that counts microseconds from its creation.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    origin: Instant,
}

impl RunClock {
    /// A clock that starts at 0 now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.at(Instant::now())
    }

    /// `instant` on this clock; 0 for anything before the start.
    pub fn at(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.origin).as_micros() as u64
    }
}

/// How long this machine has been suspended since its start: time that a monotonic clock does not count. 0 where the
/// system has no clock that does.
pub fn suspended() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let since_start = |clock| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
            Duration::new(tv_sec.try_into().unwrap_or(0), tv_nsec.try_into().unwrap_or(0))
        };
        let monotonic = since_start(ClockId::Monotonic);
        since_start(ClockId::Boottime).saturating_sub(monotonic)
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

/// Notices that the machine was suspended.
#[derive(Debug, Clone, Copy)]
pub struct SuspendWatch {
    before: Duration,
}

impl SuspendWatch {
    /// Shorter ones do no more than a stall does.
    pub const MIN: Duration = Duration::from_secs(1);

    /// From now on; `suspended` is what [`suspended`] says.
    pub fn new(suspended: Duration) -> Self {
        Self { before: suspended }
    }

    /// For how long, if it was for at least [`SuspendWatch::MIN`] since this was last asked.
    pub fn slept(&mut self, suspended: Duration) -> Option<Duration> {
        let slept = suspended.saturating_sub(self.before);
        self.before = suspended;
        (slept >= Self::MIN).then_some(slept)
    }
}

/// Maps another process's monotonic microseconds onto ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignment {
    /// ours = theirs + offset; wider than both, because theirs may be any number.
    offset_us: i128,
    /// The true offset lies within ± this.
    pub uncertainty_us: u64,
}

impl Alignment {
    /// From one exchange: asked at `sent_us`, answered at `received_us` (both ours) with their clock at
    /// `theirs_us`. The midpoint is the estimate, half the round trip the uncertainty.
    pub fn from_exchange(sent_us: u64, received_us: u64, theirs_us: u64) -> Self {
        let midpoint = sent_us + received_us.saturating_sub(sent_us) / 2;
        Self {
            offset_us: i128::from(midpoint) - i128::from(theirs_us),
            uncertainty_us: received_us.saturating_sub(sent_us).div_ceil(2),
        }
    }

    /// `theirs_us` on our clock; 0 for anything before our start.
    pub fn to_ours(&self, theirs_us: u64) -> u64 {
        (i128::from(theirs_us) + self.offset_us).clamp(0, u64::MAX.into()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_machine_is_noticed_once() {
        let awake = suspended();
        assert!(suspended().saturating_sub(awake) < SuspendWatch::MIN);
        let mut watch = SuspendWatch::new(awake);
        assert_eq!(watch.slept(awake + Duration::from_millis(999)), None);
        assert_eq!(watch.slept(awake + Duration::from_millis(4_999)), Some(Duration::from_secs(4)));
        assert_eq!(watch.slept(awake + Duration::from_millis(4_999)), None);
        assert_eq!(watch.slept(Duration::ZERO), None);
    }

    #[test]
    fn the_midpoint_maps_and_half_the_round_trip_is_the_doubt() {
        let a = Alignment::from_exchange(1_000, 1_500, 90_000);
        assert_eq!(a.to_ours(90_000), 1_250);
        assert_eq!(a.to_ours(90_100), 1_350);
        assert_eq!(a.to_ours(0), 0);
        assert_eq!(a.uncertainty_us, 250);
    }

    #[test]
    fn no_clock_is_too_far_away() {
        for theirs in [0, 1 << 63, u64::MAX] {
            let a = Alignment::from_exchange(1_000, 1_500, theirs);
            assert_eq!(a.to_ours(theirs), 1_250);
            assert_eq!(a.to_ours(0), 1_250u64.saturating_sub(theirs));
        }
        assert_eq!(Alignment::from_exchange(1_000, 1_500, 0).to_ours(u64::MAX), u64::MAX);
    }
}
