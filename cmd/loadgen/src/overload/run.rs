//! Makes the steps that a plan asks for, and keeps every file whole after each of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use capacity::{
    Done, Gradual, GradualParams, Measured, Order, Phase, Plan, Search, SearchParams, Transition, csv,
    summary,
};
use observation::clock::wall_ms;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hook::{Applied, Hook};
use super::markers::{INJECTION, MITIGATION, Markers};
use super::metrics::PhaseGauge;
use super::step::Sum;
use super::subject::Subject;

/// Table of the steps.
pub const METRICS: &str = "gradual_overload_metrics.csv";
/// Table of the phases.
pub const TRANSITIONS: &str = "phase_transitions.csv";
/// What was found.
pub const SUMMARY: &str = "test_summary.txt";
/// The same and the charts, for a browser.
pub const PAGE: &str = "overload.html";
/// Draws the tables.
pub const SCRIPT: &str = "visualize.py";
const SCRIPT_TEXT: &str = include_str!("visualize.py");

/// A run and what it knows so far.
#[derive(Debug)]
pub struct Run {
    /// Where the files go.
    pub out: PathBuf,
    /// What is tested, for people.
    pub name: String,
    /// Markers for an agent.
    pub markers: Markers,
    /// The phase, for Prometheus.
    pub gauge: PhaseGauge,
    /// What is done about the failure.
    pub hook: Option<Hook>,
    /// The signal to end.
    pub stop: CancellationToken,
    began: Instant,
    steps: Vec<Done>,
    transitions: Vec<Transition>,
    phase: Option<Phase>,
    notes: Vec<String>,
    gradual: Option<Gradual>,
    search: Option<Search>,
    applied: Option<Applied>,
    in_flight: u64,
}

