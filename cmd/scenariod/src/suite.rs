//! Several runs, one after another or side by side, and what they come to.

mod results;
mod rules;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use observation::clock::wall_ms;
use observation::journal::Journal;
use report::suite::SuiteRun;
use scenario::{Environment, Scenario};
use telemetry::output::{print, print_coloured};
use tokio_util::sync::CancellationToken;
use verdict::Verdict;
use verdict::statistics::baseline::SECONDS_MIN;

use crate::failure::{Failure, infrastructure};
use crate::settings::{EnvironmentSettings, Output, Place, SuiteSettings};
use crate::terminal;
use crate::world::{Shared, World};
use results::{Ended, Results};

/// Between two scenarios in the same world.
const BETWEEN: Duration = Duration::from_secs(5);
/// Between two loops.
const BETWEEN_LOOPS: Duration = Duration::from_secs(10);

/// Everything that all jobs know.
pub struct Suite {
    settings: SuiteSettings,
    place: Place,
    environment: EnvironmentSettings,
    shared: Shared,
    /// Runs side by side.
    jobs: u32,
}

/// One run that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    /// Position of its scenario.
    scenario: usize,
    /// From 1.
    attempt: u32,
}

/// What one pass over the scenarios shares.
struct Pass<'a> {
    suite: &'a Suite,
    queue: Mutex<VecDeque<Unit>>,
    results: Mutex<Results>,
    /// Nothing is begun after this: a fault may still be there, or what was found cannot be written down.
    broken: Mutex<Option<Failure>>,
}

/// A world with its environment, and whether a run has been in it.
struct Site {
    world: World,
    environment: Environment,
    used: bool,
}

impl Suite {
    /// `jobs`: runs side by side.
    pub fn new(
        settings: SuiteSettings,
        place: Place,
        environment: EnvironmentSettings,
        shared: Shared,
        jobs: u32,
    ) -> Self {
        Self { settings, place, environment, shared, jobs }
    }

    /// Runs everything, with `--loop` again and again; gives the exit code.
    pub async fn run(self) -> Result<u8, Failure> {
        let suite = self;
        let mut sites = Vec::new();
        for job in suite.jobs() {
            match suite.site(job).await {
                Ok(site) => sites.push(Some(site)),
                Err(failure) => {
                    stop_all(sites).await;
                    return Err(failure);
                }
            }
        }
        let first = sites.iter().flatten().next();
        let checked = match first {
            Some(site) => scenario::preflight(&suite.settings.scenarios, &site.environment).await,
            None => Ok(()),
        };
        if let Err(error) = checked {
            stop_all(sites).await;
            return Err(error.into());
        }
        let mut worst = Ok(0);
        loop {
            let ended;
            (ended, sites) = suite.pass(sites).await;
            worst = results::worse(worst, ended);
            let over = !suite.settings.forever || worst.is_err();
            if over || paused(BETWEEN_LOOPS, &suite.shared.stop).await {
                break;
            }
        }
        stop_all(sites).await;
        worst
    }

    fn jobs(&self) -> impl Iterator<Item = u32> {
        1..=self.jobs
    }

    async fn site(&self, job: u32) -> Result<Site, Failure> {
        let world = World::start(&self.place, &self.shared, job).await?;
        match world.environment(&self.environment, &self.shared, job).await {
            Ok(environment) => Ok(Site { world, environment, used: false }),
            Err(failure) => {
                world.stop().await;
                Err(failure)
            }
        }
    }

    /// Every scenario once, or as often as it is to be repeated.
    async fn pass(&self, sites: Vec<Option<Site>>) -> (Result<u8, Failure>, Vec<Option<Site>>) {
        let results = match Results::begin(&self.settings, sites.len()) {
            Ok(results) => Mutex::new(results),
            Err(failure) => return (Err(failure), sites),
        };
        let queue = Mutex::new(units(self.settings.scenarios.len(), self.settings.repeat));
        let pass = Pass { suite: self, queue, results, broken: Mutex::new(None) };
        // One task for all runners: they wait. What works (load, proxies, journals, judging) has tasks of its own.
        let working = self.jobs().zip(sites).map(|(job, site)| pass.work(job, site));
        let sites = futures::future::join_all(working).await;
        let broken = lock(&pass.broken).take();
        let mut results = lock(&pass.results);
        let ended = results.end();
        let ended = broken.map_or(ended, Err);
        if self.settings.output == Output::Json {
            let code = ended.as_ref().map_or_else(Failure::exit_code, |code| *code);
            match results.json(code) {
                Ok(json) => print(&format!("{json}\n")),
                Err(failure) => tracing::error!("--output json: {:#}", failure.error()),
            }
        }
        drop(results);
        (ended, sites)
    }
}

