//! Numbers of a run with their names, in reading order: the same in every report.

use verdict::{FaultWidth, PhaseLatency, Verdict};

use crate::{millis, percent, plain};

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) name: String,
    /// For people.
    pub(crate) shown: String,
    /// For differences.
    pub(crate) value: Option<f64>,
    pub(crate) kind: Kind,
}

/// How a value reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ms.
    Millis,
    /// 0-1.
    Share,
    /// ops/s.
    Rate,
    /// How many.
    Count,
}

impl Kind {
    /// `value` for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Kind::Millis => millis(Some(value)),
            Kind::Share => percent(value),
            Kind::Rate => format!("{value:.0} ops/s"),
            Kind::Count => format!("{value:.0}"),
        }
    }
}

impl Measure {
    /// What `other` has more (or less) than this.
    pub(crate) fn difference(&self, other: Option<&Measure>) -> String {
        let Some((a, b)) = self.value.zip(other.and_then(|other| other.value)) else { return String::new() };
        let difference = b - a;
        let sign = if difference < 0.0 { "-" } else { "+" };
        let size = self.kind.show(difference.abs());
        // Of shares the difference is in points; a share of a share misleads.
        let relative = !matches!(self.kind, Kind::Share) && a.abs() > f64::EPSILON;
        let relative = if relative {
            format!(" ({sign}{:.0} %)", 100.0 * difference.abs() / a.abs())
        } else {
            String::new()
        };
        format!("{sign}{}{relative}", size.replace(" %", " points"))
    }
}

fn measure(name: impl Into<String>, kind: Kind, value: Option<f64>) -> Measure {
    let shown = value.map_or("-".to_owned(), |value| kind.show(value));
    Measure { name: name.into(), shown, value, kind }
}

/// A time from the fault's begin or end, which lay up to `width_ms` before its acknowledgement: as an interval, where that shows.
fn since(name: impl Into<String>, ms: Option<f64>, width_ms: f64) -> Measure {
    let row = measure(name, Kind::Millis, ms);
    let longest = ms.map(|ms| millis(Some(ms + width_ms)));
    match longest.filter(|longest| *longest != row.shown) {
        Some(longest) => Measure { shown: format!("{} to {longest}", row.shown), ..row },
        None => row,
    }
}

fn count(name: impl Into<String>, count: u64) -> Measure {
    measure(name, Kind::Count, Some(count as f64))
}

/// All of them.
pub(crate) fn measures(verdict: &Verdict) -> Vec<Measure> {
    let m = &verdict.measures;
    let FaultWidth { on_ms: on_width, off_ms: off_width } = m.fault_width_ms;
    let baseline = measure("baseline goodput", Kind::Rate, Some(m.baseline_goodput));
    let shown = format!("{:.0} ops/s ± {:.0}", m.baseline_goodput, m.baseline_sigma);
    let mut rows =
        vec![Measure { shown, ..baseline }, since("time to first error (TTD)", m.time_to_error_ms, on_width)];
    for (server, ms) in &m.time_to_trip_ms {
        let row = since(format!("time to trip (TTT), {}", plain(server)), *ms, on_width);
        let shown = if ms.is_none() { "no trip".to_owned() } else { row.shown.clone() };
        rows.push(Measure { shown, ..row });
    }
    rows.push(measure("goodput retained", Kind::Share, m.goodput_retained));
    rows.push(measure("failed ops under the fault", Kind::Share, Some(m.error_share)));
    for (class, share) in &m.error_share_by_class {
        rows.push(measure(format!("... {}", class.replace('_', " ")), Kind::Share, Some(*share)));
    }
    rows.push(measure("failed ops of healthy servers", Kind::Share, Some(m.healthy_error_share)));
    let breakers = &m.breakers;
    for (server, lost) in &breakers.lost_before_trip {
        rows.push(count(format!("failed before the trip, {}", plain(server)), *lost));
    }
    // Of a client without breakers nothing is counted, which is not the same as 0.
    let of_breakers =
        |name: String, n: u64| measure(name, Kind::Count, m.reported.breakers.then_some(n as f64));
    for (server, opens) in &breakers.opens {
        rows.push(of_breakers(format!("opens under the fault, {}", plain(server)), *opens));
    }
    rows.push(of_breakers("trips of healthy servers".to_owned(), m.trips_elsewhere));
    rows.push(of_breakers("opens before the fault".to_owned(), breakers.opens_before));
    rows.push(of_breakers("opens after recovery".to_owned(), breakers.reopened));
    rows.push(of_breakers("most probes per half-open".to_owned(), breakers.probes_per_half_open));
    rows.push(measure("from one open to the next", Kind::Millis, breakers.sawtooth_period_ms));
    rows.push(measure("error duty cycle", Kind::Share, breakers.error_duty_cycle));
    rows.push(since("time to failover (TTF)", m.routing.time_to_failover_ms, on_width));
    let closed = m.time_to_close_ms.filter(|_| m.reported.breakers);
    rows.push(since("time to close (TTC)", closed, off_width));
    rows.push(since("time to recover (TTR)", m.time_to_recover_ms, off_width));
    for phase in ["stabilization", "testing", "recovery"] {
        if let Some(PhaseLatency { p50_ms: p50, p99_ms: p99 }) = m.latency_ms.get(phase) {
            for (name, ms) in [("p50", p50), ("p99", p99)] {
                let row = measure(format!("latency {name}, {phase}"), Kind::Millis, Some(*ms));
                rows.push(Measure { shown: format!("{ms:.2} ms"), ..row });
            }
        }
    }
    rows.push(measure("dials", Kind::Count, m.reported.dials.then_some(m.connections.dials as f64)));
    rows.push(count("stale reads", m.stale.count));
    if m.stale.count > 0 {
        rows.push(measure("oldest stale read", Kind::Millis, Some(m.stale.worst_age_ms)));
        rows.push(measure("last stale read after the fault", Kind::Millis, Some(m.stale.until_ms)));
    }
    let wrong = measure("wrong values", Kind::Count, Some(m.wrong_values as f64));
    rows.push(Measure { shown: format!("{} of {} ops", m.wrong_values, m.ops), ..wrong });
    rows
}