impl Run {
    /// At its begin; writes the files once, so that a directory that cannot be written shows now.
    pub fn new(
        out: PathBuf,
        name: String,
        markers: Markers,
        gauge: PhaseGauge,
        hook: Option<Hook>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&out).with_context(|| format!("--out {}", out.display()))?;
        let run = Self {
            out,
            name,
            markers,
            gauge,
            hook,
            stop,
            began: Instant::now(),
            steps: Vec::new(),
            transitions: Vec::new(),
            phase: None,
            notes: Vec::new(),
            gradual: None,
            search: None,
            applied: None,
            in_flight: 0,
        };
        run.write()?;
        report::write(&run.out.join(SCRIPT), SCRIPT_TEXT).context("--out")?;
        Ok(run)
    }

    /// Something for the summary.
    pub fn note(&mut self, note: String) {
        tracing::info!("{note}");
        self.notes.push(note);
    }

    /// A phase that makes no steps.
    pub fn enter(&mut self, phase: Phase, rate: f64, because: &str) -> anyhow::Result<()> {
        self.change(Some(phase), rate, because)?;
        self.write()
    }

    /// The algorithm of equal steps, to its end or to the signal.
    pub async fn gradual(&mut self, subject: &mut Subject, params: GradualParams) -> anyhow::Result<()> {
        self.follow(subject, Gradual::new(params), |run| &mut run.gradual).await
    }

    /// The search, to its end or to the signal.
    pub async fn search(&mut self, subject: &mut Subject, params: SearchParams) -> anyhow::Result<()> {
        self.follow(subject, Search::new(params), |run| &mut run.search).await
    }

    /// Makes the steps of a plan; `kept` is where it is after each, for the files.
    async fn follow<P: Plan + Clone>(
        &mut self,
        subject: &mut Subject,
        mut plan: P,
        kept: fn(&mut Self) -> &mut Option<P>,
    ) -> anyhow::Result<()> {
        *kept(self) = Some(plan.clone());
        while let Some(order) = plan.next() {
            let Some(measured) = self.step(subject, &order).await? else { break };
            let judged = plan.ended(&measured);
            *kept(self) = Some(plan.clone());
            self.keep(order, measured, judged)?;
        }
        Ok(())
    }

    /// What the search has found.
    #[cfg(test)]
    pub fn found(&self) -> Option<&capacity::SearchReport> {
        self.search.as_ref().map(Search::report)
    }

    /// The end: the last phase is left, every file is written once more, and the mitigation ends.
    pub fn end(mut self) -> anyhow::Result<String> {
        let because = if self.stop.is_cancelled() { "stopped by a signal" } else { "complete" };
        self.change(None, 0.0, because)?;
        self.applied = None;
        self.write()?;
        let summary = self.summary();
        let page = report::overload(&report::OverloadRun {
            target: &self.name,
            complete: !self.stop.is_cancelled(),
            steps: &self.steps,
            transitions: &self.transitions,
            summary: &summary,
        });
        report::write(&self.out.join(PAGE), &page).context("--out")?;
        Ok(summary)
    }

    /// Makes one step; `None`: the signal came, and what was measured until then is kept.
    async fn step(&mut self, subject: &mut Subject, order: &Order) -> anyhow::Result<Option<Measured>> {
        if self.stop.is_cancelled() {
            return Ok(None);
        }
        if self.phase != Some(order.phase) {
            self.change(Some(order.phase), order.rate, &order.because)?;
        }
        subject.set_rate(order.rate)?;
        if order.mitigate && !self.mitigate(subject, order.rate).await? {
            return Ok(None);
        }
        // The tick in which the rate changed belongs to neither.
        let first = self.tick(subject).await?;
        let settled = first.is_some() && self.during(subject, order.settle).await?.1;
        // What waited until now belongs to the settling.
        let _ = subject.wait_p99_ms();
        let (sum, complete) =
            if settled { self.during(subject, order.measure).await? } else { (Sum::default(), false) };
        let measured = sum.measured(subject.wait_p99_ms(), complete);
        if complete {
            return Ok(Some(measured));
        }
        self.keep(order.clone(), measured, ("-", "stopped by a signal".to_owned()))?;
        Ok(None)
    }

    /// Ticks for so long; false: the signal came before.
    async fn during(&mut self, subject: &mut Subject, lasts: Duration) -> anyhow::Result<(Sum, bool)> {
        let mut sum = Sum::default();
        // Half a tick: the last one may be short.
        while sum.lasted() + Duration::from_millis(50) < lasts {
            let Some(tick) = self.tick(subject).await? else { return Ok((sum, false)) };
            sum.add(&tick, self.in_flight);
        }
        Ok((sum, true))
    }

    /// The next tick; `None`: the signal came.
    async fn tick(&mut self, subject: &mut Subject) -> anyhow::Result<Option<observation::Tick>> {
        let tick = tokio::select! {
            () = self.stop.cancelled() => return Ok(None),
            tick = subject.tick() => tick?,
        };
        let ended: u64 = tick.servers.iter().map(|server| server.ops.total()).sum();
        self.in_flight = (self.in_flight + tick.started).saturating_sub(ended);
        Ok(Some(tick))
    }

    /// Applies the mitigation, while the load goes on. False: the signal came.
    async fn mitigate(&mut self, subject: &mut Subject, rate: f64) -> anyhow::Result<bool> {
        let Some(hook) = self.hook.clone() else { return Ok(true) };
        let stop = self.stop.clone();
        let run = hook.run(rate, &stop);
        tokio::pin!(run);
        let (applied, told) = loop {
            tokio::select! {
                ended = &mut run => break ended,
                tick = subject.tick() => {
                    let tick = tick?;
                    let ended: u64 = tick.servers.iter().map(|server| server.ops.total()).sum();
                    self.in_flight = (self.in_flight + tick.started).saturating_sub(ended);
                }
            }
        };
        self.applied = Some(applied);
        self.note(told);
        Ok(!self.stop.is_cancelled())
    }

    fn keep(
        &mut self,
        order: Order,
        measured: Measured,
        judged: (&'static str, String),
    ) -> anyhow::Result<()> {
        tracing::info!(
            "{}: {:.1}/s offered, {:.1}/s done, mean {:.2} ms, p99 {:.2} ms, {} errors: {} ({})",
            order.phase.name(),
            measured.offered_per_s(),
            measured.throughput(),
            measured.avg_ms,
            measured.p99_ms,
            measured.errors,
            judged.0,
            judged.1
        );
        let at_s = self.began.elapsed().as_secs_f64() - measured.seconds;
        self.steps.push(Done { order, at_s, measured, judged });
        self.write()
    }

    fn change(&mut self, to: Option<Phase>, rate: f64, because: &str) -> anyhow::Result<()> {
        self.transitions.push(Transition {
            at_s: self.began.elapsed().as_secs_f64(),
            unix_ms: wall_ms(),
            from: self.phase,
            to,
            rate,
            because: because.to_owned(),
        });
        self.phase = to;
        self.gauge.set(to);
        let marker = match to {
            Some(Phase::LoadIncrease | Phase::Ramp) => INJECTION,
            Some(Phase::Mitigation | Phase::Recovery) => MITIGATION,
            _ => return Ok(()),
        };
        self.markers.write(marker, to.map_or("end", Phase::name), rate, because)
    }

    fn ended(&self) -> String {
        match (self.stop.is_cancelled(), self.phase) {
            (true, _) => {
                let phase = self.phase.or(self.transitions.last().and_then(|last| last.from));
                format!("stopped by a signal in phase {}", phase.map_or("none", Phase::name))
            }
            (false, Some(phase)) => format!("running, phase {}", phase.name()),
            (false, None) if self.transitions.is_empty() => "running, not begun".to_owned(),
            (false, None) => "complete".to_owned(),
        }
    }

    fn summary(&self) -> String {
        summary::text(&summary::Summary {
            target: &self.name,
            ended: &self.ended(),
            steps: &self.steps,
            gradual: self.gradual.as_ref().map(|plan| (plan.report(), plan.params())),
            search: self.search.as_ref().map(|plan| (plan.report(), plan.params())),
            notes: &self.notes,
        })
    }

    /// Every file, whole.
    fn write(&self) -> anyhow::Result<()> {
        let files = [
            (METRICS, csv::metrics(&self.steps)),
            (TRANSITIONS, csv::transitions(&self.transitions)),
            (SUMMARY, self.summary()),
        ];
        for (name, text) in files {
            report::write(&self.out.join(name), &text).context("--out")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
