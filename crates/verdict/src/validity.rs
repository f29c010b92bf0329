//! Can this run say anything about the client? Each witness is a criterion that must pass first.

use observation::clock::SuspendWatch;
use observation::{EndStatus, FaultState};

use crate::expect::KERNEL_LOSS;
use crate::measure::{Measures, median};
use crate::timeline::{FaultLife, Timeline, share};
use crate::{Criterion, Result};

/// Seconds of baseline at least.
const BASELINE_SECONDS: usize = 3;
/// Ops of the baseline at each faulted server at least.
const TRAFFIC_MIN: u64 = 20;
/// Above this share of failed ops the baseline is ill.
const BASELINE_ERRORS: f64 = 0.01;
/// Spread of the baseline above which nothing can be told.
const BASELINE_NOISE: f64 = 0.15;
/// Share of late or dropped starts that makes the generator the limit.
const MISSED: f64 = 0.01;
/// An answer slower than this, or none, is one that the fault delayed (µs), unless the fault says otherwise.
const SLOW_US: u64 = 100_000;
/// Canaries sent this shortly before the fault ends say nothing about it.
const EDGE_US: u64 = 10_000;
/// What a scenario calls a toxic of the proxy by its own name: nobody knows what it does to a canary or to an op.
const TOXIC: &str = "toxic";
/// A toxic that no canary and no op shows has touched more chunks than so many per canary: one of them is a request and a reply,
/// and a few more are under way at the edges.
const CANARY_CHUNKS: u64 = 3;
/// Failed attempts and slow ops that are an effect: more than twice those of the baseline's rate, and so many.
const HURT_MIN: f64 = 5.0;
/// The proxy's buckets come this late, µs.
const BUCKETS_US: u64 = 200_000;

pub(crate) fn criteria(timeline: &Timeline<'_>, measures: &Measures) -> Vec<Criterion> {
    let mut criteria =
        vec![completed(timeline), clean(timeline), observed(timeline), baseline(timeline, measures)];
    criteria.push(generator(measures));
    // One fault may be several toxics of a proxy.
    let mut seen = Vec::new();
    for fault in &timeline.faults {
        let this = (&fault.target, &fault.meaning, &fault.given);
        if !seen.contains(&this) {
            seen.push(this);
            criteria.push(bitten(timeline, fault));
        }
    }
    if timeline.faults.is_empty() {
        criteria.push(criterion(
            "fault-bit",
            "The fault was there",
            Result::Invalid,
            "a fault",
            "none was applied".to_owned(),
        ));
    }
    criteria
}

fn criterion(
    id: &'static str,
    title: &'static str,
    result: Result,
    expected: &str,
    measured: String,
) -> Criterion {
    let because = "without it the run says nothing about the client".to_owned();
    Criterion { id, title, result, expected: expected.to_owned(), because, measured }
}

fn completed(timeline: &Timeline<'_>) -> Criterion {
    let (result, measured) = match timeline.end {
        None => (Result::Inconclusive, "the journal has no end: the runner was killed".to_owned()),
        Some(end) if end.status != EndStatus::Completed => {
            (Result::Inconclusive, end.reason.clone().unwrap_or_else(|| "ended early".to_owned()))
        }
        Some(_) if timeline.truncated => (Result::Inconclusive, "the journal is cut".to_owned()),
        Some(_) => (Result::Pass, "all three".to_owned()),
    };
    criterion("completed", "All phases ran to their end", result, "three whole phases", measured)
}

fn clean(timeline: &Timeline<'_>) -> Criterion {
    let removed = timeline.faults.iter().all(|fault| fault.at(FaultState::Removed).is_some());
    let clean = timeline.end.is_some_and(|end| end.clean) && removed;
    let (result, measured) = match clean {
        true => (Result::Pass, "read back: gone"),
        false => (Result::Inconclusive, "a fault may still be there"),
    };
    criterion(
        "clean",
        "Every fault was taken away",
        result,
        "all faults read back as gone",
        measured.to_owned(),
    )
}

