//! What the runs of one pass come to: the record on disk after each run, the table and the exit code at the end.

use std::path::{Path, PathBuf};

use observation::clock::wall_ms;
use report::suite::{Repeated, SUITE_VERSION, SuiteRun};
use serde::Serialize;
use telemetry::output::print_coloured;
use verdict::repeat::{class, majority};

use super::Unit;
use crate::failure::{Failure, infrastructure, usage};
use crate::report::Pages;
use crate::settings::{Output, SuiteSettings};

/// One run that has ended.
pub(super) struct Ended {
    pub(super) unit: Unit,
    /// The judgement, or why there is none.
    pub(super) result: Result<verdict::Ruling, Failure>,
    pub(super) run: SuiteRun,
}

/// All runs of a pass that have ended.
pub(super) struct Results {
    names: Vec<String>,
    repeat: u32,
    /// Runs of one scenario that may be added because others said nothing.
    reruns_max: u32,
    /// By scenario, in the order in which they were asked for.
    reruns: Vec<u32>,
    ended: Vec<Ended>,
    record: report::suite::Suite,
    /// Where the record is; a single run has none.
    dir: Option<PathBuf>,
    /// Where the run folders are.
    runs: PathBuf,
    /// Where the table is written too.
    summary: Option<PathBuf>,
    output: Output,
}

impl Results {
    pub(super) fn begin(settings: &SuiteSettings, jobs: usize) -> Result<Self, Failure> {
        let names: Vec<String> = settings.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        let several = names.len() > 1 || settings.repeat > 1;
        let record = report::suite::Suite {
            v: SUITE_VERSION,
            began_ms: wall_ms(),
            ended_ms: None,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            jobs: jobs as u32,
            runs: Vec::new(),
            repeated: Vec::new(),
        };
        let dir = several.then(|| scenario::folder(&settings.runs, "suite"));
        let results = Self {
            reruns: vec![0; names.len()],
            names,
            repeat: settings.repeat,
            reruns_max: settings.reruns_max,
            ended: Vec::new(),
            record,
            dir,
            runs: settings.runs.clone(),
            summary: settings.summary.clone(),
            output: settings.output,
        };
        results.write().map(|()| results)
    }

    /// More than one run was asked for.
    pub(super) fn are_several(&self) -> bool {
        self.dir.is_some()
    }

    /// The number of a further run, if this one said nothing and the flags allow one.
    pub(super) fn rerun(&mut self, unit: Unit, result: verdict::Ruling, run: &SuiteRun) -> Option<u32> {
        let reruns = self.reruns.get_mut(unit.scenario)?;
        let again =
            result == verdict::Ruling::Inconclusive && run.stopped.is_none() && *reruns < self.reruns_max;
        again.then(|| {
            *reruns += 1;
            self.repeat + *reruns
        })
    }

    /// Adds a run and writes the record.
    pub(super) fn add(&mut self, ended: Ended) -> Result<(), Failure> {
        self.ended.push(ended);
        self.ended.sort_by_key(|ended| (ended.unit.scenario, ended.unit.attempt));
        self.record.runs = self.ended.iter().map(|ended| ended.run.clone()).collect();
        self.record.repeated = self.scenarios().filter_map(|together| together.repeated()).collect();
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        self.dir.as_ref().map_or(Ok(()), |dir| self.record.write(dir).map_err(infrastructure))
    }

