//! `test_summary.txt`: what was found, for people, and by its `Name: value` lines for programs.

use std::fmt::Write;

use crate::compare::disagreement;
use crate::explain::explain;
use crate::gradual::{Effect, GradualParams, GradualReport};
use crate::search::{SearchParams, SearchReport, Statistic};
use crate::step::{Done, Phase};

/// Everything that a summary tells.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// What was tested.
    pub target: &'a str,
    /// How the run ended: `complete`, or where it was stopped.
    pub ended: &'a str,
    /// Every step, in order.
    pub steps: &'a [Done],
    /// The steps' algorithm, if it ran.
    pub gradual: Option<(&'a GradualReport, &'a GradualParams)>,
    /// The search, if it ran.
    pub search: Option<(&'a SearchReport, &'a SearchParams)>,
    /// What was noted on the way: the generator, the mitigation command.
    pub notes: &'a [String],
}

/// The text.
pub fn text(summary: &Summary<'_>) -> String {
    let mut out = String::from("Gradual overload\n");
    let critical = line_of_critical(summary);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Target: {}\nEnded: {}", summary.target, summary.ended);
    let _ = writeln!(out, "Critical failure point: {critical}");
    let _ = writeln!(out, "Safe operating range: {}", safe_range(summary));
    let peak = summary.gradual.and_then(|(report, _)| report.peak);
    let peak = peak.or(summary.search.and_then(|(report, _)| report.peak));
    let peak = peak
        .map_or(NONE.to_owned(), |peak| format!("{:.1} ops/s (at {:.1} ops/s)", peak.throughput, peak.rate));
    let _ = writeln!(out, "Peak throughput: {peak}");
    let _ = writeln!(out, "Baseline latency: {}", baseline(summary));
    let _ = writeln!(out, "Steps: {}", summary.steps.len());
    if let Some((report, params)) = summary.gradual {
        gradual(&mut out, report, params);
    }
    if let Some((report, params)) = summary.search {
        search(&mut out, report, params);
    }
    if let Some(rate) = critical_rate(summary) {
        let told = explain(summary.steps, rate);
        lines(&mut out, &format!("Why at {rate:.0} ops/s"), &told);
    }
    if let (Some(gradual), Some(search)) = (summary.gradual, summary.search) {
        lines(&mut out, "Both algorithms", &disagreement(gradual, search));
    }
    lines(&mut out, "Notes", summary.notes);
    out
}

const NONE: &str = "not found";

/// The rate of the first broken limit or, of a search alone, the lowest rate above the one that was found that failed.
fn critical_rate(summary: &Summary<'_>) -> Option<f64> {
    let by_steps = summary.gradual.and_then(|(report, _)| report.critical.as_ref());
    by_steps.map(|critical| critical.rate).or_else(|| first_failed(summary.search?.0))
}

fn first_failed(report: &SearchReport) -> Option<f64> {
    let found = report.rate.unwrap_or(0.0);
    report.failed.iter().copied().filter(|rate| *rate > found).reduce(f64::min)
}

fn line_of_critical(summary: &Summary<'_>) -> String {
    if let Some((report, params)) = summary.gradual {
        return match &report.critical {
            Some(critical) => format!("{:.1} ops/s ({})", critical.rate, critical.because),
            None if report.at_max => format!("{NONE} up to {:.1} ops/s", params.max),
            None => NONE.to_owned(),
        };
    }
    let Some((report, params)) = summary.search else { return NONE.to_owned() };
    match first_failed(report) {
        Some(rate) => {
            let failed =
                summary.steps.iter().rev().find(|done| done.order.rate == rate && done.judged.0 == "fail");
            let because = failed.map(|done| done.judged.1.as_str()).unwrap_or_default();
            format!("{rate:.1} ops/s ({because})")
        }
        None if report.at_max => format!("{NONE} up to {:.1} ops/s", params.max),
        None => NONE.to_owned(),
    }
}

fn safe_range(summary: &Summary<'_>) -> String {
    let steps = summary.gradual.and_then(|(report, params)| Some((params.initial, report.safe?)));
    let found = steps.or_else(|| {
        let (report, params) = summary.search?;
        let to = report.confirmed?;
        Some((params.initial.min(to), to))
    });
    found.map_or(NONE.to_owned(), |(from, to)| format!("{from:.1} - {to:.1} ops/s"))
}

fn baseline(summary: &Summary<'_>) -> String {
    let steps = summary.gradual.and_then(|(report, _)| report.baseline_ms);
    let first =
        || summary.steps.iter().find(|done| done.order.phase == Phase::Ramp).map(|done| done.measured.avg_ms);
    steps.or_else(first).map_or(NONE.to_owned(), |ms| format!("{ms:.3} ms"))
}

fn gradual(out: &mut String, report: &GradualReport, params: &GradualParams) {
    let mut told = vec![format!(
        "Limits: mean latency {} ms, {} % of ops failed, throughput {:.0} % below its peak; steps of {} ops/s and {:.0} s.",
        params.latency_ms,
        100.0 * params.errors,
        100.0 * params.drop,
        params.step,
        params.step_lasts.as_secs_f64()
    )];
    if let Some(hook) = &report.hook {
        told.push(effect("With the mitigation, at the same rate", hook));
    }
    if let Some(relief) = &report.relief {
        told.push(effect(&format!("At {:.0} % of the critical rate", 100.0 * params.mitigation), relief));
    }
    lines(out, "By steps", &told);
}