fn observed(timeline: &Timeline<'_>) -> Criterion {
    let lost: u64 = timeline.gaps.iter().map(|gap| gap.to_us.saturating_sub(gap.from_us)).sum();
    let restarted = timeline.gaps.iter().any(|gap| gap.reason.contains("restarted"));
    let (result, measured) = match &timeline.hello {
        None => (Result::Inconclusive, "the client never said who it is".to_owned()),
        Some(_) if restarted => (Result::Inconclusive, "the client under test was restarted".to_owned()),
        Some(_) if timeline.suspended >= SuspendWatch::MIN => {
            let slept = timeline.suspended.as_secs_f64();
            (Result::Inconclusive, format!("the client's machine was suspended for {slept:.1} s"))
        }
        Some(_) if lost > 0 => {
            let why = timeline.gaps.first().map_or("", |gap| gap.reason.as_str());
            (Result::Inconclusive, format!("{} ms are missing: {why}", lost / 1000))
        }
        Some(_) => (Result::Pass, format!("{} ticks", timeline.ticks.len())),
    };
    criterion("observed", "The client was seen all the time", result, "no gap in the observations", measured)
}

fn baseline(timeline: &Timeline<'_>, measures: &Measures) -> Criterion {
    let seconds = timeline.baseline_window().map_or(0, |(from, to)| timeline.seconds(from, to).len());
    let noise = if measures.baseline_goodput > 0.0 {
        measures.baseline_sigma / measures.baseline_goodput
    } else {
        0.0
    };
    let measured = format!(
        "{:.0} ok/s ± {:.1} %, {:.2} % errors, {seconds} s",
        measures.baseline_goodput,
        noise * 100.0,
        measures.baseline_error_share * 100.0
    );
    let result = if measures.baseline_goodput <= 0.0 || measures.baseline_error_share > BASELINE_ERRORS {
        Result::Invalid
    } else if seconds < BASELINE_SECONDS || noise > BASELINE_NOISE {
        Result::Inconclusive
    } else {
        Result::Pass
    };
    let expected = "at most 1 % errors, a spread of at most 15 %, at least 3 s";
    criterion("baseline", "The client was well before the fault", result, expected, measured)
}

fn generator(measures: &Measures) -> Criterion {
    let result = if measures.baseline_missed_share > MISSED { Result::Invalid } else { Result::Pass };
    let measured =
        format!("{:.2} % of starts late or dropped in the baseline", measures.baseline_missed_share * 100.0);
    criterion(
        "generator",
        "The load generator was not the limit",
        result,
        "at most 1 % missed starts",
        measured,
    )
}

/// Was the fault there, by witnesses on both sides of the client?
fn bitten(timeline: &Timeline<'_>, fault: &FaultLife) -> Criterion {
    let say = |result, expected: String, measured: String| Criterion {
        id: "fault-bit",
        title: "The fault was there",
        result,
        expected,
        because:
            "a canary past all client code, the client's own attempts and the proxy's counters must agree"
                .to_owned(),
        measured: format!("{}: {measured}", fault.target),
    };
    let expected = format!("{}: {}", fault.target, fault.given);
    let Some((on, off)) = timeline.fault_window() else {
        return say(Result::Invalid, expected, "never acknowledged, or ended at once".to_owned());
    };
    let Some(server) = &fault.server else {
        let why = "the client dials no server at this proxy's port: its path is not through the proxy";
        return say(Result::Invalid, expected, why.to_owned());
    };
    let Some((from, to)) = timeline.baseline_window() else {
        return say(Result::Invalid, expected, "no baseline".to_owned());
    };
    let traffic = timeline.sum(from, to).ops.get(server).map_or(0, observation::Counts::total);
    if traffic < TRAFFIC_MIN {
        return say(
            Result::Invalid,
            expected,
            format!("{traffic} ops of the client at this server before the fault"),
        );
    }
    let canary = canary(timeline, fault, on, off);
    let client = client(timeline, fault, server, on, off);
    let dose = match fault.meaning == TOXIC {
        true => toxic_dose(timeline, fault, server, on, off),
        false => dose(timeline, fault, on, off),
    };
    let bit = canary.0 && client.0 && dose.0;
    let measured = [canary.1, client.1, dose.1].join("; ");
    say(if bit { Result::Pass } else { Result::Invalid }, expected, measured)
}

