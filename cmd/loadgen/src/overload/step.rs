//! Ticks, added up to one step.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity::{Measured, Second};
use observation::{Counts, Histogram, Outcome, Tick};

/// Adds ticks up.
#[derive(Debug, Default)]
pub struct Sum {
    offered: u64,
    late: u64,
    dropped: u64,
    bytes: (u64, u64),
    ended: Counts,
    latency: Histogram,
    period_us: u64,
    in_flight: Vec<f64>,
    second: Sample,
    seconds: Vec<Second>,
}

/// A second that is not over.
#[derive(Debug, Default)]
struct Sample {
    period_us: u64,
    ok: u64,
    errors: u64,
    latency_us: f64,
}

/// Shortest part of a second that counts as a whole one: ticks do not end with it.
const WHOLE_US: u64 = 950_000;

impl Sum {
    /// Adds one tick, at whose end so many ops were in flight.
    pub fn add(&mut self, tick: &Tick, in_flight: u64) {
        self.offered += tick.offered;
        self.late += tick.late;
        self.dropped += tick.dropped;
        self.period_us += tick.period_us;
        self.in_flight.push(in_flight as f64);
        self.second.period_us += tick.period_us;
        for server in &tick.servers {
            self.bytes.0 += server.bytes_in;
            self.bytes.1 += server.bytes_out;
            self.ended.merge(&server.ops);
            self.latency.merge(&server.latency);
            self.second.ok += server.ops.ok();
            self.second.errors += server.ops.errors();
            self.second.latency_us += total(&server.latency);
        }
        if self.second.period_us >= WHOLE_US {
            let Sample { period_us, ok, errors, latency_us } = std::mem::take(&mut self.second);
            let avg_ms = latency_us / (ok + errors).max(1) as f64 / 1e3;
            // A tick may be late, and then a second is longer.
            let seconds = period_us as f64 / 1e6;
            let each = |n: u64| (n as f64 / seconds).round() as u64;
            self.seconds.push(Second { ok: each(ok), errors: each(errors), avg_ms });
        }
    }

    /// How long the ticks were.
    pub fn lasted(&self) -> Duration {
        Duration::from_micros(self.period_us)
    }

    /// The step. `complete`: it was made to its end.
    pub fn measured(self, wait_p99_ms: Option<f64>, complete: bool) -> Measured {
        let at = |q: f64| self.latency.quantile_us(q).unwrap_or(0) as f64 / 1e3;
        let classes: BTreeMap<Outcome, u64> = self
            .ended
            .0
            .iter()
            .filter(|(class, _)| class.is_error())
            .map(|(class, n)| (*class, *n))
            .collect();
        Measured {
            seconds: self.period_us as f64 / 1e6,
            offered: self.offered,
            late: self.late,
            dropped: self.dropped,
            ok: self.ended.ok(),
            errors: self.ended.errors(),
            classes: classes.into_iter().map(|(class, n)| (class.name(), n)).collect(),
            avg_ms: total(&self.latency) / self.latency.count().max(1) as f64 / 1e3,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            wait_p99_ms,
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            in_flight: self.in_flight,
            per_second: self.seconds,
            complete,
        }
    }
}

/// Sum of all samples, µs.
fn total(latency: &Histogram) -> f64 {
    latency.0.iter().map(|(us, n)| *us as f64 * *n as f64).sum()
}

#[cfg(test)]
mod tests {
    use observation::ServerTick;

    use super::*;

    #[test]
    fn ticks_add_up_to_a_step_and_to_its_seconds() {
        let mut ops = Counts::default();
        ops.add(Outcome::Hit, 9);
        ops.add(Outcome::Timeout, 1);
        let latency = Histogram(vec![(1_000, 9), (101_000, 1)]);
        let server = ServerTick { ops, latency, bytes_in: 50, ..ServerTick::default() };
        let tick = Tick {
            at_us: 0,
            period_us: 100_000,
            offered: 11,
            started: 10,
            late: 1,
            late_1ms: 1,
            dropped: 1,
            lag: Histogram::default(),
            servers: vec![server],
        };
        let mut sum = Sum::default();
        for n in 0..25 {
            sum.add(&tick, n);
        }
        assert_eq!(sum.lasted(), Duration::from_millis(2_500));
        let step = sum.measured(Some(7.0), true);
        assert_eq!((step.offered, step.ok, step.errors, step.late, step.dropped), (275, 225, 25, 25, 25));
        assert_eq!((step.avg_ms, step.p50_ms, step.p99_ms, step.max_ms), (11.0, 1.0, 101.0, 101.0));
        assert_eq!(step.classes, [("timeout", 25)]);
        assert_eq!((step.bytes_in, step.in_flight.len(), step.wait_p99_ms), (1_250, 25, Some(7.0)));
        assert_eq!(step.per_second, vec![Second { ok: 90, errors: 10, avg_ms: 11.0 }; 2]);
    }
}
