//! Wakes a task at an instant, to the microsecond where the system can.
//!
//! Tokio's timers count whole milliseconds: half of what they wake would be 0.6 ms late or more. On Linux
//! a timerfd that the reactor watches like a socket wakes within microseconds.

use tokio::time::Instant;

/// A clock to wake by. One alarm serves one task.
#[derive(Debug)]
pub enum Alarm {
    /// A timerfd on `CLOCK_MONOTONIC`; it does not follow tokio's paused time.
    #[cfg(target_os = "linux")]
    Timer(Timer),
    /// Tokio's own timers.
    Tokio,
}

impl Alarm {
    /// The most exact one that there is. Must be called within a runtime with I/O.
    pub fn exact() -> Self {
        #[cfg(target_os = "linux")]
        match timer::Timer::new() {
            Ok(timer) => return Alarm::Timer(timer),
            Err(error) => tracing::warn!(%error, "no timerfd; alarms follow a clock of whole milliseconds"),
        }
        Alarm::Tokio
    }

    /// Waits until `due`. May be dropped and called again, with the same or another instant.
    pub async fn until(&mut self, due: Instant) {
        #[cfg(target_os = "linux")]
        if let Alarm::Timer(timer) = self {
            match timer.until(due).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "the timerfd failed; alarms follow a clock of whole milliseconds");
                    *self = Alarm::Tokio;
                }
            }
        }
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(target_os = "linux")]
pub use timer::Timer;

#[cfg(target_os = "linux")]
mod timer {
    //! A timerfd that is armed only when its instant changes.

    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
        timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    /// The clocks are compared this often; the closest pair counts, because a thread may lose its core in between.
    const COMPARISONS: usize = 5;

    /// A timerfd, and how its clock compares with tokio's.
    #[derive(Debug)]
    pub struct Timer {
        fd: AsyncFd<OwnedFd>,
        armed: Option<Instant>,
        /// The same moment on both clocks.
        instant: Instant,
        monotonic: Duration,
    }

    impl Timer {
        #[expect(
            deprecated,
            reason = "its successor is the same but for `unsafe`: the descriptor must stay open and the same while it \
                      is registered, which an `OwnedFd` of our own does"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let fd = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK.union(TimerfdFlags::CLOEXEC),
            )?;
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            let (instant, monotonic) = same_moment();
            Ok(Self { fd, armed: None, instant, monotonic })
        }

        pub(super) async fn until(&mut self, due: Instant) -> io::Result<()> {
            while Instant::now() < due {
                if self.armed != Some(due) {
                    self.arm(due)?;
                }
                // Setting the timer again takes its expirations back, so nothing has to be read.
                self.fd.readable().await?.clear_ready();
                self.armed = None;
            }
            Ok(())
        }

        fn arm(&mut self, due: Instant) -> io::Result<()> {
            let at = self.monotonic + due.saturating_duration_since(self.instant);
            let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(at) };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed = Some(due);
            Ok(())
        }
    }

    /// The instant is read first: an alarm may be a few nanoseconds late, but never early.
    fn same_moment() -> (Instant, Duration) {
        let mut closest = read_both();
        for _ in 1..COMPARISONS {
            let pair = read_both();
            if pair.2 < closest.2 {
                closest = pair;
            }
        }
        (closest.0, closest.1)
    }

    fn read_both() -> (Instant, Duration, Duration) {
        let instant = Instant::now();
        let monotonic = clock_gettime(ClockId::Monotonic);
        let took = instant.elapsed();
        let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(monotonic.tv_nsec).unwrap_or(0);
        (instant, Duration::new(seconds, nanos), took)
    }

    fn timespec(at: Duration) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_alarm_is_never_early_and_may_be_given_up_and_set_again() {
        let mut alarm = Alarm::exact();
        for ms in [0, 1, 20, 5] {
            let due = Instant::now() + Duration::from_millis(ms);
            // A later and an earlier one are given up on the way.
            for other in [due + Duration::from_secs(60), due + Duration::from_millis(1)] {
                let given_up = tokio::time::timeout(Duration::from_micros(10), alarm.until(other)).await;
                assert!(given_up.is_err() || Instant::now() >= other);
            }
            tokio::time::timeout(Duration::from_secs(10), alarm.until(due)).await.unwrap();
            assert!(Instant::now() >= due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_clock_can_be_followed_while_it_is_paused() {
        let due = Instant::now() + Duration::from_secs(3600);
        Alarm::Tokio.until(due).await;
        assert!(Instant::now() >= due);
    }
}
