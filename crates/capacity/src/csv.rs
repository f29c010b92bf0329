//! The tables for other programs. Numbers have a point and no separators, texts are quoted, a number that is not known is an empty cell.

use std::fmt::Write;

use crate::step::{Done, Phase, Transition};

/// Columns of the table of steps.
const METRICS: &str = "step,phase,started_s,settle_s,measured_s,complete,target_per_s,offered_per_s,throughput_per_s,\
latency_avg_ms,latency_p50_ms,latency_p99_ms,latency_max_ms,wait_p99_ms,errors,error_rate,late,dropped,in_flight_avg,\
bytes_in_per_s,bytes_out_per_s,result,because,throughput_each_second";

/// Columns of the table of phases.
const TRANSITIONS: &str = "sequence,at_s,unix_ms,from_phase,to_phase,target_per_s,because";

/// `gradual_overload_metrics.csv`: one row a step. The last column has one number a second, separated by spaces.
pub fn metrics(steps: &[Done]) -> String {
    let mut text = format!("{METRICS}\n");
    for (n, done) in steps.iter().enumerate() {
        let (order, m) = (&done.order, &done.measured);
        let seconds: Vec<String> = m.per_second.iter().map(|second| second.ok.to_string()).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{},{},{:.3},{:.3},{:.3},{},{:.3},{:.3},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{:.6},{},{},{:.3},{:.1},{:.1},{},{},{}",
            n + 1,
            order.phase.name(),
            done.at_s,
            order.settle.as_secs_f64(),
            m.seconds,
            m.complete,
            order.rate,
            m.offered_per_s(),
            m.throughput(),
            m.avg_ms,
            m.p50_ms,
            m.p99_ms,
            m.max_ms,
            m.wait_p99_ms.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
            m.errors,
            m.error_share(),
            m.late,
            m.dropped,
            m.in_flight_avg(),
            m.per_s(m.bytes_in),
            m.per_s(m.bytes_out),
            done.judged.0,
            quoted(&done.judged.1),
            quoted(&seconds.join(" ")),
        );
    }
    text
}

/// `phase_transitions.csv`: one row a change of the phase, the end of the run too.
pub fn transitions(transitions: &[Transition]) -> String {
    let mut text = format!("{TRANSITIONS}\n");
    let name = |phase: Option<Phase>, none: &'static str| phase.map_or(none, Phase::name);
    for (n, at) in transitions.iter().enumerate() {
        let _ = writeln!(
            text,
            "{},{:.3},{},{},{},{:.3},{}",
            n + 1,
            at.at_s,
            at.unix_ms,
            name(at.from, "none"),
            name(at.to, "end"),
            at.rate,
            quoted(&at.because)
        );
    }
    text
}

/// A text cell: one line, quotes doubled.
fn quoted(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", line.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Measured, Order, Second};
    use std::time::Duration;

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let order = Order {
            phase: Phase::Failure,
            rate: 450.0,
            settle: Duration::ZERO,
            measure: Duration::from_secs(2),
            mitigate: false,
            because: "slow".to_owned(),
        };
        let per_second = vec![Second { ok: 3, ..Second::default() }, Second { ok: 4, ..Second::default() }];
        let measured =
            Measured { seconds: 2.0, offered: 10, ok: 7, errors: 3, per_second, ..Measured::default() };
        let done = Done { order, at_s: 1.5, measured, judged: ("fail", "a \"slow\"\nstep".to_owned()) };
        let text = metrics(&[done]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].split(',').count(), rows[1].split(',').count());
        assert!(rows[1].starts_with("1,failure,1.500,0.000,2.000,false,450.000,5.000,3.500,"), "{}", rows[1]);
        assert!(rows[1].ends_with(r#","a ""slow"" step","3 4""#), "{}", rows[1]);
        assert!(rows[1].contains(",0.000,,3,0.300000,"), "{}", rows[1]);
    }

    #[test]
    fn transitions_name_begin_and_end() {
        let at =
            |from, to| Transition { at_s: 0.5, unix_ms: 7, from, to, rate: 50.0, because: "x".to_owned() };
        let text = transitions(&[at(None, Some(Phase::Init)), at(Some(Phase::Init), None)]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[1], "1,0.500,7,none,init,50.000,\"x\"");
        assert_eq!(rows[2], "2,0.500,7,init,end,50.000,\"x\"");
    }
}
