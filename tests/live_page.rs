//! The live pages of the two binaries, in Chromium.

use std::path::Path;
use std::time::Duration;

use observation::journal::Journal;
use observation::{BreakerState, EventKind, Record};
use serde_json::Value;
use tokio::time::Instant;

use crate::browser::{Browser, Look};
use crate::harness::{PATIENCE, Running, binary, free_port, get, real_program, wait_for, whole_machine};

const LIGHT: Look = Look { dark: false, width: 1200 };
/// Longest way from a trip to the page.
const TOLD_WITHIN_MS: f64 = 1_000.0;
/// A run, and what a loaded machine adds.
const RUN: Duration = Duration::from_secs(120);
/// Notes when the first breaker was shown open, Unix milliseconds.
const WATCH: &str = "globalThis.openedAt = null; new MutationObserver(() => {
    if (openedAt === null && document.querySelector('#states [data-breaker=open]')) openedAt = Date.now();
}).observe(document.getElementById('states'), { subtree: true, attributes: true, childList: true })";
const POINTS: &str = "Number(document.querySelector('main').dataset.points ?? 0)";
/// What the browser itself says of a port where nobody is.
const AWAY: [&str; 4] = [
    "ERR_CONNECTION_REFUSED",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_CONNECTION_RESET",
    "ERR_EMPTY_RESPONSE",
];

