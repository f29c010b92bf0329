//! What a run did, as a table for people.

use std::fmt;
use std::time::Duration;

use crate::deaths::Died;
use crate::mix::OpKind;
use crate::op_log::OpLogReport;
use crate::oracles::OracleCounts;
use crate::recorder::{Recorder, Requests};

/// Fewer samples than this do not carry a quantile: at least 10 must lie beyond it.
const SAMPLES_BEYOND: f64 = 10.0;

/// Totals of a run.
#[derive(Debug)]
pub struct Summary {
    /// Everything that was recorded.
    pub totals: Recorder,
    /// How long load was made; without the warm-up.
    pub elapsed: Duration,
    /// Wrong values of the warm-up, of which nothing else is counted.
    pub warm_up_wrong_values: u64,
    /// What became of the op log; `None`: there was none.
    pub op_log: Option<OpLogReport>,
    /// The first of the load's tasks that panicked: what is counted here is less than what was asked for.
    pub died: Option<Died>,
}

impl Summary {
    /// Reads that gave a version that had been replaced or deleted before.
    pub fn stale_reads(&self) -> u64 {
        self.totals.oracles.stale + self.totals.oracles.resurrected
    }

    /// Replies that carried a wrong value; those of the warm-up too.
    pub fn wrong_values(&self) -> u64 {
        self.totals.outcomes().get(observation::Outcome::WrongValue) + self.warm_up_wrong_values
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes = self.totals.outcomes();
        let seconds = self.elapsed.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} ops in {:.1} s: {:.0} ok/s, {} errors ({:.3} %), {} wrong values",
            outcomes.total(),
            self.elapsed.as_secs_f64(),
            outcomes.ok() as f64 / seconds,
            outcomes.errors(),
            100.0 * outcomes.errors() as f64 / outcomes.total().max(1) as f64,
            self.wrong_values(),
        )?;
        if let Some(died) = &self.died {
            writeln!(f, "{died}")?;
        }
        if self.totals.late + self.totals.dropped > 0 {
            writeln!(
                f,
                "generator: {} starts were more than 10 ms late, {} were dropped, of {} offered",
                self.totals.late, self.totals.dropped, self.totals.offered
            )?;
        }
        write!(f, "{}", StartLag(&self.totals))?;
        if let Some(latency) = &self.totals.requests.latency {
            write!(f, "requests:")?;
            for ((_, name), n) in Requests::ENDS.into_iter().zip(self.totals.requests.ends) {
                write!(f, " {n} {name},")?;
            }
            let quantile = |q| millis(latency.value_at_quantile(q));
            writeln!(
                f,
                " latency p50 {}, p99 {}, max {}",
                quantile(0.5),
                quantile(0.99),
                millis(latency.max())
            )?;
        }
        write_oracles(f, &self.totals.oracles)?;
        if let Some(log) = &self.op_log {
            write!(
                f,
                "op log: {} ops written, {} dropped (its writer was behind)",
                log.written, log.dropped
            )?;
            if log.failed {
                write!(f, ", {} lost: THE FILE COULD NOT BE WRITTEN", log.lost)?;
            }
            writeln!(f)?;
        }
        for (class, n) in outcomes.0.iter().filter(|(class, _)| !class.is_ok()) {
            writeln!(f, "  {:<16}{n:>12}", class.name())?;
        }
        write_kinds(f, &self.totals)
    }
}

/// A table with a line for each kind of op that there was.
fn write_kinds(f: &mut fmt::Formatter<'_>, totals: &Recorder) -> fmt::Result {
    writeln!(
        f,
        "{:<10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}   (latency from the intended start)",
        "op", "count", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for kind in OpKind::ALL {
        let latency = totals.latency_of(kind);
        if latency.is_empty() {
            continue;
        }
        write!(f, "{:<10}{:>12}", kind.name(), latency.len())?;
        for q in [0.5, 0.9, 0.99, 0.999] {
            let enough = latency.len() as f64 * (1.0 - q) >= SAMPLES_BEYOND;
            let text = if enough { millis(latency.value_at_quantile(q)) } else { "-".to_owned() };
            write!(f, "{text:>12}")?;
        }
        writeln!(f, "{:>12}", millis(latency.max()))?;
    }
    Ok(())
}

/// How far starts were behind, as a line; nothing for a closed loop.
pub(crate) struct StartLag<'a>(pub(crate) &'a Recorder);

impl fmt::Display for StartLag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lag = &self.0.lag;
        if lag.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "generator: starts were behind by {} (p50), {} (p99), {} (max); {:.3} % by more than 1 ms",
            millis(lag.value_at_quantile(0.5)),
            millis(lag.value_at_quantile(0.99)),
            millis(lag.max()),
            100.0 * self.0.late_1ms as f64 / lag.len() as f64,
        )
    }
}

/// One line each, only of what was found.
fn write_oracles(f: &mut fmt::Formatter<'_>, found: &OracleCounts) -> fmt::Result {
    if found.stale > 0 {
        let worst = millis(found.stale_worst_us);
        writeln!(
            f,
            "stale: {} reads of a version that a newer one had replaced, up to {worst} before",
            found.stale
        )?;
    }
    if found.resurrected > 0 {
        writeln!(f, "resurrected: {} reads of a value that had been deleted", found.resurrected)?;
    }
    if found.counter_resets > 0 {
        writeln!(f, "counters: {} began anew (eviction, expiry or restart)", found.counter_resets)?;
    }
    Ok(())
}

fn millis(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use observation::Outcome;

    use super::*;
    use crate::recorder::Ended;

    #[test]
    fn a_summary_shows_classes_and_only_quantiles_with_enough_samples() {
        let mut totals = Recorder::new(1);
        for n in 0..1_000 {
            let outcome = if n < 10 { Outcome::Timeout } else { Outcome::Hit };
            totals.ended(Ended { kind: OpKind::Get, home: 0, outcome, latency_us: 1_000, service_us: 900 });
        }
        for n in 0..1_000 {
            totals.started(Some(Duration::from_micros(if n < 5 { 2_000 } else { 6 })));
        }
        totals.oracles.stale = 3;
        totals.oracles.stale_worst_us = 1_500_000;
        totals.oracles.resurrected = 2;
        totals.oracles.counter_resets = 1;
        let op_log = Some(OpLogReport { written: 7, dropped: 2, lost: 1, failed: true });
        let elapsed = Duration::from_secs(2);
        let text = Summary { totals, elapsed, warm_up_wrong_values: 0, op_log, died: None }.to_string();
        let expected = "\
1000 ops in 2.0 s: 495 ok/s, 10 errors (1.000 %), 0 wrong values
generator: starts were behind by 0.006 ms (p50), 0.006 ms (p99), 2.007 ms (max); 0.500 % by more than 1 ms
stale: 3 reads of a version that a newer one had replaced, up to 1500.000 ms before
resurrected: 2 reads of a value that had been deleted
counters: 1 began anew (eviction, expiry or restart)
op log: 7 ops written, 2 dropped (its writer was behind), 1 lost: THE FILE COULD NOT BE WRITTEN
  timeout                   10
op               count         p50         p90         p99       p99.9         max   (latency from the intended start)
get               1000    1.003 ms    1.003 ms    1.003 ms           -    1.003 ms
";
        assert_eq!(text, expected);
    }
}
