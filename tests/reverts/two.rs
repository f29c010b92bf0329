//! Two scenariods that are pointed at one Toxiproxy.

use std::time::Duration;

use super::site::{Client, Kind, Site, scenario};
use crate::harness::{PATIENCE, binary, wait_for};

async fn refused(kind: Kind) {
    let Some(client) = Client::start().await else { return };
    let Some(site) = Site::start(kind, "site", &client).await else { return };
    let file = scenario(&site.dir);
    let mut first = site.scenariod("first", &["--scenario-file", &file, "--stabilization", "60s"]);
    wait_for("the claim", PATIENCE, async || !site.traces().await.1.is_empty()).await;

    // Before any toxic: in the first one's stabilization.
    let before = site.proxies().await;
    let mut second = site.scenariod("second", &["--scenario", "latency-*"]);
    assert_eq!(second.exit_code(PATIENCE).await, 4);
    assert_eq!(site.proxies().await, before, "nothing was changed");
    let log = site.log("second");
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let owner = format!(", process {}, scenario short, until 20", first.id());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host: String = host.trim().to_lowercase().chars().take(12).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("is in use by scenariod on host ") && errors[0].contains(&owner), "{log}");
    assert!(errors[0].contains(&host.replace(|c: char| !c.is_ascii_alphanumeric(), "-")), "{log}");
    assert!(!site.dir.join("second/runs").read_dir().unwrap().any(|_| true), "no run was begun");

    first.signal("TERM");
    assert_eq!(first.exit_code(PATIENCE).await, 3);
    site.clean(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn the_second_refuses_and_names_the_first_on_the_embedded_proxy() {
    refused(Kind::Embedded).await;
}

#[tokio::test]
async fn the_second_refuses_and_names_the_first_on_a_real_toxiproxy() {
    refused(Kind::Real).await;
}

#[tokio::test]
async fn reap_once_leaves_a_living_run_alone_and_says_when_nobody_answers() {
    let Some(client) = Client::start().await else { return };
    let Some(site) = Site::start(Kind::Embedded, "site", &client).await else { return };
    let file = scenario(&site.dir);
    let mut run = site.scenariod("run", &["--scenario-file", &file, "--testing", "60s"]);
    wait_for("all three faults", PATIENCE, async || site.traces().await.0.len() == 4).await;
    let before = site.proxies().await;
    let reap = async |url: &str| {
        let args = ["reap", "--once", "--toxiproxy", url];
        crate::harness::Running::start(&binary("scenariod"), &args, &site.dir).exit_code(PATIENCE).await
    };
    assert_eq!(reap(&site.url).await, 0);
    assert_eq!(site.proxies().await, before);
    run.signal("TERM");
    assert_eq!(run.exit_code(PATIENCE).await, 3);
    site.clean(Duration::from_secs(1)).await;
    assert_eq!(reap("http://127.0.0.1:1").await, 4);
    assert_eq!(reap("nowhere").await, 2);
}