async fn shows(browser: &mut Browser, what: &str, patience: Duration) {
    let deadline = Instant::now() + patience;
    while browser.evaluate(what) != true {
        let text = browser.evaluate("document.body.innerText");
        assert!(Instant::now() < deadline, "never: {what}; {:?}; {text}", browser.complaints);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn start(addr: &str, dir: &Path) -> Running {
    let args = [
        "--lab",
        "--memcached",
        "fake",
        "--rate",
        "500",
        "--stabilization",
        "10s",
        "--testing",
        "6s",
        "--recovery",
        "10s",
        "--scenario",
        "packet-loss-100-pct",
        "--metrics-port",
        addr,
    ];
    Running::start(&binary("scenariod"), &args, dir)
}

async fn answers(url: &str) {
    wait_for("the page", PATIENCE, async || get(url).await.is_some()).await;
}

/// The first trip in the journal, Unix milliseconds.
fn tripped_ms(journal: &Journal) -> f64 {
    let began = journal.entries.iter().find_map(|entry| match &entry.record {
        Record::Run(run) => Some(run.wall_ms as f64),
        _ => None,
    });
    let trip = journal.entries.iter().find_map(|entry| match &entry.record {
        Record::Event(event) => match event.event {
            EventKind::Breaker { to: BreakerState::Open, .. } => Some(entry.at_us as f64 / 1e3),
            _ => None,
        },
        _ => None,
    });
    began.unwrap() + trip.unwrap()
}

#[tokio::test]
async fn a_run_is_seen_as_it_happens_and_after_a_restart_it_is_a_past_one() {
    let Some(mut browser) = Browser::start() else { return };
    let _machine = whole_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let addr = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{addr}/");
    let mut scenariod = start(&addr, dir.path());
    answers(&url).await;
    browser.visit(&url, LIGHT);
    browser.evaluate(WATCH);
    shows(&mut browser, "document.getElementById('phase').textContent === 'STABILIZATION'", PATIENCE).await;
    shows(&mut browser, &format!("{POINTS} > 5"), PATIENCE).await;
    let before = browser.evaluate(POINTS).as_u64().unwrap();
    shows(&mut browser, &format!("{POINTS} > {}", before + 10), PATIENCE).await;
    shows(&mut browser, "document.getElementById('phase').textContent === 'TESTING, FAULT ON'", PATIENCE)
        .await;
    shows(&mut browser, "openedAt !== null", PATIENCE).await;
    let shown = browser.evaluate("openedAt").as_f64().unwrap();
    shows(&mut browser, "document.querySelector('#verdict .forming') !== null", PATIENCE).await;
    shows(&mut browser, "document.querySelectorAll('#verdict tr').length > 5", PATIENCE).await;
    let forming = browser.evaluate("document.getElementById('verdict').innerText");
    let forming = forming.as_str().unwrap();
    assert!(
        forming.contains("This is no verdict") && !forming.contains("PASS") && !forming.contains("FAIL"),
        "{forming}"
    );
    shows(&mut browser, "document.querySelector('#faults').textContent.includes('(acknowledged)')", PATIENCE)
        .await;
    shows(&mut browser, "document.getElementById('phase').textContent === 'RECOVERY'", PATIENCE).await;
    // The last word comes before the end of the process.
    shows(&mut browser, "document.querySelector('#verdict .badge:not(.forming)') !== null", RUN).await;
    assert_eq!(browser.complaints.iter().filter(|c| !AWAY.iter().any(|away| c.contains(away))).count(), 0);
    scenariod.exit_code(RUN).await;
    shows(
        &mut browser,
        "document.getElementById('link').textContent.startsWith('Connection lost at ')",
        PATIENCE,
    )
    .await;

    let run = std::fs::read_dir(dir.path().join("runs")).unwrap().next().unwrap().unwrap();
    let tripped = tripped_ms(&Journal::read(&run.path()).unwrap());
    assert!(shown - tripped < TOLD_WITHIN_MS, "shown {:.0} ms after the trip", shown - tripped);
    eprintln!("the trip was shown {:.0} ms after it", shown - tripped);

    let again = start(&addr, dir.path());
    shows(&mut browser, "document.getElementById('link').dataset.state === 'live'", PATIENCE).await;
    shows(&mut browser, "document.querySelector('main').dataset.begun === '2'", PATIENCE).await;
    let id = run.file_name().into_string().unwrap();
    shows(&mut browser, &format!("document.querySelector('#runs a')?.textContent === '{id}'"), PATIENCE)
        .await;
    browser.complaints.retain(|complaint| !AWAY.iter().any(|away| complaint.contains(away)));
    assert_eq!(browser.complaints, Vec::<String>::new());
    let link = browser.evaluate("document.querySelector('#runs a').href");
    browser.visit(link.as_str().unwrap(), LIGHT);
    assert_ne!(browser.evaluate("document.documentElement.dataset.drawn"), Value::Null);
    assert!(browser.evaluate("document.body.innerText").as_str().unwrap().contains("packet-loss-100-pct"));
    for path in [
        "runs/",
        "runs/..%2f..%2fscenariod.err",
        &format!("runs/{id}/journal.jsonl"),
        &format!("runs/{id}/..%2freport.html"),
    ] {
        assert_eq!(get(&format!("{url}{path}")).await, None, "{path}");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
    drop(again);
}

#[tokio::test]
async fn loadgen_shows_its_own_part_and_a_dead_server() {
    let Some(mut browser) = Browser::start() else { return };
    let Some(memcached) = real_program("memcached") else { return };
    let _machine = whole_machine().await;
    let dir = tempfile::tempdir().unwrap();
    let (dies, lives, port) = (free_port(), free_port(), free_port());
    let start = |port: u16| {
        let port = port.to_string();
        Running::start(&memcached, &["-u", "root", "-l", "127.0.0.1", "-p", &port, "-U", "0"], dir.path())
    };
    // Two: the last server is never given up.
    let (dying, living) = (start(dies), start(lives));
    let addr = format!("127.0.0.1:{port}");
    let servers = format!("dies=127.0.0.1:{dies},lives=127.0.0.1:{lives}");
    let args = ["--servers", &servers, "--rate", "300", "--metrics-port", &addr];
    let loadgen = Running::start(&binary("loadgen"), &args, dir.path());
    let url = format!("http://{addr}/");
    answers(&url).await;
    browser.visit(&url, LIGHT);
    browser.evaluate(WATCH);
    shows(&mut browser, "document.querySelector('#states [data-breaker=closed]') !== null", PATIENCE).await;
    shows(&mut browser, "/^[0-9]+\\/s$/.test(document.getElementById('goodput').textContent)", PATIENCE)
        .await;
    assert_eq!(browser.evaluate("document.getElementById('verdict')"), Value::Null);
    drop(dying);
    shows(&mut browser, "openedAt !== null", PATIENCE).await;
    shows(&mut browser, "document.querySelectorAll('#states [data-breaker=closed]').length === 1", PATIENCE)
        .await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    drop((loadgen, living));
}
