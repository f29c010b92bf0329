//! `kill -9` at any moment of a run. `KILLS=100 cargo test -p end-to-end --test tests kills -- --nocapture` is the long version.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::site::{Client, Kind, Site, scenario};
use crate::harness::{janitor, kill, part_of_the_machine};

/// Runs that are killed at the same time, each on a Toxiproxy of its own.
const LANES: u32 = 4;
/// A whole run of the short scenario, from its process's start to its end.
const RUN: Duration = Duration::from_millis(7500);
/// What the janitor has for everything.
const JANITOR_MAX: Duration = Duration::from_secs(2);
/// The promise: the deadline, 15 s after the phase of 3 s, and 15 s more. On the same host a reaper sees a dead owner at its next look.
const REAPER_MAX: Duration = Duration::from_secs(3 + 15 + 15);

/// Kills in a test.
fn kills() -> u32 {
    std::env::var("KILLS").map_or(LANES, |text| text.parse().unwrap())
}

/// Who dies.
#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Scenariod,
    /// The janitor too, and a reaper is there.
    Everything,
}

/// What the killed had done so far, and how long it took until nothing of it was left.
#[derive(Debug)]
struct Killed {
    after: Duration,
    faults: usize,
    claims: usize,
    clean_after: Duration,
}

/// The n-th of evenly spread moments of a run; never the same ones in two tests.
fn moment(n: u32) -> Duration {
    let seed = f64::from(std::process::id() % 1000) / 1000.0;
    RUN.mul_f64((seed + f64::from(n) * 0.618_033_988_75).fract())
}

async fn lane(kind: Kind, victim: Victim, lane: u32, client: &Client) -> Option<Vec<Killed>> {
    let site = Site::start(kind, &format!("{lane}"), client).await?;
    let file = scenario(&site.dir);
    let _reaper = (victim == Victim::Everything).then(|| {
        let args = ["reap", "--toxiproxy", &site.url, "--every", "1s"];
        let dir = site.dir.join("reaper");
        std::fs::create_dir(&dir).unwrap();
        crate::harness::Running::start(&crate::harness::binary("scenariod"), &args, &dir)
    });
    let mut killed = Vec::new();
    for n in (lane..kills()).step_by(LANES as usize) {
        let after = moment(n);
        let scenariod = site.scenariod("victim", &["--scenario-file", &file]);
        // Sleeps: it is killed at this moment, whatever it does then.
        sleep(after).await;
        let (faults, claims) = site.traces().await;
        let dead = Instant::now();
        match (victim, janitor(scenariod.id())) {
            (Victim::Everything, Some(janitor)) => {
                kill("STOP", &[scenariod.id()]);
                kill("KILL", &[janitor, scenariod.id()]);
            }
            _ => kill("KILL", &[scenariod.id()]),
        }
        // Reaped at once, as a supervisor does it.
        drop(scenariod);
        site.clean(if victim == Victim::Everything { REAPER_MAX } else { JANITOR_MAX }).await;
        let clean_after = dead.elapsed();
        killed.push(Killed { after, faults: faults.len(), claims: claims.len(), clean_after });
    }
    Some(killed)
}

async fn all(kind: Kind, victim: Victim) {
    let _machine = part_of_the_machine().await;
    let Some(client) = Client::start().await else { return };
    let client = &client;
    let (a, b, c, d) = tokio::join!(
        lane(kind, victim, 0, client),
        lane(kind, victim, 1, client),
        lane(kind, victim, 2, client),
        lane(kind, victim, 3, client)
    );
    let killed: Vec<Vec<Killed>> = [a, b, c, d].into_iter().flatten().collect();
    if killed.is_empty() {
        return;
    }
    let mut killed: Vec<Killed> = killed.into_iter().flatten().collect();
    killed.sort_by_key(|one| one.clean_after);
    let with = |what: fn(&Killed) -> usize| killed.iter().filter(|one| what(one) > 0).count();
    let (faults, claims) = (with(|one| one.faults), with(|one| one.claims));
    eprintln!(
        "{kind:?}: {} of {} killed runs were clean; {claims} had a claim, {faults} faults; median {:?}, longest {:?}",
        killed.len(),
        kills(),
        killed[killed.len() / 2].clean_after,
        killed[killed.len() - 1].clean_after,
    );
    for one in &killed {
        eprintln!(
            "  killed after {:?}: {} faults, {} claims, clean after {:?}",
            one.after, one.faults, one.claims, one.clean_after
        );
    }
    assert_eq!(killed.len(), kills() as usize);
    // Else there was nothing to be taken away.
    assert!(faults > 0 && faults >= killed.len() / 5, "{killed:?}");
}

#[tokio::test]
async fn with_its_janitor_alive_a_killed_run_leaves_nothing_on_the_embedded_proxy() {
    all(Kind::Embedded, Victim::Scenariod).await;
}

#[tokio::test]
async fn with_its_janitor_alive_a_killed_run_leaves_nothing_on_a_real_toxiproxy() {
    all(Kind::Real, Victim::Scenariod).await;
}

#[tokio::test]
async fn a_reaper_cleans_up_after_a_run_that_was_killed_with_its_janitor_on_the_embedded_proxy() {
    all(Kind::Embedded, Victim::Everything).await;
}

#[tokio::test]
async fn a_reaper_cleans_up_after_a_run_that_was_killed_with_its_janitor_on_a_real_toxiproxy() {
    all(Kind::Real, Victim::Everything).await;
}
