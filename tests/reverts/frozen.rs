//! A scenariod that stands still: it is not dead, and its faults end all the same.

use std::time::Duration;

use tokio::time::Instant;

use super::site::{Client, Kind, Site, scenario};
use crate::harness::{PATIENCE, Running, binary, janitor, kill, part_of_the_machine, wait_for};

/// The phase of 3 s and 15 s more.
const LEASE: Duration = Duration::from_secs(18);

/// A run that is stopped in the middle of its faults; with its janitor, or without.
async fn frozen(site: &Site, with_janitor: bool) -> Running {
    let file = scenario(&site.dir);
    let scenariod = site.scenariod("frozen", &["--scenario-file", &file]);
    wait_for("all three faults", PATIENCE, async || site.traces().await.0.len() == 4).await;
    let janitor = janitor(scenariod.id()).unwrap();
    kill("STOP", &[scenariod.id()]);
    if with_janitor {
        kill("STOP", &[janitor]);
    }
    scenariod
}

async fn without_faults(site: &Site, patience: Duration) -> Duration {
    let began = Instant::now();
    let gone = async || site.traces().await.0.is_empty();
    wait_for("the faults of a frozen run to end", patience, gone).await;
    began.elapsed()
}

#[tokio::test]
async fn the_embedded_proxy_is_a_pass_through_six_seconds_after_its_controller_froze() {
    let _machine = part_of_the_machine().await;
    let Some(client) = Client::start().await else { return };
    let Some(site) = Site::start(Kind::Embedded, "embedded", &client).await else { return };
    let mut scenariod = frozen(&site, true).await;
    let took = without_faults(&site, Duration::from_secs(6)).await;
    eprintln!("pass-through {took:?} after SIGSTOP");
    assert!(took > Duration::from_secs(3), "a stall of 3 s is none: {took:?}");

    // When it wakes up it says what happened, and gives no verdict on the client.
    kill("CONT", &[janitor(scenariod.id()).unwrap(), scenariod.id()]);
    assert_eq!(scenariod.exit_code(PATIENCE).await, 3, "{}", site.log("frozen"));
    let verdict = crate::harness::verdict(&site.dir.join("frozen"));
    assert!(["inconclusive", "invalid"].contains(&verdict["result"].as_str().unwrap()), "{verdict:#}");
    assert!(verdict.to_string().contains("the lease of the faults lapsed"), "{verdict:#}");
    site.clean(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn the_faults_of_a_frozen_run_end_at_their_deadline_by_its_janitor_or_by_a_reaper() {
    let _machine = part_of_the_machine().await;
    let Some(client) = Client::start().await else { return };
    let Some(kept) = Site::start(Kind::Real, "kept", &client).await else { return };
    let Some(reaped) = Site::start(Kind::Real, "reaped", &client).await else { return };
    let (_one, two) = tokio::join!(frozen(&kept, false), frozen(&reaped, true));
    let frozen_janitor = janitor(two.id()).unwrap();
    let args = ["reap", "--toxiproxy", &reaped.url];
    let _reaper = Running::start(&binary("scenariod"), &args, &reaped.dir);
    let (by_janitor, by_reaper) = tokio::join!(
        without_faults(&kept, LEASE + Duration::from_secs(2)),
        without_faults(&reaped, LEASE + Duration::from_secs(15))
    );
    eprintln!("without faults {by_janitor:?} after SIGSTOP by the janitor, {by_reaper:?} by a reaper");
    let early = LEASE - Duration::from_secs(3);
    assert!(by_janitor > early && by_reaper > early, "before its deadline it is nobody else's");
    let said = std::fs::read_to_string(reaped.dir.join("scenariod.err")).unwrap();
    assert!(said.contains("taken away: scenariod.") && said.contains("scenario short, until "), "{said}");
    kill("KILL", &[frozen_janitor]);
}
