//! Was the fault there, by witnesses on both sides of the client?

use observation::effect::{Counted, Meets, SLOW_US};

use crate::Ruling;
use crate::dose::DoseMeter;
use crate::question::{Answer, Finding, Question};
use crate::statistics::median;
use crate::timeline::{FaultLife, Timeline, share};

/// Ops of the baseline at each faulted server at least.
const TRAFFIC_MIN: u64 = 20;
/// Canaries sent this shortly before the fault ends say nothing about it.
const EDGE_US: u64 = 10_000;
/// A toxic that no canary and no op shows has touched more chunks than so many per canary: one of them is a request and a reply,
/// and a few more are under way at the edges.
const CANARY_CHUNKS: u64 = 3;
/// Failed attempts and slow ops that are an effect: more than twice those of the baseline's rate, and so many.
const HURT_MIN: f64 = 5.0;
/// The proxy's buckets come this late, µs.
const BUCKETS_US: u64 = 200_000;

pub(crate) const FAULT_BIT: Question = Question { id: "fault-bit", title: "The fault was there" };
/// Asked where everything else says that the client's requests must have met the fault.
const WITNESS_AGREES: Question =
    Question { id: "witness-agrees", title: "The client tells what its requests met" };

/// Was it there? And does the client tell what its own requests met?
pub(crate) fn answers(
    timeline: &Timeline<'_>,
    fault: &FaultLife,
    meter: Option<&DoseMeter>,
    well: bool,
) -> Vec<Answer> {
    let say = |result, measured: String| {
        FAULT_BIT.asked(Finding {
            result,
            expected: format!("{}: {}", fault.target, fault.given),
            because:
                "a canary past all client code, the client's own attempts and the proxy's counters must agree"
                    .to_owned(),
            measured: format!("{}: {measured}", fault.target),
        })
    };
    let invalid = |why: &str| vec![say(Ruling::Invalid, why.to_owned())];
    let (Some((on, off)), Some(meter)) = (timeline.fault_window(), meter) else {
        return invalid("never acknowledged, or ended at once");
    };
    let Some(server) = &fault.server else {
        return invalid("the client dials no server at this proxy's port: its path is not through the proxy");
    };
    let Some((from, to)) = timeline.baseline_window() else { return invalid("no baseline") };
    let traffic = timeline.sum(from, to).ops.get(server).map_or(0, observation::Counts::total);
    if traffic < TRAFFIC_MIN {
        return invalid(&format!("{traffic} ops of the client at this server before the fault"));
    }
    let canary = canary(timeline, fault, on, off);
    let client = client(timeline, fault, server, on, off);
    let dose = match fault.effect.counted {
        Counted::ByProxy => proxy_dose(timeline, fault, on, off),
        Counted::ByProxyAlone => toxic_dose(timeline, fault, server, on, off),
        Counted::ByKernel => kernel_dose(timeline, fault, on, off),
        Counted::ByNobody => (true, NO_COUNTERS.to_owned()),
    };
    if nobody_can_tell(timeline, fault) && !hurt(timeline, server, on, off) {
        let why = [canary.1, client.1, dose.1].join("; ");
        return vec![FAULT_BIT.not_asked(format!("{}: nothing can show it: {why}", fault.target))];
    }
    let steady = (meter.is_whole(), meter.describe());
    let others = canary.0 && dose.0 && steady.0;
    let measured = [canary.1, client.1.clone(), dose.1, steady.1].join("; ");
    if well && others && !client.0 && must_suffer(timeline, fault, (on, off)) {
        let lie = WITNESS_AGREES.asked(Finding {
            result: Ruling::Fail,
            expected: format!("{server}: failed or slow ops"),
            because: "the proxy held more requests than the canaries sent, and every canary met the fault"
                .to_owned(),
            measured: client.1,
        });
        return vec![say(Ruling::Pass, measured), lie];
    }
    vec![say(if others && client.0 { Ruling::Pass } else { Ruling::Invalid }, measured)]
}

/// A canary need not meet it, and the proxy counts nothing: only the client's own harm could show that it was there.
fn nobody_can_tell(timeline: &Timeline<'_>, fault: &FaultLife) -> bool {
    let counts = timeline.doses.iter().any(|dose| dose.target == *counter(fault));
    fault.effect.declared_share().is_none() && fault.effect.counted == Counted::ByProxy && !counts
}

/// Did the client's own requests go through this proxy into a fault that spares none?
fn must_suffer(timeline: &Timeline<'_>, fault: &FaultLife, (on, off): (u64, u64)) -> bool {
    let spares_none = fault.effect.declared_share().is_some_and(|share| share >= 1.0);
    // Within any bucket: later the breaker may keep the client away, and the canaries make up for it.
    let beyond_canaries = timeline.doses.iter().filter(|dose| dose.target == fault.target).any(|dose| {
        let begin = dose.at_us.saturating_sub(dose.period_us);
        let sent = timeline.canaries.iter().filter(|canary| {
            canary.target == fault.target && canary.at_us + 50_000 > begin && canary.at_us <= dose.at_us
        });
        dose.at_us > on
            && dose.at_us <= off
            && dose.chunks_touched > CANARY_CHUNKS * (sent.count() as u64 + 1)
    });
    spares_none && beyond_canaries
}

/// Under which name its dose is counted.
pub(crate) fn counter(fault: &FaultLife) -> &String {
    match fault.effect.counted {
        Counted::ByKernel => &fault.id,
        Counted::ByProxy | Counted::ByProxyAlone | Counted::ByNobody => &fault.target,
    }
}

