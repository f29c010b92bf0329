//! Why the critical point is where it is, as far as the steps themselves say.

use crate::step::{Done, Measured, Phase};

/// Throughput below this share of the offered load is a limit of throughput.
const KEEPS_UP: f64 = 0.95;
/// Starts missed above this share make the generator a suspect.
const MISSED: f64 = 0.001;

/// What the steps say about the step at `rate`, one sentence each. Empty: no such step was made.
pub fn explain(steps: &[Done], rate: f64) -> Vec<String> {
    let upwards = |done: &&Done| {
        matches!(done.order.phase, Phase::Warmup | Phase::LoadIncrease | Phase::Ramp | Phase::Bisection)
    };
    let steps: Vec<&Done> = steps.iter().filter(upwards).collect();
    let Some(critical) = steps.iter().rev().find(|done| done.order.rate == rate) else { return Vec::new() };
    let calm = steps.iter().min_by(|a, b| a.order.rate.total_cmp(&b.order.rate));
    let measured = &critical.measured;
    let mut told = Vec::new();
    let throughput = measured.throughput();
    if throughput < KEEPS_UP * measured.offered_per_s() {
        told.push(format!(
            "Throughput stopped at {throughput:.0}/s while {:.0}/s were asked for: something is used up.",
            measured.offered_per_s()
        ));
    } else {
        told.push(format!(
            "Throughput still kept up ({throughput:.0}/s of {:.0}/s): what grew is waiting.",
            measured.offered_per_s()
        ));
    }
    if let Some(bytes) = bytes(measured) {
        told.push(bytes);
    }
    if let Some(calm) = calm.filter(|calm| calm.order.rate < rate) {
        let (before, now) = (&calm.measured, measured);
        told.push(format!(
            "Mean latency was {:.2} ms at {:.0}/s and is {:.2} ms now; on average {:.1} ops were in flight, {:.1} before.",
            before.avg_ms,
            calm.order.rate,
            now.avg_ms,
            now.in_flight_avg(),
            before.in_flight_avg()
        ));
    }
    if !measured.classes.is_empty() {
        let classes: Vec<String> =
            measured.classes.iter().map(|(class, n)| format!("{n} {}", class.replace('_', " "))).collect();
        told.push(format!("Failed ops: {}.", classes.join(", ")));
    }
    if measured.missed_share() > MISSED {
        told.push(format!(
            "{:.2} % of the starts were late or dropped: this machine may be the limit, or too many ops were in flight.",
            100.0 * measured.missed_share()
        ));
    }
    told
}

/// How many bytes that is.
fn bytes(measured: &Measured) -> Option<String> {
    let (from, to) = (measured.per_s(measured.bytes_in), measured.per_s(measured.bytes_out));
    (from + to > 0.0).then(|| {
        let per_op = |bytes: u64| bytes as f64 / (measured.ok + measured.errors).max(1) as f64;
        format!(
            "That is {:.1} kB/s from the servers and {:.1} kB/s to them ({:.0} and {:.0} bytes an op).",
            from / 1e3,
            to / 1e3,
            per_op(measured.bytes_in),
            per_op(measured.bytes_out)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Order, Plan};
    use crate::{Gradual, GradualParams};

    fn done(rate: f64, measured: Measured) -> Done {
        let order = Gradual::new(GradualParams::default()).next().unwrap();
        let order = Order { phase: Phase::LoadIncrease, rate, ..order };
        Done { order, at_s: 0.0, measured, judged: ("-", String::new()) }
    }

    #[test]
    fn a_ceiling_is_told_with_its_bytes_and_errors() {
        let of = |offered, ok, avg_ms| Measured { seconds: 10.0, offered, ok, avg_ms, ..Measured::default() };
        let capped = Measured {
            errors: 2_000,
            classes: vec![("timeout", 2_000)],
            bytes_in: 640_000,
            ..of(4_000, 2_000, 180.0)
        };
        let steps = [done(50.0, of(500, 500, 0.4)), done(400.0, capped)];
        let told = explain(&steps, 400.0).join("\n");
        for part in ["stopped at 200/s while 400/s", "64.0 kB/s from", "0.40 ms at 50/s", "2000 timeout"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(explain(&steps, 50.0)[0].contains("still kept up"));
        assert!(explain(&steps, 77.0).is_empty());
    }
}