/// Share of canaries that a fault should touch, where that can be said.
fn declared(fault: &FaultLife) -> Option<f64> {
    if let Some(loss) = fault.param("loss") {
        // Request and reply; and as a canary has a connection of its own, which packets open, really lost ones count twice.
        let packets = if fault.meaning == KERNEL_LOSS { 4 } else { 2 };
        return Some(1.0 - (1.0 - loss).powi(packets));
    }
    fault
        .param("share")
        .or(fault.param("latency_ms").map(|_| 1.0))
        .or((fault.meaning == "down").then_some(1.0))
}

fn canary(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> (bool, String) {
    let Some(declared) = declared(fault) else {
        return (true, "canary not asked: this fault need not touch its small requests".to_owned());
    };
    let took = |from: u64, to: u64| {
        let of = timeline
            .canaries
            .iter()
            .filter(move |c| c.target == fault.target && c.at_us >= from && c.at_us < to);
        of.collect::<Vec<_>>()
    };
    let healthy: Vec<f64> =
        took(0, on.saturating_sub(100_000)).iter().filter_map(|c| Some(c.took_us? as f64)).collect();
    if healthy.is_empty() {
        return (false, "no canary before the fault".to_owned());
    }
    let usual = median(&healthy) as u64;
    let during = took(on, off.saturating_sub(EDGE_US));
    let touched = during.iter().filter(|canary| {
        let Some(took) = canary.took_us else { return true };
        let slow = match fault.param("latency_ms") {
            Some(latency) => (latency * 500.0) as u64,
            None => SLOW_US,
        };
        // What is held when the fault ends is let go at once, so a late canary cannot be slower than what was left of it.
        took.saturating_sub(usual) >= slow.min((off - canary.at_us) / 2)
    });
    let (n, touched) = (during.len(), touched.count());
    let text = format!("{touched} of {n} canaries touched, {:.0} % declared", declared * 100.0);
    // Half of the declared share less four standard errors: wide, because a witness must not be a judge.
    let error = (declared * (1.0 - declared) / n.max(1) as f64).sqrt();
    let least = (0.5 * declared - 4.0 * error) * n as f64;
    (touched >= 1 && touched as f64 >= least, text)
}

/// What the client itself met at that server.
fn client(timeline: &Timeline<'_>, fault: &FaultLife, server: &str, on: u64, off: u64) -> (bool, String) {
    // A tick may end up to a timeout after what it tells of began.
    let tail = timeline.hello.map_or(0, |hello| hello.settings.op_timeout_ms * 1000) + 200_000;
    let sum = timeline.sum(on, off + tail);
    let failed = sum.attempts.get(server).map_or(0, observation::Counts::errors);
    let slow_us = fault.param("latency_ms").map_or(SLOW_US, |ms| (ms * 500.0) as u64).min((off - on) / 2);
    let slow = sum.service.get(server).map_or(0, |service| service.above(slow_us));
    let text = format!("the client met {failed} failed attempts and {slow} slow ops there");
    if fault.param("share").is_some_and(|share| share < 1.0) {
        // A client that drops dead connections soon has none: the fault has extinguished itself.
        let seconds = timeline.seconds(on, off);
        let hit =
            seconds.iter().filter(|(_, s)| s.attempts.get(server).is_some_and(|a| a.errors() > 0)).count();
        let text = format!("{text}, in {hit} of {} seconds", seconds.len());
        return (hit * 2 >= seconds.len() && hit > 0, text);
    }
    let asked = declared(fault).is_some();
    (!asked || failed + slow > 0, text)
}

/// What the proxy says, where it can; of the kernel's loss the kernel.
fn dose(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> (bool, String) {
    let kernel = fault.meaning == KERNEL_LOSS;
    let counter = if kernel { &fault.id } else { &fault.target };
    let of: Vec<_> = timeline.doses.iter().filter(|dose| dose.target == *counter).collect();
    if of.is_empty() && kernel {
        return (false, "the kernel's counters were never read".to_owned());
    }
    if of.is_empty() || fault.meaning == "down" {
        return (true, "no dose counters".to_owned());
    }
    let during = of.iter().filter(|dose| dose.at_us > on && dose.at_us <= off + BUCKETS_US);
    let (chunks, touched) =
        during.fold((0, 0), |(chunks, touched), dose| (chunks + dose.chunks, touched + dose.chunks_touched));
    if !kernel {
        return (touched > 0, format!("the proxy touched {touched} of {chunks} chunks"));
    }
    let declared = fault.param("loss").unwrap_or(0.0);
    // Each packet is a die of its own: what is beyond five standard errors is not this loss.
    let error = (declared * (1.0 - declared) * chunks as f64).sqrt();
    let near = (touched as f64 - declared * chunks as f64).abs() <= 5.0 * error + 1.0;
    let share = share(touched, chunks) * 100.0;
    (touched > 0 && near, format!("the kernel lost {touched} of {chunks} packets, {share:.2} %"))
}

/// Of a toxic by its own name the proxy's counter is the only witness, so it must be this toxic's and the client's.
fn toxic_dose(timeline: &Timeline<'_>, fault: &FaultLife, server: &str, on: u64, off: u64) -> (bool, String) {
    let suffix = format!(" on {}", fault.target);
    let foreign = timeline.notes.iter().find_map(|note| {
        note.strip_prefix("foreign-toxic: ").filter(|toxic| toxic.ends_with(&suffix)).map(str::to_owned)
    });
    if let Some(foreign) = foreign {
        return (false, format!("somebody else's toxic, {foreign}, moves the same counter"));
    }
    let within = |at_us: u64| at_us > on && at_us <= off + BUCKETS_US;
    let mut doses = timeline.doses.iter().filter(|dose| dose.target == fault.target).peekable();
    if doses.peek().is_none() {
        return (
            false,
            "no dose counters, as of a stock Toxiproxy: nothing shows what it touched".to_owned(),
        );
    }
    let (chunks, touched) = doses
        .filter(|dose| within(dose.at_us))
        .fold((0, 0), |(chunks, touched), dose| (chunks + dose.chunks, touched + dose.chunks_touched));
    let canaries =
        timeline.canaries.iter().filter(|c| c.target == fault.target && within(c.at_us)).count() as u64;
    let beyond = touched > CANARY_CHUNKS * canaries;
    let hurt = hurt(timeline, server, on, off);
    let text = format!("the proxy touched {touched} of {chunks} chunks, with {canaries} canaries among them");
    let text = match (touched > 0, beyond || hurt) {
        (true, false) => format!(
            "{text}: no more than {CANARY_CHUNKS} a canary, and no effect on the client, so it may have met the canaries alone"
        ),
        _ => text,
    };
    (touched > 0 && (beyond || hurt), text)
}

/// Did the client's own attempts at that server fail, or last, clearly more often than before the fault?
fn hurt(timeline: &Timeline<'_>, server: &str, on: u64, off: u64) -> bool {
    let harm = |from: u64, to: u64| {
        let sum = timeline.sum(from, to);
        let failed = sum.attempts.get(server).map_or(0, observation::Counts::errors);
        let slow = sum.service.get(server).map_or(0, |service| service.above(SLOW_US));
        ((failed + slow) as f64, sum.seconds)
    };
    let (now, seconds) = harm(on, off);
    let usual = timeline.baseline_window().map_or(0.0, |(from, to)| {
        let (before, of) = harm(from, to);
        if of > 0.0 { before / of * seconds } else { 0.0 }
    });
    now >= HURT_MIN && now > 2.0 * usual
}
