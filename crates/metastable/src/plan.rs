//! The file of an experiment, and those that come with the tool.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use database::{Config, Service};
use look_aside::{Mitigation, Policy, Setup};
use serde::Deserialize;
use workload::KeyDist;

const FILES: [(&str, &str); 7] = [
    ("metastable-fast", include_str!("catalogue/metastable-fast.toml")),
    ("metastable-retry", include_str!("catalogue/metastable-retry.toml")),
    ("metastable-zipf", include_str!("catalogue/metastable-zipf.toml")),
    ("metastable-cut-off", include_str!("catalogue/metastable-cut-off.toml")),
    ("metastable-spike", include_str!("catalogue/metastable-spike.toml")),
    ("metastable-node-loss", include_str!("catalogue/metastable-node-loss.toml")),
    ("metastable-restart", include_str!("catalogue/metastable-restart.toml")),
];
/// Largest file.
const FILE_MAX: u64 = 1024 * 1024;
/// Longest phase.
const PHASE_MAX: Duration = Duration::from_secs(3_600);
/// Most keys.
const KEYS_MAX: usize = 10_000_000;
/// Longest name.
const NAME_MAX: usize = 64;
const NAME_RULE: &str = "a name is 1 to 64 characters of a-z, 0-9 and dash";
/// Most cells of an experiment.
const CELLS_MAX: usize = 100;
/// Most times that a cell is run as often as others.
const REPEAT_MAX: u32 = 100;
/// Phases with `--quick`: warm, baseline, hold at most.
const QUICK: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(5), Duration::from_secs(15)];

/// An experiment.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Cells, the first of which has no protection and the full trigger.
    pub cells: Vec<Cell>,
    /// Name of the first cell of the file, whether it is run or not.
    pub first: String,
}

/// One load, one trigger, one protection.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Unique within the experiment.
    pub name: String,
    /// What it is there for.
    pub expect: Expect,
    /// What protects the database, as it was written.
    pub mitigations: Vec<String>,
    /// Memcached servers.
    pub servers: usize,
    /// Requests a second.
    pub rate: f64,
    /// Number of keys.
    pub keys: usize,
    /// How requests are spread over them.
    pub key_dist: KeyDist,
    /// Time to live in the cache; `None`: for ever.
    pub ttl: Option<Duration>,
    /// Every key is in the cache when the load begins.
    pub prefill: bool,
    /// The database and its callers.
    pub setup: Setup,
    /// What brings it down.
    pub trigger: Trigger,
    /// How long each phase is.
    pub phases: Phases,
    /// Its hold is not that of the others.
    pub own_hold: bool,
    /// It is run so many times as often as others.
    pub repeat: u32,
}

/// What is expected of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// It stays down, at least in part.
    NotRecovered,
    /// It comes back.
    Recovered,
    /// It comes back, as a control at a lower load.
    LowerLoad,
    /// Whatever comes.
    Anything,
}

/// What brings a system down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// This share of the keys is deleted.
    Flush(f64),
    /// The database has this share of its capacity for so long; 0: it is cut off.
    Capacity(f64, Duration),
    /// The load is so many times the normal one for so long.
    Spike(f64, Duration),
    /// So many servers of the cache are gone for so long and come back empty.
    Restart(usize, Duration),
}

/// Lengths of the phases; the trigger has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Until the cache is as it always is.
    pub warm: Duration,
    /// What it is compared with.
    pub baseline: Duration,
    /// After the trigger, at the normal load.
    pub hold: Duration,
    /// After that 5 % of the load, with the database's backlog dropped; 0: none.
    pub relief: Duration,
    /// Back to the normal load, and 10 s of it; 0: none.
    pub ramp: Duration,
}

impl Cell {
    /// The same with so many times the load; keys too, so that the cache finds as much as before.
    pub fn with_load(&self, times: f64) -> Self {
        let keys = ((self.keys as f64 * times).round() as usize).max(1);
        Self { rate: self.rate * times, keys, ..self.clone() }
    }

    /// The same with a trigger of this share (0-1) of its strength or length.
    pub fn with_trigger(&self, share: f64) -> Self {
        let trigger = match self.trigger {
            Trigger::Flush(keys) => Trigger::Flush(keys * share),
            Trigger::Capacity(factor, lasts) => Trigger::Capacity(factor, lasts.mul_f64(share)),
            Trigger::Spike(factor, lasts) => Trigger::Spike(1.0 + (factor - 1.0) * share, lasts),
            Trigger::Restart(servers, lasts) => Trigger::Restart(servers, lasts.mul_f64(share)),
        };
        Self { trigger, ..self.clone() }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Flush(share) => write!(f, "flush of {:.0} %", share * 100.0),
            Trigger::Capacity(0.0, lasts) => write!(f, "database cut off for {lasts:?}"),
            Trigger::Capacity(factor, lasts) => write!(f, "capacity x{factor} for {lasts:?}"),
            Trigger::Spike(factor, lasts) => write!(f, "load x{factor} for {lasts:?}"),
            Trigger::Restart(1, lasts) => write!(f, "1 node gone for {lasts:?}"),
            Trigger::Restart(servers, lasts) => write!(f, "{servers} nodes gone for {lasts:?}"),
        }
    }
}

