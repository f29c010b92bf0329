//! Whose a fault is, and until when. Both are in its name, where anybody can read them:
//!
//! `scenariod.<host>.<machine>.<pid>.<start>.<run>.<scenario>.<number>.<deadline>`
//!
//! | part | |
//! |---|---|
//! | host | its name, cut |
//! | machine | hash of the kernel's boot id and the PID namespace, 8 hex digits; 0: unknown |
//! | pid, start | the process, and when it was started, in clock ticks since the machine's start |
//! | run | number of the run in that process |
//! | scenario | its name, cut |
//! | number | of the fault in the run; `CLAIM` and `TRIAL` are none |
//! | deadline | Unix seconds |

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use observation::clock;
use sha2::{Digest, Sha256};

use super::process;

/// Names of ours begin with this; everybody else's are left alone.
pub(crate) const OWNER: &str = "scenariod.";
/// Longest name that can be addressed again, bytes.
const NAME_MAX: usize = 96;
/// Room for `.<number>.<deadline>`.
const TAIL_MAX: usize = 1 + 5 + 1 + 10;
/// Letters of the host's name.
const HOST_MAX: usize = 12;
/// After the deadline: clocks of two hosts differ, and an owner takes its own away a moment later.
const GRACE_S: u64 = 5;
/// Number of the proxy that says that somebody tests here.
pub(crate) const CLAIM: u16 = 0;
/// Number of the proxy on which a toxic is tried.
pub(crate) const TRIAL: u16 = u16::MAX;

/// One run of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    host: String,
    machine: u32,
    pid: u32,
    started: u64,
    run: u32,
    scenario: String,
}

/// Runs of one process only have to differ.
static RUNS: AtomicU32 = AtomicU32::new(1);

impl Owner {
    /// A new run of this process. Where the system does not say which process this is, its faults end by their deadline only.
    pub fn of_run(scenario: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = plain(host.trim(), HOST_MAX);
        let mut owner = Self {
            host: if host.is_empty() { "unknown".to_owned() } else { host },
            machine: machine().unwrap_or(0),
            pid: std::process::id(),
            started: process::started().unwrap_or(0),
            run: RUNS.fetch_add(1, Ordering::Relaxed),
            scenario: String::new(),
        };
        owner.scenario = plain(scenario, NAME_MAX - TAIL_MAX - owner.to_string().len());
        owner
    }

    /// The name of its fault of that number.
    pub fn name(&self, number: u16, deadline: u64) -> OwnedName {
        OwnedName { owner: self.clone(), number, deadline }
    }

    /// With this the names of all its faults begin, and no others.
    pub fn prefix(&self) -> String {
        format!("{self}.")
    }

    /// Is it proven that its process has ended?
    fn is_dead(&self) -> bool {
        machine() == Some(self.machine) && self.started > 0 && process::has_ended(self.pid, self.started)
    }
}

/// This machine since its start, and the PID namespace that this process is in; `None` where there is no such thing.
fn machine() -> Option<u32> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digest = Sha256::digest(format!("{} {}", boot.trim(), process::space().ok()?));
    let first = digest.first_chunk::<4>()?;
    // 0 says that it is unknown.
    Some(u32::from_be_bytes(*first).max(1))
}

/// Without what a name must not contain.
fn plain(text: &str, max: usize) -> String {
    let letters = text.chars().take(max).map(|letter| letter.to_ascii_lowercase());
    letters.map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, machine, pid, started, run, scenario } = self;
        write!(f, "{OWNER}{host}.{machine:08x}.{pid}.{started}.{run}.{scenario}")
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let fields: Vec<&str> = text.strip_prefix(OWNER)?.split('.').collect();
            let [host, machine, pid, started, run, scenario] = fields[..] else { return None };
            Some(Self {
                host: host.to_owned(),
                machine: u32::from_str_radix(machine, 16).ok()?,
                pid: pid.parse().ok()?,
                started: started.parse().ok()?,
                run: run.parse().ok()?,
                scenario: scenario.to_owned(),
            })
        };
        let plain = |owner: &Self| {
            let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            [&owner.host, &owner.scenario].iter().all(|text| !text.is_empty() && text.bytes().all(letter))
        };
        // Exactly so: `+7` and `007` parse too, but nobody of us writes them.
        let owner = parse().filter(|owner| plain(owner) && owner.to_string() == text);
        owner.ok_or_else(|| format!("{text:?} is no run of scenariod's"))
    }
}

/// The name of one fault, or of a proxy of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedName {
    owner: Owner,
    number: u16,
    deadline: u64,
}

impl OwnedName {
    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Does it say that somebody tests here, and nothing more?
    pub fn is_claim(&self) -> bool {
        self.number == CLAIM
    }

    /// Is it a leftover: has its time gone, or its owner, as far as this host can prove it?
    pub fn is_over(&self) -> bool {
        clock::wall_ms() / 1000 > self.deadline.saturating_add(GRACE_S) || self.owner.is_dead()
    }

