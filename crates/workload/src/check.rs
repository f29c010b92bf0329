//! What the open loop can do on this machine, without a client, a server or a network: ops that end at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alarm::Alarm;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arrivals::Profile;
use crate::arrivals::pacer::{Start, TOO_LATE};
use crate::deaths::{Deaths, Died};
use crate::driver::drive;
use crate::intervals::Intervals;
use crate::limit;
use crate::load::config::LoadConfig;
use crate::recorder::Recorder;
use crate::summary::StartLag;

/// What the generator made of its schedule.
#[derive(Debug)]
pub struct GeneratorCheck {
    /// Starts of the schedule, counted by drawing it once more.
    pub drawn: u64,
    /// Its length.
    pub lasts: Duration,
    /// What became of them.
    pub totals: Recorder,
}

impl GeneratorCheck {
    /// Was the generator the limit, by the rule of a real load?
    pub fn is_limit(&self) -> bool {
        let never_started = self.drawn.saturating_sub(self.totals.started);
        limit::is_limit(never_started, self.drawn, &self.totals.lag)
    }
}

impl fmt::Display for GeneratorCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let per_second = |n: u64| n as f64 / self.lasts.as_secs_f64();
        writeln!(
            f,
            "schedule:  {} starts in {:.1} s: {:.1}/s",
            self.drawn,
            self.lasts.as_secs_f64(),
            per_second(self.drawn)
        )?;
        writeln!(
            f,
            "achieved:  {} starts: {:.1}/s; {} were more than 10 ms late, {} were dropped",
            totals.started,
            per_second(totals.started),
            totals.late,
            totals.dropped
        )?;
        write!(f, "{}", StartLag(totals))?;
        let is = if self.is_limit() { "is" } else { "is not" };
        writeln!(
            f,
            "at this rate the generator {is} the limit; it is if 0.1 % never start or the p99 is above 5 ms"
        )
    }
}

/// Runs the open loop of `config` along `profile`; each op ends at once. Must be called within a tokio runtime with
/// I/O and time.
///
/// # Errors
///
/// A driver died.
pub async fn check_generator(config: &LoadConfig, profile: Profile) -> Result<GeneratorCheck, Died> {
    let lasts = profile.duration();
    let config = LoadConfig {
        arrivals: config.arrivals.with_rate(profile.first().ops_per_s()),
        profile: Some(profile),
        ..config.clone()
    };
    let (_rates, changes) = watch::channel(None);
    let deaths = Deaths::default();
    let stop = deaths.end();
    let start = Instant::now();
    let (mut drivers, mut recorders, mut schedules) = (JoinSet::new(), Vec::new(), Vec::new());
    for (number, (pace, _)) in (1..).zip(config.paces(0, start, changes)) {
        recorders.push(Arc::clone(&pace.recorder));
        schedules.extend(pace.schedule.clone());
        let (recorder, stop, deaths) = (Arc::clone(&pace.recorder), stop.clone(), deaths.clone());
        let driver = async move {
            let recorder = &*recorder;
            let next = |start: Start| async move { start.begin(recorder) };
            drive(pace, Alarm::exact(), &stop, next, |_| {}).await;
        };
        drivers.spawn(async move { deaths.watch(format!("driver {number}"), driver).await });
    }
    // What has not been started by then would be dropped.
    tokio::select! {
        () = tokio::time::sleep_until(start + lasts + TOO_LATE) => {}
        died = deaths.first() => return Err(died),
    }
    stop.cancel();
    while drivers.join_next().await.is_some() {}
    let totals = Intervals::new(recorders, 0).end().recorded.clone();
    let mut drawn = 0;
    for schedule in &mut schedules {
        while schedule.take().is_some() {
            drawn += 1;
        }
    }
    Ok(GeneratorCheck { drawn, lasts, totals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::Arrivals;

    #[tokio::test]
    async fn what_was_drawn_is_started_or_dropped() {
        let config = LoadConfig { arrivals: Arrivals::Poisson(1.0), ..LoadConfig::default() };
        let check = check_generator(&config, "1000/200ms,3000/200ms".parse().unwrap()).await.unwrap();
        assert!((600..=1_000).contains(&check.drawn), "{}", check.drawn);
        assert_eq!(check.totals.offered, check.drawn);
        assert_eq!(check.totals.started + check.totals.dropped, check.drawn);
        let text = check.to_string();
        assert!(text.contains("schedule:") && text.contains("(p99)") && text.contains("the limit"), "{text}");
    }

    #[test]
    fn the_limit_is_a_start_in_a_thousand_or_a_lag_of_5_ms() {
        let check = |started: u64, lag_us: u64| {
            let mut totals = Recorder::new(0);
            (0..started).for_each(|_| totals.started(Some(Duration::from_micros(lag_us))));
            GeneratorCheck { drawn: 10_000, lasts: Duration::from_secs(1), totals }.is_limit()
        };
        assert_eq!([check(9_990, 10), check(9_989, 10)], [false, true]);
        assert_eq!([check(10_000, 4_900), check(10_000, 5_200), check(0, 0)], [false, true, true]);
    }
}