impl Trigger {
    /// How long it lasts.
    pub fn lasts(self) -> Duration {
        match self {
            Trigger::Flush(_) => Duration::ZERO,
            Trigger::Capacity(_, lasts) | Trigger::Spike(_, lasts) | Trigger::Restart(_, lasts) => lasts,
        }
    }
}

/// Why there is no experiment.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No experiment of that name.
    #[error("there is no experiment {0:?}; there are: {names}", names = FILES.map(|(name, _)| name).join(", "))]
    Unknown(String),
    /// The file cannot be read.
    #[error("{file}: {why}")]
    Unreadable {
        /// Which file.
        file: String,
        /// What the system says.
        why: String,
    },
    /// What is wrong, with its place.
    #[error("{file}, line {line}: {what}")]
    At {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    description: String,
    servers: Option<usize>,
    load: WrittenLoad,
    database: WrittenDatabase,
    phases: WrittenPhases,
    trigger: WrittenTrigger,
    cell: Vec<toml::Spanned<WrittenCell>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLoad {
    rate: f64,
    keys: usize,
    key_dist: String,
    /// Absent: for ever.
    ttl: Option<String>,
    /// Every key is in the cache when the load begins.
    prefill: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDatabase {
    workers: usize,
    service: String,
    timeout: String,
    retries: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPhases {
    warm: String,
    baseline: String,
    hold: String,
    relief: Option<String>,
    ramp: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTrigger {
    kind: String,
    share: Option<f64>,
    factor: Option<f64>,
    servers: Option<usize>,
    lasts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCell {
    name: String,
    expect: Expect,
    #[serde(default)]
    mitigations: Vec<String>,
    rate: Option<f64>,
    keys: Option<usize>,
    retries: Option<u32>,
    hold: Option<String>,
    repeat: Option<u32>,
    trigger: Option<WrittenTrigger>,
}

/// All experiments that come with the tool.
pub fn all() -> Result<Vec<Plan>, PlanError> {
    FILES.iter().map(|(name, text)| Plan::parse(text, &format!("{name}.toml"))).collect()
}

/// The experiments of these names; `metastable-*` are all.
pub fn select(names: &[String]) -> Result<Vec<Plan>, PlanError> {
    let all = all()?;
    let mut chosen: Vec<Plan> = Vec::new();
    for name in names {
        let (begin, many) = name.strip_suffix('*').map_or((name.as_str(), false), |begin| (begin, true));
        let fits = |plan: &&Plan| plan.name == begin || (many && plan.name.starts_with(begin));
        let fitting: Vec<&Plan> = all.iter().filter(fits).collect();
        if fitting.is_empty() {
            return Err(PlanError::Unknown(name.clone()));
        }
        for plan in fitting {
            if !chosen.iter().any(|other| other.name == plan.name) {
                chosen.push(plan.clone());
            }
        }
    }
    Ok(chosen)
}

impl Plan {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let file = path.display().to_string();
        let unreadable = |why: String| PlanError::Unreadable { file: file.clone(), why };
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > FILE_MAX {
            return Err(unreadable(format!("{length} bytes; an experiment has at most {FILE_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, &file)
    }

    /// Parses a text; `file` is only for messages.
    pub fn parse(text: &str, file: &str) -> Result<Self, PlanError> {
        let at = |from: usize, what: String| {
            let line = text[..from.min(text.len())].matches('\n').count() + 1;
            PlanError::At { file: file.to_owned(), line, what }
        };
        let written: Written = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        if written.cell.is_empty() || written.cell.len() > CELLS_MAX {
            return Err(at(0, format!("cell: expected 1 to {CELLS_MAX} of them")));
        }
        let mut cells: Vec<Cell> = Vec::new();
        for cell in &written.cell {
            let from = cell.span().start;
            let cell = written.cell(cell.get_ref()).map_err(|what| at(from, what))?;
            if cells.iter().any(|other| other.name == cell.name) {
                return Err(at(from, format!("cell {:?}: there is one of that name already", cell.name)));
            }
            cells.push(cell);
        }
        // What the verdict of the whole experiment stands on.
        let first = &cells[0];
        if first.expect == Expect::LowerLoad || !first.mitigations.is_empty() {
            return Err(at(
                0,
                format!("cell {:?}: the first has the full load and no mitigations", first.name),
            ));
        }
        let same = |cell: &&Cell| {
            cell.rate < first.rate && cell.trigger == first.trigger && cell.mitigations.is_empty()
        };
        let controls = cells.iter().zip(&written.cell).filter(|(cell, _)| cell.expect == Expect::LowerLoad);
        if let Some((cell, place)) = controls.into_iter().find(|(cell, _)| !same(cell)) {
            let rule = "a lower load is the first cell at a lower rate: the same trigger, no mitigations";
            return Err(at(place.span().start, format!("cell {:?}: {rule}", cell.name)));
        }
        if !plain_name(&written.name) {
            return Err(at(0, format!("name {:?}: {NAME_RULE}", written.name)));
        }
        let first = first.name.clone();
        Ok(Self { name: written.name, description: written.description, cells, first })
    }

    /// Shorter: 3 s, 5 s, and a hold of at most 15 s or one and a half times to live; a cell's own hold stays. What comes
    /// after is left out.
    pub fn quick(mut self) -> Self {
        for cell in &mut self.cells {
            let [warm, baseline, hold] = QUICK;
            let Phases { warm: own_warm, baseline: own_baseline, hold: own_hold, .. } = cell.phases;
            let most = cell.ttl.map_or(hold, |ttl| hold.max(ttl.mul_f64(1.5)));
            let hold = if cell.own_hold { own_hold } else { own_hold.min(most) };
            let (warm, baseline) = (own_warm.min(warm), own_baseline.min(baseline));
            cell.phases = Phases { warm, baseline, hold, relief: Duration::ZERO, ramp: Duration::ZERO };
        }
        self
    }
}

impl Written {
    fn cell(&self, cell: &WrittenCell) -> Result<Cell, String> {
        let (load, database) = (&self.load, &self.database);
        if !plain_name(&cell.name) {
            return Err(format!("cell {:?}: {NAME_RULE}", cell.name));
        }
        let service = Service::Exponential(positive("database.service", &database.service)?);
        let policy = Policy {
            patience: positive("database.timeout", &database.timeout)?,
            retries: cell.retries.unwrap_or(database.retries),
            ..Policy::default()
        };
        let database = Config { workers: database.workers, service, ..Config::default() };
        database.validate().map_err(|error| error.to_string())?;
        let mitigations: Result<Vec<Mitigation>, _> =
            cell.mitigations.iter().map(|text| text.parse()).collect();
        let mitigations =
            mitigations.map_err(|error| format!("cell {:?}: mitigations: {error}", cell.name))?;
        let phases = &self.phases;
        let rate = cell.rate.unwrap_or(load.rate);
        if !(1.0..=100_000.0).contains(&rate) {
            return Err(format!("rate: expected 1 to 100000 requests a second, not {rate}"));
        }
        let keys = cell.keys.unwrap_or(load.keys);
        if !(1..=KEYS_MAX).contains(&keys) {
            return Err(format!("keys: expected 1 to {KEYS_MAX}, not {keys}"));
        }
        if phases.ramp.is_some() && phases.relief.is_none() {
            return Err("phases: a ramp comes after a relief, and there is none".to_owned());
        }
        policy.validate().map_err(|error| error.to_string())?;
        let servers = self.servers.unwrap_or(1);
        if !(1..=lab::SERVERS_MAX).contains(&servers) {
            return Err(format!("servers: expected 1 to {}, not {servers}", lab::SERVERS_MAX));
        }
        let repeat = cell.repeat.unwrap_or(1);
        if !(1..=REPEAT_MAX).contains(&repeat) {
            return Err(format!("repeat: expected 1 to {REPEAT_MAX}, not {repeat}"));
        }
        let trigger = cell.trigger.as_ref().unwrap_or(&self.trigger).trigger()?;
        if matches!(trigger, Trigger::Restart(n, _) if n > servers) {
            return Err(format!("trigger: more servers than the {servers} that there are"));
        }
        let optional =
            |key, text: &Option<String>| text.as_ref().map_or(Ok(Duration::ZERO), |text| time(key, text));
        let ttl = load.ttl.as_ref().map(|ttl| positive("load.ttl", ttl)).transpose()?;
        Ok(Cell {
            name: cell.name.clone(),
            expect: cell.expect,
            mitigations: cell.mitigations.clone(),
            servers,
            rate,
            keys,
            key_dist: load.key_dist.parse().map_err(|error| format!("load.key_dist: {error}"))?,
            ttl,
            prefill: load.prefill.unwrap_or(true),
            setup: Setup { database, policy, failover: false }.with(&mitigations),
            trigger,
            own_hold: cell.hold.is_some(),
            repeat,
            phases: Phases {
                warm: time("phases.warm", &phases.warm)?,
                baseline: positive("phases.baseline", &phases.baseline)?,
                hold: positive("hold", cell.hold.as_ref().unwrap_or(&phases.hold))?,
                relief: optional("phases.relief", &phases.relief)?,
                ramp: optional("phases.ramp", &phases.ramp)?,
            },
        })
    }
}

impl WrittenTrigger {
    fn trigger(&self) -> Result<Trigger, String> {
        let need = |name: &str, value: Option<f64>, fits: &dyn Fn(f64) -> bool, range: &str| match value {
            Some(value) if fits(value) => Ok(value),
            Some(value) => Err(format!("trigger: {name} is {range}, not {value}")),
            None => Err(format!("trigger: a {} needs {name}", self.kind)),
        };
        let lasts = || match &self.lasts {
            Some(text) => positive("trigger.lasts", text),
            None => Err(format!("trigger: a {} needs lasts", self.kind)),
        };
        match self.kind.as_str() {
            "flush" => {
                let some = |share| share > 0.0 && share <= 1.0;
                Ok(Trigger::Flush(need("share", self.share, &some, "above 0 and at most 1")?))
            }
            "capacity" => {
                let less = |factor| (1e-6..1.0).contains(&factor);
                Ok(Trigger::Capacity(need("factor", self.factor, &less, "0.000001 to below 1")?, lasts()?))
            }
            "cut-off" => Ok(Trigger::Capacity(0.0, lasts()?)),
            "spike" => {
                let more = |factor| factor > 1.0 && factor <= 100.0;
                Ok(Trigger::Spike(need("factor", self.factor, &more, "above 1 and at most 100")?, lasts()?))
            }
            "restart" => match self.servers.unwrap_or(1) {
                0 => Err("trigger: servers is at least 1".to_owned()),
                servers => Ok(Trigger::Restart(servers, lasts()?)),
            },
            other => Err(format!(
                "trigger: there is no {other:?}; there are flush, capacity, cut-off, spike and restart"
            )),
        }
    }
}

/// Names become parts of folder names.
fn plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// A time that may be zero.
fn time(key: &str, text: &str) -> Result<Duration, String> {
    within(Duration::ZERO, key, text)
}

/// A time that must not be zero.
fn positive(key: &str, text: &str) -> Result<Duration, String> {
    within(duration::SHORTEST, key, text)
}

fn within(least: Duration, key: &str, text: &str) -> Result<Duration, String> {
    duration::within(least..=PHASE_MAX, text).map_err(|error| format!("{key}: {error}, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_parses_has_a_full_trigger_first_and_is_named_as_its_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalogue");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len());
        for (plan, (name, _)) in all().unwrap().iter().zip(FILES) {
            assert_eq!(plan.name, name);
            assert_ne!(plan.cells[0].expect, Expect::LowerLoad, "{name}");
        }
        let names = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
            select(&given).map(|plans| plans.len())
        };
        assert_eq!(names(&["metastable-*"]).unwrap(), FILES.len());
        assert_eq!(names(&["metastable-fast", "metastable-f*"]).unwrap(), 1);
        assert!(names(&["metastable-fats"]).unwrap_err().to_string().contains("there are: metastable-fast,"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_line() {
        let (_, good) = FILES[0];
        for (from, to, told) in [
            ("share = 1.0", "share = 1.5", "trigger: share is above 0 and at most 1, not 1.5"),
            ("share = 1.0", "share = 0.0", "trigger: share is above 0"),
            ("expect = \"not-recovered\"", "expect = \"lower-load\"", "the first has the full load"),
            ("rate = 200.0", "rate = 2000.0", "a lower load is the first cell at a lower rate"),
            ("retries = 2", "retries = 4000000000", "asks the database again 100 times at most"),
            ("keys = 1000", "keys = 0", "keys: expected 1 to 10000000, not 0"),
            ("hold = \"22s\"", "hold = \"22s\"\nramp = \"1s\"", "a ramp comes after a relief"),
            ("kind = \"flush\"", "kind = \"flash\"", "there is no \"flash\""),
            ("\"queue:0.5\"", "\"queue:x\"", "mitigations: queue: expected a factor above 0"),
            ("rate = 1000.0", "rate = 0.0", "rate: expected 1 to 100000"),
            ("hold = ", "hole = ", "unknown field `hole`"),
            ("repeat = 2", "repeat = 0", "repeat: expected 1 to 100, not 0"),
            ("name = \"metastable-fast\"", "name = \"../fast\"", "a name is 1 to 64 characters"),
            ("service = \"20ms\"", "service = \"20\"", "database.service: expected a duration"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Plan::parse(&good.replacen(from, to, 1), "f.toml").unwrap_err().to_string();
            assert!(error.contains(told) && error.starts_with("f.toml, line "), "{error}");
        }
    }
}