fn effect(what: &str, effect: &Effect) -> String {
    let (before, after) = (&effect.before, &effect.after);
    format!(
        "{what}: {} (mean {:.1} ms -> {:.1} ms, p99 {:.1} ms -> {:.1} ms, errors {:.2} % -> {:.2} %, throughput {:.1}/s -> {:.1}/s).",
        if effect.recovered { "recovered" } else { "not recovered" },
        before.avg_ms,
        after.avg_ms,
        before.p99_ms,
        after.p99_ms,
        100.0 * before.error_share(),
        100.0 * after.error_share(),
        before.throughput(),
        after.throughput()
    )
}

fn search(out: &mut String, report: &SearchReport, params: &SearchParams) {
    let what = match params.statistic {
        Statistic::Latency => "p99 from the intended start",
        Statistic::Wait => "p99 of the wait in the target's queue",
    };
    let mut told = vec![format!(
        "Promise: {what} at most {} ms, at most {} % of ops failed, {} % of the offered load done.",
        params.p99_ms,
        100.0 * params.errors,
        100.0 * params.achieved
    )];
    told.push(match (report.rate, report.interval) {
        (Some(rate), Some((low, high))) => {
            format!("SLO rate: {rate:.1} ops/s, interval {low:.1} - {high:.1} ops/s")
        }
        _ => format!("SLO rate: {NONE}"),
    });
    if let Some(rate) = report.confirmed {
        told.push(format!("Confirmed for {:.0} s: {rate:.1} ops/s", params.confirm.as_secs_f64()));
    }
    for step in &report.overload {
        let what = if step.collapsed { "CONGESTION COLLAPSE" } else { "holds" };
        told.push(format!(
            "Overload {} times: {:.1}/s, {:.0} % of the peak: {what}",
            step.factor,
            step.throughput,
            100.0 * step.of_peak
        ));
    }
    match report.time_to_recover_s {
        Some(Some(s)) => told.push(format!("Time to recover at {:.0} %: {s:.0} s", 100.0 * params.relief)),
        Some(None) => {
            told.push(format!("Time to recover at {:.0} %: not within the step", 100.0 * params.relief))
        }
        None => {}
    }
    if !report.mirror.is_empty() {
        let differ: Vec<String> = report
            .mirror
            .iter()
            .filter(|step| step.differs)
            .map(|step| {
                format!("{:.1}/s ({:.1} % up, {:.1} % down)", step.rate, 100.0 * step.up, 100.0 * step.down)
            })
            .collect();
        told.push(match differ.is_empty() {
            true => format!("Hysteresis: none over {} rates", report.mirror.len()),
            false => format!("Hysteresis: goodput differs at {}", differ.join(", ")),
        });
    }
    told.push(match report.knee() {
        Ok(knee) => {
            format!("Knee: {:.1} ops/s (p99 {:.1} ms; bend {:.2})", knee.rate, knee.latency_ms, knee.bend)
        }
        Err(why) => format!("Knee: none ({why})"),
    });
    told.push(match report.usl() {
        Ok(usl) => {
            let peak = usl.peak().map_or("no limit".to_owned(), |peak| format!("limit {peak:.1} ops/s"));
            let best = usl.best().map_or(String::new(), |n| format!(" at {n:.1} in flight"));
            format!(
                "Scalability law: {peak}{best} (g {:.2}, a {:.4}, b {:.2e}, R² {:.3})",
                usl.g, usl.a, usl.b, usl.r2
            )
        }
        Err(why) => format!("Scalability law: refused ({why})"),
    });
    lines(out, "By search", &told);
}

fn lines(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let _ = writeln!(out, "  {}", line.replace(['\n', '\r'], " "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gradual, Measured, Plan};

    #[test]
    fn a_summary_of_nothing_has_all_lines() {
        let report = GradualReport::default();
        let params = GradualParams::default();
        let told = text(&Summary {
            target: "null",
            ended: "stopped by a signal in phase init",
            steps: &[],
            gradual: Some((&report, &params)),
            search: None,
            notes: &["a\nnote".to_owned()],
        });
        for line in [
            "Critical failure point: not found",
            "Safe operating range: not found",
            "Peak throughput: not found",
            "Baseline latency: not found",
            "Ended: stopped by a signal in phase init",
            "  a note",
        ] {
            assert!(told.lines().any(|told| told == line), "{told}");
        }
    }

    #[test]
    fn what_was_found_is_told() {
        let mut plan = Gradual::new(GradualParams { warm_up_steps: 1, ..GradualParams::default() });
        let mut steps = Vec::new();
        while let Some(order) = plan.next() {
            let slow = order.rate > 200.0;
            let avg_ms = if slow { 90.0 } else { 2.0 };
            let measured =
                Measured { seconds: 10.0, offered: 1_000, ok: 1_000, avg_ms, ..Measured::default() };
            let judged = plan.ended(&measured);
            steps.push(Done { order, at_s: 0.0, measured, judged });
        }
        let gradual = Some((plan.report(), plan.params()));
        let told = text(&Summary {
            target: "x",
            ended: "complete",
            steps: &steps,
            gradual,
            search: None,
            notes: &[],
        });
        for line in [
            "Critical failure point: 250.0 ops/s (mean latency 90.0 ms is above 50 ms)",
            "Safe operating range: 50.0 - 150.0 ops/s",
            "Baseline latency: 2.000 ms",
            "Why at 250 ops/s",
        ] {
            assert!(told.lines().any(|told| told == line), "{told}");
        }
        assert!(told.contains("At 70 % of the critical rate: recovered (mean 90.0 ms -> 2.0 ms"), "{told}");
    }
}