/// When each canary of the fault was sent, and whether the fault touched it. Nothing without canaries before the fault.
pub(crate) fn canaries(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> Vec<(u64, bool)> {
    let sent = |from: u64, to: u64| {
        let canaries = timeline.canaries.iter();
        canaries.filter(move |c| c.target == fault.target && c.at_us >= from && c.at_us < to)
    };
    let healthy: Vec<f64> =
        sent(0, on.saturating_sub(100_000)).filter_map(|canary| Some(canary.took_us? as f64)).collect();
    let Some(usual) = median(&healthy) else { return Vec::new() };
    let slow = fault.effect.slow_us();
    let touched = |canary: &observation::Canary| {
        let Some(took) = canary.took_us else { return true };
        // What is held when the fault ends is let go at once, so a late canary cannot be slower than what was left of it.
        took.saturating_sub(usual as u64) >= slow.min((off - canary.at_us) / 2)
    };
    sent(on, off.saturating_sub(EDGE_US)).map(|canary| (canary.at_us, touched(canary))).collect()
}

fn canary(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> (bool, String) {
    let Some(declared) = fault.effect.declared_share() else {
        return (true, "canary not asked: this fault need not touch its small requests".to_owned());
    };
    let during = canaries(timeline, fault, on, off);
    if during.is_empty() {
        return (false, "no canary before the fault, or none under it".to_owned());
    }
    let (n, touched) = (during.len(), during.iter().filter(|(_, touched)| *touched).count());
    let text = format!("{touched} of {n} canaries touched, {:.0} % declared", declared * 100.0);
    // Half of the declared share less four standard errors: wide, because a witness must not be a judge.
    let error = (declared * (1.0 - declared) / n as f64).sqrt();
    let least = (0.5 * declared - 4.0 * error) * n as f64;
    (touched >= 1 && touched as f64 >= least, text)
}

/// What the client itself met at that server.
fn client(timeline: &Timeline<'_>, fault: &FaultLife, server: &str, on: u64, off: u64) -> (bool, String) {
    // A tick may end up to a timeout after what it tells of began.
    let tail = timeline.op_timeout_us() + 200_000;
    let sum = timeline.sum(on, off + tail);
    let failed = sum.attempts.get(server).map_or(0, observation::Counts::errors);
    let slow_us = fault.effect.slow_us().min((off - on) / 2);
    let slow = sum.service.get(server).map_or(0, |service| service.above(slow_us));
    let text = format!("the client met {failed} failed attempts and {slow} slow ops there");
    if fault.effect.spares_connections() {
        // A client that drops dead connections soon has none: the fault has extinguished itself.
        let seconds = timeline.seconds(on, off);
        let hit =
            seconds.iter().filter(|(_, s)| s.attempts.get(server).is_some_and(|a| a.errors() > 0)).count();
        let text = format!("{text}, in {hit} of {} seconds", seconds.len());
        return (hit * 2 >= seconds.len() && hit > 0, text);
    }
    let asked = fault.effect.declared_share().is_some();
    (!asked || failed.saturating_add(slow) > 0, text)
}

/// Chunks and those touched, of one record more; they stop at the largest number.
fn add((chunks, touched): (u64, u64), dose: &observation::Dose) -> (u64, u64) {
    (chunks.saturating_add(dose.chunks), touched.saturating_add(dose.chunks_touched))
}

const NO_COUNTERS: &str = "no dose counters";

/// What the proxy says, where it can.
fn proxy_dose(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> (bool, String) {
    match counted(timeline, fault, on, off) {
        None => (true, NO_COUNTERS.to_owned()),
        Some((chunks, touched)) => (touched > 0, format!("the proxy touched {touched} of {chunks} chunks")),
    }
}

/// What the kernel says of packets that it really loses.
fn kernel_dose(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> (bool, String) {
    let Some((packets, lost)) = counted(timeline, fault, on, off) else {
        return (false, "the kernel's counters were never read".to_owned());
    };
    let declared = match fault.effect.meets {
        Meets::LostPackets { loss } => loss,
        _ => 0.0,
    };
    // Each packet is a die of its own: what is beyond five standard errors is not this loss.
    let error = (declared * (1.0 - declared) * packets as f64).sqrt();
    let near = (lost as f64 - declared * packets as f64).abs() <= 5.0 * error + 1.0;
    let share = share(lost, packets) * 100.0;
    (lost > 0 && near, format!("the kernel lost {lost} of {packets} packets, {share:.2} %"))
}

/// All that was counted for the fault, and what it touched, while it was on; `None`: nothing was ever counted for it.
fn counted(timeline: &Timeline<'_>, fault: &FaultLife, on: u64, off: u64) -> Option<(u64, u64)> {
    let mut doses = timeline.doses.iter().filter(|dose| dose.target == *counter(fault)).peekable();
    doses.peek()?;
    let during = doses.filter(|dose| dose.at_us > on && dose.at_us <= off + BUCKETS_US);
    Some(during.copied().fold((0, 0), add))
}

/// Of a toxic by its own name the proxy's counter is the only witness, so it must be this toxic's and the client's.
fn toxic_dose(timeline: &Timeline<'_>, fault: &FaultLife, server: &str, on: u64, off: u64) -> (bool, String) {
    let within = |at_us: u64| at_us > on && at_us <= off + BUCKETS_US;
    let Some((chunks, touched)) = counted(timeline, fault, on, off) else {
        return (false, format!("{NO_COUNTERS}, as of a stock Toxiproxy: nothing shows what it touched"));
    };
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
        (failed.saturating_add(slow) as f64, sum.seconds)
    };
    let (now, seconds) = harm(on, off);
    let usual = timeline.baseline_window().map_or(0.0, |(from, to)| {
        let (before, of) = harm(from, to);
        if of > 0.0 { before / of * seconds } else { 0.0 }
    });
    now >= HURT_MIN && now > 2.0 * usual
}