    fn scenarios(&self) -> impl Iterator<Item = Together<'_>> {
        self.names.iter().enumerate().map(|(scenario, name)| Together {
            name,
            runs: self.ended.iter().filter(|ended| ended.unit.scenario == scenario).collect(),
        })
    }

    /// The last word: the table of several runs, and the exit code.
    pub(super) fn end(&mut self) -> Result<u8, Failure> {
        self.record.ended_ms = Some(wall_ms());
        self.write()?;
        let worst = self.scenarios().filter_map(|together| together.result()).max();
        let pages = || Pages::of(self.record.clone(), &self.runs);
        if let Some(path) = &self.summary {
            pages()?.write_table(path)?;
        }
        if let Some(dir) = &self.dir {
            let page = pages()?.write(dir, Path::new(".."))?;
            if self.output != Output::Json {
                print_coloured(&format!("{}{}\n", self.table(), page.display()));
            }
        }
        let (runs, several) = (self.ended.len(), self.are_several());
        let errors = self.ended.iter_mut().filter(|ended| ended.result.is_err()).count();
        let first = self.ended.iter_mut().find(|ended| ended.result.is_err());
        let code = worst.unwrap_or(verdict::Ruling::Inconclusive).exit_code();
        let Some(first) = first else { return Ok(code) };
        // What the client did wrong is stronger than what could not be run; both are said.
        if worst >= Some(verdict::Ruling::Fail) {
            return Ok(code);
        }
        let failure = std::mem::replace(&mut first.result, Ok(verdict::Ruling::Invalid));
        let Err(failure) = failure else { return Ok(code) };
        if !several {
            return Err(failure);
        }
        let (scenario, error) = (&first.run.scenario, failure.error());
        let text = anyhow::anyhow!("{errors} of {runs} runs could not be made; {scenario}: {error:#}");
        Err(match failure {
            Failure::Usage(_) => usage(text),
            Failure::Infrastructure(_) => infrastructure(text),
        })
    }

    /// The record as one line of JSON, with the exit code of the process.
    pub(super) fn json(&self, exit_code: u8) -> Result<String, Failure> {
        let page =
            |run: &SuiteRun| (!run.dir.is_empty()).then(|| self.runs.join(&run.dir).join(report::PAGE));
        let told = Told {
            exit_code,
            page: self.dir.as_ref().map(|dir| dir.join(report::SUITE_PAGE)),
            pages: self.record.runs.iter().map(page).collect(),
            record: &self.record,
        };
        serde_json::to_string(&told).map_err(infrastructure)
    }

    fn table(&self) -> String {
        let mut table = "\n".to_owned();
        for together in self.scenarios().filter(|together| !together.runs.is_empty()) {
            let more = together.repeated().map(|repeated| {
                let results: Vec<&str> = together.runs.iter().map(|ended| shown(ended)).collect();
                format!("  {}: {}", repeated.class, results.join(", "))
            });
            table += &format!("{:<18}{}{}\n", together.shown(), together.name, more.unwrap_or_default());
        }
        let took = self.record.ended_ms.unwrap_or_default().saturating_sub(self.record.began_ms) / 1000;
        table + &format!("{} runs, {} min {} s\n", self.ended.len(), took / 60, took % 60)
    }
}

/// What `--output json` tells of a pass.
#[derive(Serialize)]
struct Told<'a> {
    exit_code: u8,
    /// Of all runs; absent: there was only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PathBuf>,
    /// One for each of `runs`, in their order; null: the run was not judged.
    pages: Vec<Option<PathBuf>>,
    #[serde(flatten)]
    record: &'a report::suite::Suite,
}

/// All runs of one scenario.
struct Together<'a> {
    name: &'a str,
    runs: Vec<&'a Ended>,
}

/// One run in a word.
fn shown(ended: &Ended) -> &str {
    match ended.run.stopped {
        Some(_) if ended.run.result != verdict::Ruling::WrongData.name() => "STOPPED",
        _ => &ended.run.result,
    }
}

impl Together<'_> {
    fn results(&self, of: impl Fn(&Ended) -> bool) -> Vec<verdict::Ruling> {
        self.runs
            .iter()
            .filter(|ended| of(ended))
            .filter_map(|ended| ended.result.as_ref().ok().copied())
            .collect()
    }

    /// The majority's, runs that were run again left out; `None`: none was judged.
    fn result(&self) -> Option<verdict::Ruling> {
        let counted = self.results(|ended| !ended.run.rerun);
        (!counted.is_empty()).then(|| majority(&counted))
    }

    fn repeated(&self) -> Option<Repeated> {
        let class = class(&self.results(|_| true))?;
        Some(Repeated {
            scenario: self.name.to_owned(),
            result: self.result()?.name().to_owned(),
            class: class.name().to_owned(),
            runs: self.runs.len() as u32,
        })
    }

    fn shown(&self) -> &str {
        match (&self.runs[..], self.result()) {
            ([one], _) => shown(one),
            (_, Some(result)) => result.name(),
            (_, None) => "ERROR",
        }
    }
}