/// Pass by pass, so that a bad minute of the machine does not meet all runs of one scenario.
fn units(scenarios: usize, repeat: u32) -> VecDeque<Unit> {
    let attempts = (1..=repeat).flat_map(|attempt| (0..scenarios).map(move |scenario| (scenario, attempt)));
    attempts.map(|(scenario, attempt)| Unit { scenario, attempt }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn stop_all(sites: Vec<Option<Site>>) {
    for site in sites.into_iter().flatten() {
        site.world.stop().await;
    }
}

/// The verdict of a run, and its page, which is beside the journal.
fn judge(dir: &Path) -> Result<(Verdict, PathBuf), Failure> {
    let journal = Journal::read(dir).map_err(infrastructure)?;
    let verdict = verdict::judge(&journal);
    let page = report::write_all(dir, &journal, &verdict).map_err(infrastructure)?;
    Ok((verdict, page))
}

/// Waits; says whether the end came meanwhile.
async fn paused(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

impl Pass<'_> {
    fn breaks(&self, failure: Failure) {
        lock(&self.broken).get_or_insert(failure);
    }

    fn next(&self) -> Option<Unit> {
        let over = self.suite.shared.stop.is_cancelled() || lock(&self.broken).is_some();
        if over { None } else { lock(&self.queue).pop_front() }
    }

    /// Takes one run after another; gives back the world, unless a run may have left something in it.
    async fn work(&self, job: u32, mut site: Option<Site>) -> Option<Site> {
        while let Some(unit) = self.next() {
            if site.as_ref().is_some_and(|site| site.used) && paused(BETWEEN, &self.suite.shared.stop).await {
                break;
            }
            let Some(scenario) = self.suite.settings.scenarios.get(unit.scenario) else { continue };
            let began_ms = wall_ms();
            let here = match site.take() {
                Some(site) => Ok(site),
                None => self.suite.site(job).await,
            };
            let ended = match here {
                Ok(mut here) => {
                    here.used = true;
                    let ended = self.one(scenario, &here.environment).await;
                    if let Ok((verdict, _)) = &ended {
                        self.suite.shared.live.judged(job, verdict);
                    }
                    // A lab that is in doubt is thrown away; what is not ours stays as it is.
                    if ended.is_ok() || !here.world.is_a_lab() {
                        site = Some(here);
                    } else {
                        here.world.stop().await;
                    }
                    ended
                }
                Err(failure) => Err(failure),
            };
            self.record(unit, job, began_ms, ended);
        }
        site
    }

    /// Runs one scenario, judges its journal, writes and prints the report.
    async fn one(
        &self,
        scenario: &Scenario,
        environment: &Environment,
    ) -> Result<(Verdict, PathBuf), Failure> {
        let phases = self.suite.settings.lengths.of(scenario);
        tracing::info!("{}: {}", scenario.name, scenario.description);
        let outcome = scenario::run(scenario, phases, environment, &self.suite.shared.stop).await?;
        let dir = outcome.dir.clone();
        // A long journal takes a while, and other runs do not wait for it.
        let judging = tokio::task::spawn_blocking(move || judge(&dir)).await;
        match judging.unwrap_or_else(|error| Err(infrastructure(error))) {
            Ok((verdict, page)) => {
                environment.metrics.run_ended(&scenario.name, verdict.status());
                let (rules, recovery_s) = (rules::outcomes(&verdict), rules::recovery_s(&verdict));
                environment.metrics.judged(&scenario.name, &rules, recovery_s);
                self.tell(&verdict, &page);
                if !outcome.clean {
                    self.breaks(infrastructure(anyhow::anyhow!(
                        "a fault could not be taken away; see {}",
                        outcome.dir.display()
                    )));
                }
                Ok((verdict, outcome.dir))
            }
            Err(failure) => {
                self.breaks(infrastructure(anyhow::anyhow!("{:#}", failure.error())));
                Err(failure)
            }
        }
    }

    fn tell(&self, verdict: &Verdict, page: &Path) {
        match self.suite.settings.output {
            // One object, at the end.
            Output::Json => {}
            Output::Verbose => print(&format!("{}{}\n", report::table(verdict), page.display())),
            Output::Brief if lock(&self.results).are_several() => print_coloured(&report::line(verdict)),
            Output::Brief => {
                print_coloured(&format!("\n{}", report::brief(verdict, page, terminal::width())))
            }
        }
    }

    fn record(&self, unit: Unit, job: u32, began_ms: u64, ended: Result<(Verdict, PathBuf), Failure>) {
        let Some(scenario) = self.suite.settings.scenarios.get(unit.scenario) else { return };
        let mut run = SuiteRun {
            scenario: scenario.name.clone(),
            dir: String::new(),
            result: "ERROR".to_owned(),
            reasons: Vec::new(),
            began_ms,
            ended_ms: wall_ms(),
            job,
            attempt: unit.attempt,
            stopped: None,
            rerun: false,
        };
        let mut results = lock(&self.results);
        let ended = match ended {
            Ok((verdict, dir)) => {
                run.dir = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                run.result = verdict.name().to_owned();
                run.reasons = verdict.reasons;
                run.stopped = verdict.stopped;
                // Where the phase before the fault is too short for a baseline, another run is no better.
                let stabilization = self.suite.settings.lengths.of(scenario).stabilization;
                let may_do_better = stabilization.as_secs() >= SECONDS_MIN as u64;
                if may_do_better && let Some(attempt) = results.rerun(unit, verdict.result, &run) {
                    run.rerun = true;
                    tracing::info!("{}: inconclusive; it is run again", scenario.name);
                    lock(&self.queue).push_front(Unit { attempt, ..unit });
                }
                Ended { unit, result: Ok(verdict.result), run }
            }
            Err(failure) => {
                self.suite.shared.metrics.run_ended(&scenario.name, "error");
                run.reasons.push(format!("{:#}", failure.error()));
                if results.are_several() {
                    tracing::error!("{}: {:#}", scenario.name, failure.error());
                }
                Ended { unit, result: Err(failure), run }
            }
        };
        if let Err(failure) = results.add(ended) {
            self.breaks(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_repeated_pass_by_pass() {
        let units: Vec<_> = units(2, 3).into_iter().map(|unit| (unit.scenario, unit.attempt)).collect();
        assert_eq!(units, [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]);
    }
}