    /// In words: who, and until when.
    pub fn describe(&self) -> String {
        let Owner { host, pid, scenario, .. } = &self.owner;
        let ends = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(self.deadline));
        let ends = ends.map(|ends| format!(", until {}", humantime::format_rfc3339_seconds(ends)));
        format!("scenariod on host {host}, process {pid}, scenario {scenario}{}", ends.unwrap_or_default())
    }
}

impl fmt::Display for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.owner, self.number, self.deadline)
    }
}

impl FromStr for OwnedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (rest, deadline) = text.rsplit_once('.')?;
            let (owner, number) = rest.rsplit_once('.')?;
            let name = Self {
                owner: owner.parse().ok()?,
                number: number.parse().ok()?,
                deadline: deadline.parse().ok()?,
            };
            // A date that has no name in words is nobody's.
            (name.to_string() == text && name.deadline < 253_402_300_800).then_some(name)
        };
        parse().ok_or_else(|| format!("{text:?} is no name of a fault of scenariod's"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run on another machine, which cannot be asked whether it is alive.
    pub(crate) fn elsewhere() -> Owner {
        let here = Owner::of_run("packet-loss-100-pct");
        Owner { host: "other".to_owned(), machine: here.machine ^ 1, ..here }
    }

    /// A run of a process of this machine that has ended.
    pub(crate) fn dead() -> Owner {
        let here = Owner::of_run("latency-200ms-5s");
        Owner { started: here.started - 1, ..here }
    }

    #[test]
    fn a_name_says_its_owner_and_nobody_elses_name_is_ours() {
        let owner = Owner::of_run("packet-loss-100-pct");
        let name = owner.name(7, 1_790_000_000);
        let text = name.to_string();
        assert_eq!(text.parse::<OwnedName>().unwrap(), name);
        assert_eq!(owner.to_string().parse::<Owner>().unwrap(), owner);
        assert!(text.starts_with(&owner.prefix()), "{text}");
        assert!(text.ends_with(".packet-loss-100-pct.7.1790000000"), "{text}");
        assert!(name.describe().contains("scenario packet-loss-100-pct, until 2026-"), "{}", name.describe());

        let good = "scenariod.web1.00c0ffee.4711.99.1.down.2.1790000000";
        good.parse::<OwnedName>().unwrap();
        for foreign in [
            "latency_downstream",
            "scenariod",
            "scenariod.",
            "scenariod.4711.1.1790000000",
            "scenariod.trial",
            "scenariod.web1.00c0ffee.4711.99.1.down.2",
            "scenariod.web1.00c0ffee.4711.99.1.down.2.1790000000.1",
            "scenariod.web1.00c0ffee.4711.99.1.down.+2.1790000000",
            "scenariod.web1.00c0ffee.04711.99.1.down.2.1790000000",
            "scenariod.web1.c0ffee.4711.99.1.down.2.1790000000",
            "scenariod.web1.00C0FFEE.4711.99.1.down.2.1790000000",
            "scenariod.Web1.00c0ffee.4711.99.1.down.2.1790000000",
            "scenariod..00c0ffee.4711.99.1.down.2.1790000000",
            "scenariod.web1.00c0ffee.4711.99.1.down.70000.1790000000",
            "scenariod.web1.00c0ffee.4711.99.1.down.2.99999999999999",
        ] {
            foreign.parse::<OwnedName>().unwrap_err();
        }
    }

    #[test]
    fn every_name_can_be_addressed() {
        for scenario in ["x", &"long-".repeat(20), "Odd/name with. things ü"] {
            let mut owner = Owner::of_run(scenario);
            owner.scenario = plain(scenario, owner.scenario.len());
            let text = owner.name(u16::MAX, 9_999_999_999).to_string();
            assert!(text.len() <= NAME_MAX, "{text}");
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            );
            text.parse::<OwnedName>().unwrap();
        }
    }

    #[test]
    fn two_runs_of_one_process_have_different_names() {
        assert_ne!(Owner::of_run("x").prefix(), Owner::of_run("x").prefix());
    }

    #[test]
    fn a_leftover_is_one_whose_time_is_over_or_whose_process_is_proven_to_be_gone() {
        let now = clock::wall_ms() / 1000;
        let later = now + 60;
        assert!(!Owner::of_run("x").name(1, later).is_over());
        assert!(!Owner::of_run("x").name(1, now).is_over(), "the owner is about to take it away");
        assert!(Owner::of_run("x").name(1, now - GRACE_S - 2).is_over(), "a frozen owner");
        assert!(dead().name(1, later).is_over());
        assert!(!elsewhere().name(1, later).is_over(), "nobody can ask it");
        assert!(elsewhere().name(1, now - GRACE_S - 2).is_over());
    }
}