/// Of two passes.
pub(super) fn worse(one: Result<u8, Failure>, other: Result<u8, Failure>) -> Result<u8, Failure> {
    // In the order in which results are merged: wrong data, fail, inconclusive or invalid, pass.
    let rank = |code: u8| [0, 3, 1, 5].iter().position(|known| *known == code);
    match (one, other) {
        (Ok(one), Ok(other)) => Ok(if rank(one) >= rank(other) { one } else { other }),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use report::suite::Suite;
    use verdict::Ruling::{Fail, Inconclusive, Pass, WrongData};

    use super::*;
    use crate::settings::PhaseLengths;

    fn begin(dir: &Path, repeat: u32, reruns_max: u32) -> Results {
        let scenarios = ["packet-loss-2-pct", "packet-loss-5-pct"].map(str::to_owned);
        let settings = SuiteSettings {
            scenarios: scenario::catalogue::select(&scenarios).unwrap(),
            lengths: PhaseLengths::default(),
            repeat,
            reruns_max,
            forever: false,
            runs: dir.to_owned(),
            summary: None,
            output: Output::Brief,
        };
        Results::begin(&settings, 2).unwrap()
    }

    fn ended(scenario: usize, attempt: u32, result: Result<verdict::Ruling, Failure>) -> Ended {
        let name = result.as_ref().map_or("ERROR", |result| result.name()).to_owned();
        let run = SuiteRun {
            scenario: format!("s{scenario}"),
            dir: String::new(),
            result: name,
            reasons: Vec::new(),
            began_ms: 0,
            ended_ms: 0,
            job: 1,
            attempt,
            stopped: None,
            rerun: false,
        };
        Ended { unit: Unit { scenario, attempt }, result, run }
    }

    #[test]
    fn the_record_is_whole_after_each_run_and_in_the_order_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = begin(dir.path(), 1, 0);
        let read = || {
            let folder = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
            Suite::read(&folder).unwrap()
        };
        assert_eq!((read().runs.len(), read().jobs), (0, 2));
        results.add(ended(1, 1, Ok(Pass))).unwrap();
        assert_eq!((read().runs.len(), read().ended_ms), (1, None));
        results.add(ended(0, 1, Ok(Fail))).unwrap();
        let names: Vec<_> = read().runs.into_iter().map(|run| run.scenario).collect();
        assert_eq!(names, ["s0", "s1"]);
        assert_eq!(results.end().ok(), Some(1));
        assert!(read().ended_ms.is_some() && read().repeated.is_empty());
    }

    #[test]
    fn a_run_that_could_not_be_made_does_not_lose_the_others_and_is_weaker_than_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let error = || Err(infrastructure(anyhow::anyhow!("no disk")));
        let mut results = begin(dir.path(), 1, 0);
        results.add(ended(0, 1, error())).unwrap();
        results.add(ended(1, 1, Ok(Pass))).unwrap();
        assert!(
            results.table().starts_with("\nERROR             packet-loss-2-pct\nPASS    "),
            "{}",
            results.table()
        );
        let failure = results.end().unwrap_err();
        assert_eq!(failure.exit_code(), 4);
        assert_eq!(failure.error().to_string(), "1 of 2 runs could not be made; s0: no disk");
        let mut results = begin(dir.path(), 1, 0);
        results.add(ended(0, 1, error())).unwrap();
        results.add(ended(1, 1, Ok(WrongData))).unwrap();
        assert_eq!(results.end().ok(), Some(5));
    }

    #[test]
    fn repeated_runs_give_the_majority_and_a_class() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = begin(dir.path(), 3, 0);
        for (attempt, result) in [Pass, Fail, Pass].into_iter().enumerate() {
            results.add(ended(0, attempt as u32 + 1, Ok(result))).unwrap();
            results.add(ended(1, attempt as u32 + 1, Ok(Pass))).unwrap();
        }
        let classes: Vec<_> =
            results.record.repeated.iter().map(|r| (r.class.as_str(), r.result.as_str())).collect();
        assert_eq!(classes, [("bistable", "PASS"), ("deterministic", "PASS")]);
        assert!(
            results.table().contains("PASS              packet-loss-2-pct  bistable: PASS, FAIL, PASS\n")
        );
        assert_eq!(results.end().ok(), Some(0));
    }

    #[test]
    fn an_inconclusive_run_is_run_again_as_often_as_is_allowed_and_then_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = begin(dir.path(), 1, 1);
        let unit = Unit { scenario: 0, attempt: 1 };
        let mut first = ended(0, 1, Ok(Inconclusive));
        assert_eq!(results.rerun(unit, Pass, &first.run), None);
        first.run.stopped = Some("a signal".into());
        assert_eq!(results.rerun(unit, Inconclusive, &first.run), None);
        first.run.stopped = None;
        assert_eq!(results.rerun(unit, Inconclusive, &first.run), Some(2));
        assert_eq!(results.rerun(unit, Inconclusive, &first.run), None);
        first.run.rerun = true;
        results.add(first).unwrap();
        results.add(ended(0, 2, Ok(Pass))).unwrap();
        assert_eq!(results.record.repeated[0].class, "noisy");
        assert_eq!(results.end().ok(), Some(0));
    }

    #[test]
    fn codes_are_merged_as_results_are() {
        let merged = |one, other| worse(Ok(one), Ok(other)).ok();
        assert_eq!(
            (merged(0, 3), merged(3, 1), merged(1, 5), merged(5, 0)),
            (Some(3), Some(1), Some(5), Some(5))
        );
        assert!(worse(Ok(0), Err(usage(anyhow::anyhow!("x")))).is_err());
    }
}
