//! Numbers of a run with their names, in reading order: the same in every report.

use verdict::Verdict;

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

/// How a difference of two values reads, and whether less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ms; less is better.
    Millis,
    /// 0-1; less is better.
    Bad,
    /// 0-1; more is better.
    Good,
    /// ops/s; neither, the load decides.
    Rate,
    /// A count; less is better.
    Count,
}

impl Kind {
    /// `value` for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Kind::Millis => millis(Some(value)),
            Kind::Bad | Kind::Good => percent(value),
            Kind::Rate => format!("{value:.0} ops/s"),
            Kind::Count => format!("{value:.0}"),
        }
    }
}

fn measure(name: impl Into<String>, kind: Kind, value: Option<f64>) -> Measure {
    let shown = value.map_or("-".to_owned(), |value| kind.show(value));
    Measure { name: name.into(), shown, value, kind }
}

/// All of them.
pub(crate) fn measures(verdict: &Verdict) -> Vec<Measure> {
    let m = &verdict.measures;
    let baseline = measure("baseline goodput", Kind::Rate, Some(m.baseline_goodput));
    let shown = format!("{:.0} ops/s ± {:.0}", m.baseline_goodput, m.baseline_sigma);
    let mut rows = vec![
        Measure { shown, ..baseline },
        measure("time to first error", Kind::Millis, m.time_to_error_ms),
    ];
    for (server, ms) in &m.time_to_trip_ms {
        let row = measure(format!("time to trip, {}", plain(server)), Kind::Millis, *ms);
        let shown = if ms.is_none() { "no trip".to_owned() } else { row.shown.clone() };
        rows.push(Measure { shown, ..row });
    }
    rows.push(measure("goodput retained", Kind::Good, m.goodput_retained));
    rows.push(measure("failed ops under the fault", Kind::Bad, Some(m.error_share)));
    for (class, share) in &m.error_share_by_class {
        rows.push(measure(format!("... {}", class.replace('_', " ")), Kind::Bad, Some(*share)));
    }
    rows.push(measure("failed ops of healthy servers", Kind::Bad, Some(m.healthy_error_share)));
    rows.push(measure("time to close", Kind::Millis, m.time_to_close_ms));
    rows.push(measure("time to recover", Kind::Millis, m.time_to_recover_ms));
    for phase in ["stabilization", "testing", "recovery"] {
        if let Some([p50, p99]) = m.latency_ms.get(phase) {
            for (name, ms) in [("p50", p50), ("p99", p99)] {
                let row = measure(format!("latency {name}, {phase}"), Kind::Millis, Some(*ms));
                rows.push(Measure { shown: format!("{ms:.2} ms"), ..row });
            }
        }
    }
    let wrong = measure("wrong values", Kind::Count, Some(m.wrong_values as f64));
    rows.push(Measure { shown: format!("{} of {} ops", m.wrong_values, m.ops), ..wrong });
    rows
}
