//! What the live page shows of scenarios: their journals as they are written, the verdict as it forms, and past runs.

mod past;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use live::{Feed, Origin, Page};
use observation::Record;
use observation::journal::{Entry, Journal};
use serde::Serialize;
use telemetry::http::Routes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use verdict::Verdict;
use verdict::so_far::{SoFar, Standing, so_far};

/// Between two looks whether a run is to be judged again.
const LOOK: Duration = Duration::from_millis(500);
/// Between two judgements of a run that is not over, at least.
const PERIOD: Duration = Duration::from_secs(5);
/// Judging takes at most one of so many parts of a thread's time: long journals are judged less often.
const REST: u32 = 50;
/// Niceness of that thread: what is measured comes first.
const NICENESS: i32 = 10;

/// One feed a job. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    feeds: Arc<[Shown]>,
    runs: Arc<Path>,
    loadgen: Option<Arc<str>>,
}

/// One job.
struct Shown {
    feed: Feed,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Folder of the run that is not over.
    dir: Option<PathBuf>,
    /// A phase has begun since it was judged.
    turned: bool,
}

/// The verdict, or what can be said before there is one.
#[derive(Debug, Serialize)]
struct Told {
    r#final: bool,
    name: &'static str,
    tone: &'static str,
    about: String,
    criteria: Vec<Asked>,
}

#[derive(Debug, Serialize)]
struct Asked {
    said: &'static str,
    tone: &'static str,
    title: &'static str,
    expected: String,
    measured: String,
}

impl Live {
    /// Nothing has run yet. `runs`: the folder of the run folders; `observed`: the client's address, if it is not in this process.
    pub fn new(runs: &Path, observed: Option<&str>, jobs: u32) -> Self {
        let instance = rand::random();
        let feed = || Feed::new(Origin { instance, wall_ms: 0.0 });
        let shown = (0..jobs.max(1)).map(|_| Shown { feed: feed(), now: Mutex::default() });
        Self {
            feeds: shown.collect(),
            runs: runs.into(),
            loadgen: observed.filter(|url| url.starts_with("http://")).map(Into::into),
        }
    }

    /// With the page, its streams, and the reports of past runs.
    pub fn routes(&self, routes: Routes) -> Routes {
        let page = Page {
            program: concat!("scenariod ", env!("CARGO_PKG_VERSION")),
            jobs: self.feeds.len(),
            runs: true,
            other: self.loadgen.as_deref().map(str::to_owned),
            other_name: match self.loadgen {
                Some(_) => "The load's own page",
                None => "The load is part of this process.",
            },
        };
        let runs = Arc::clone(&self.runs);
        let feeds = self.feeds.iter().map(|shown| shown.feed.clone()).collect();
        live::routes(routes, page, feeds).below("/runs/", move |path| past::find(&runs, path))
    }

    /// One more line of the journal of a job, from 1.
    pub fn see(&self, job: u32, entry: &Entry) {
        let Some(shown) = self.feeds.get(job as usize - 1) else { return };
        shown.feed.record(entry.at_us, &entry.record);
        match &entry.record {
            Record::Run(run) => {
                // Made by ourselves, but read from a record: whatever it is, it stays within the folder of runs.
                let dir = scenario::is_folder(&run.run).then(|| self.runs.join(&run.run));
                *shown.now() = Now { dir, turned: false };
                shown.feed.tell("verdict", &Told::nothing());
            }
            Record::Phase(_) => shown.now().turned = true,
            Record::End(_) => shown.now().dir = None,
            _ => {}
        }
    }

    /// A run of this job has its verdict.
    pub fn judged(&self, job: u32, verdict: &Verdict) {
        if let Some(shown) = self.feeds.get(job as usize - 1) {
            shown.now().dir = None;
            shown.feed.tell("verdict", &Told::verdict(verdict));
        }
        self.list();
    }

    /// Tells which runs there are.
    pub fn list(&self) {
        let past = past::list(&self.runs);
        self.feeds.iter().for_each(|shown| shown.feed.tell("runs", &past));
    }

    /// Judges what is not over while somebody looks: after each phase's begin and now and then. Until `stop`.
    pub async fn form(self, stop: CancellationToken) {
        let mut due = vec![Instant::now(); self.feeds.len()];
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            for (shown, due) in self.feeds.iter().zip(&mut due) {
                let dir = {
                    let mut now = shown.now();
                    let wanted = shown.feed.is_watched() && (now.turned || Instant::now() >= *due);
                    let dir = now.dir.clone().filter(|_| wanted);
                    now.turned &= dir.is_none();
                    dir
                };
                let Some(dir) = dir else { continue };
                let began = Instant::now();
                if let Some(so_far) = preview(dir.clone()).await {
                    let now = shown.now();
                    // The verdict may have come meanwhile.
                    if now.dir.as_ref() == Some(&dir) {
                        shown.feed.tell("verdict", &Told::so_far(so_far));
                    }
                }
                *due = Instant::now() + PERIOD.max(began.elapsed() * REST);
            }
        }
    }
}

impl Shown {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a thread of its own, which gives way to all others. `None`: there is nothing to be read.
async fn preview(dir: PathBuf) -> Option<SoFar> {
    let (send, receive) = oneshot::channel();
    let thread = std::thread::Builder::new().name("preview".to_owned()).spawn(move || {
        // On Linux this is the calling thread's alone. Where it is refused, the thread is like the others.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        // The page may be gone.
        let _ = send.send(Journal::read(&dir).ok().map(|journal| so_far(&journal)));
    });
    thread.ok()?;
    receive.await.ok().flatten()
}

impl Told {
    fn nothing() -> Self {
        let about = "Nothing has been judged of this run yet.".to_owned();
        Self { r#final: false, name: "FORMING", tone: "void", about, criteria: Vec::new() }
    }

    fn so_far(so_far: SoFar) -> Self {
        let seconds = so_far.until_us / 1_000_000;
        let open = match so_far.asked {
            true => "",
            false => " The client is not asked yet: it is open whether this run can say anything about it.",
        };
        let tone = |standing| match standing {
            Standing::Holds => "holds",
            Standing::NotYet => "not",
            Standing::Open => "open",
            Standing::Broken => "broken",
        };
        let criteria = so_far.criteria.into_iter().map(|criterion| Asked {
            said: criterion.standing.name(),
            tone: tone(criterion.standing),
            title: criterion.title,
            expected: criterion.expected,
            measured: criterion.measured,
        });
        Self {
            about: format!(
                "This is no verdict: the run is looked at as if it had ended after {seconds} s.{open}"
            ),
            criteria: criteria.collect(),
            ..Self::nothing()
        }
    }

    fn verdict(verdict: &Verdict) -> Self {
        let said = |result| match result {
            verdict::Ruling::Pass => "holds",
            verdict::Ruling::Fail | verdict::Ruling::WrongData => "broken",
            verdict::Ruling::Inconclusive | verdict::Ruling::Invalid => "open",
        };
        let criteria = verdict.criteria.iter().map(|criterion| Asked {
            said: criterion.result.name(),
            tone: said(criterion.result),
            title: criterion.title,
            expected: criterion.expected.clone(),
            measured: criterion.measured.clone(),
        });
        Self {
            r#final: true,
            name: verdict.name(),
            tone: report::tone(verdict.result),
            about: format!("The verdict on {}.", verdict.run),
            criteria: criteria.collect(),
        }
    }
}
