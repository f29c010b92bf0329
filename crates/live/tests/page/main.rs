//! The live page in Chromium, fed with a synthetic hour: it is smooth, nothing is fetched elsewhere, nothing from outside runs, and
//! it comes back when its server does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so, and the frames are told")]
#![expect(
    clippy::disallowed_methods,
    reason = "threads of their own, beside a browser: real time, between two looks or ticks"
)]

#[path = "../../../report/tests/pages/browser.rs"]
mod browser;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use browser::{Browser, Look};
use live::{Feed, Origin, Page};
use observation::clock::wall_ms;
use observation::{
    BreakerState, Canary, ClientInfo, Counts, Dose, Fault, FaultState, Hello, Histogram, LoadKind,
    LoadSettings, Outcome, Phase, PhaseKind, PoolTick, Record, RoutingSettings, Run, RunPhases, Server,
    ServerTick, Settings, Tick,
};
use telemetry::http::{Limits, Routes};
use tokio_util::sync::CancellationToken;

const HOUR_S: u64 = 3600;
const TICK_US: u64 = 100_000;
const LIGHT: Look = Look { dark: false, width: 1200 };
/// Longest wait for something that the page must show.
const PATIENCE: Duration = Duration::from_secs(30);
const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202e}'\"</script>";

const PAGE: Page = Page { program: "scenariod test", jobs: 1, runs: true, other: None, other_name: "" };

fn feed(instance: u64) -> Feed {
    Feed::new(Origin { instance, wall_ms: 0.0 })
}

/// A page on a port of its own; it ends when `stop` is cancelled or dropped.
struct Site {
    url: String,
    stop: CancellationToken,
    runtime: tokio::runtime::Runtime,
    serving: Option<telemetry::http::Serving>,
}

impl Site {
    fn start(addr: &str, feed: &Feed) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let (url, serving) = runtime.block_on(async {
            let server =
                telemetry::http::Server::bind(&addr.parse().unwrap(), Limits::default()).await.unwrap();
            let url = server.local_url();
            let routes = live::routes(Routes::default(), PAGE, vec![feed.clone()]);
            (url, server.spawn(routes, stop.clone()).unwrap())
        });
        Self { url, stop, runtime, serving: Some(serving) }
    }

    fn end(mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        self.runtime.block_on(serving.ended()).unwrap();
    }
}

fn hello(names: [&str; 3]) -> Record {
    let server = |name: &str| Server { name: name.to_owned(), addr: "127.0.0.1:1".to_owned() };
    Record::Hello(Box::new(Hello {
        v: 1,
        client: ClientInfo { name: names[0].to_owned(), version: "1".to_owned() },
        instance: "1".to_owned(),
        at_us: 0,
        wall_ms: 0,
        servers: names.map(server).to_vec(),
        settings: Settings {
            driver: observation::WireDriver::Meta,
            op_timeout_ms: 250,
            total_timeout_ms: None,
            connect_timeout_ms: 0,
            pool_max: 32,
            dials_per_s: None,
            pool_max_waiting: 1,
            retries: 1,
            breaker: None,
            routing: RoutingSettings::default(),
            load: LoadSettings {
                kind: LoadKind::Open,
                arrivals: None,
                rate_ops_per_s: Some(9_000.0),
                concurrency: 1,
                workload: "mixed".to_owned(),
                keys: 1,
                seed: 1,
                data: None,
                shard: None,
            },
        },
    }))
}

fn run(began_ms: u64, text: &str) -> Record {
    Record::Run(Box::new(Run {
        v: 1,
        run: "20261121T101112Z-x".to_owned(),
        scenario: text.to_owned(),
        suite: "x".to_owned(),
        description: text.to_owned(),
        scenario_toml: String::new(),
        rules_sha256: String::new(),
        phases: RunPhases { stabilization_ms: 600_000, testing_ms: 600_000, recovery_ms: 600_000 },
        wall_ms: began_ms,
        tool_version: String::new(),
        backend: String::new(),
        control: false,
    }))
}

/// Is the fault on at this second? Ten minutes of each twenty.
fn faulty(second: u64) -> bool {
    second / 600 % 2 == 1
}

fn tick(names: [&str; 3], n: u64) -> Record {
    let second = n / 10;
    let fault = faulty(second);
    let server = |place: usize, name: &str| {
        let hurt = place == 0 && fault;
        let mut ops = Counts::default();
        let wave = ((n as f64 / 47.0).sin() * 40.0) as i64;
        ops.add(Outcome::Hit, (300 + wave) as u64);
        if hurt {
            ops.add(Outcome::Timeout, 20 + n % 13);
            ops.add(Outcome::BreakerOpen, 60 + n % 7);
        }
        let latency = (0..40).map(|bucket| (200 + bucket * 60 + n % 17, 9)).collect();
        ServerTick {
            server: name.to_owned(),
            ops,
            latency: Histogram(latency),
            pool: PoolTick {
                total: 32,
                active: (n % 20) as u32,
                idle: 32 - (n % 20) as u32,
                waiting: u32::from(hurt) * 5,
            },
            breaker: match (hurt, second % 10) {
                (true, 0) => BreakerState::HalfOpen,
                (true, _) => BreakerState::Open,
                _ => BreakerState::Closed,
            },
            ..ServerTick::default()
        }
    };
    Record::Tick(Tick {
        at_us: n * TICK_US,
        period_us: TICK_US,
        offered: 1000,
        started: 1000,
        servers: names.iter().enumerate().map(|(place, name)| server(place, name)).collect(),
        ..Tick::default()
    })
}

fn phase(at_s: u64, phase: PhaseKind) -> Record {
    Record::Phase(Phase { at_us: at_s * 1_000_000, phase })
}

fn fault(at_s: u64, state: FaultState, text: &str) -> Record {
    Record::Fault(Box::new(Fault {
        at_us: at_s * 1_000_000,
        id: "f1".to_owned(),
        state,
        target: "one".to_owned(),
        server: None,
        kind: observation::FaultKind::Loss,
        given: text.to_owned(),
        params: BTreeMap::new(),
        lease_until_us: 0,
        error: None,
    }))
}

/// The records of second `s`, as a runner writes them.
fn second(feed: &Feed, names: [&str; 3], s: u64, text: &str) {
    let at_us = s * 1_000_000;
    if s.is_multiple_of(600) {
        let kind = [PhaseKind::Recovery, PhaseKind::Testing][s as usize / 600 % 2];
        feed.record(at_us, &phase(s, if s == 0 { PhaseKind::Stabilization } else { kind }));
        let state = if faulty(s) { FaultState::Acknowledged } else { FaultState::Removed };
        feed.record(at_us, &fault(s, state, text));
    }
    for n in s * 10 + 1..=s * 10 + 10 {
        feed.record(n * TICK_US, &tick(names, n));
        let dose = Dose {
            at_us: n * TICK_US,
            period_us: TICK_US,
            target: "one".to_owned(),
            links: 1,
            links_touched: 1,
            chunks: 50,
            chunks_touched: 48 + n % 3,
            bytes: 0,
            bytes_touched: 0,
        };
        feed.record(n * TICK_US, &Record::Dose(dose));
        let canary =
            Canary { at_us: n * TICK_US, target: "one".to_owned(), server: None, took_us: None, error: None };
        feed.record(n * TICK_US, &Record::Canary(canary));
    }
}

/// An hour that ends now.
fn hour(feed: &Feed, names: [&str; 3], text: &str) {
    feed.record(0, &run(wall_ms() - HOUR_S * 1000, text));
    feed.record(0, &hello(names));
    (0..HOUR_S).for_each(|s| second(feed, names, s, text));
    feed.tell(
        "verdict",
        &serde_json::json!({ "final": false, "about": format!("No verdict. {text}"), "criteria": [
            { "said": "holds so far", "tone": "holds", "title": "Every value read is the one that was written", "expected": "0 wrong values", "measured": "0 wrong of 81 212 reads" },
            { "said": "not met so far", "tone": "not", "title": "All breakers close and goodput is back in time", "expected": "within 8 500 ms", "measured": "not within 3 000 ms" },
            { "said": "cannot be said yet", "tone": "open", "title": "Client and generator were well before the fault", "expected": text, "measured": text },
        ] }),
    );
    feed.tell(
        "runs",
        &serde_json::json!([
            { "id": "20261121T101112Z-packet-loss-100-pct", "page": "report.html", "name": "PASS", "tone": "pass" },
            { "id": "20261121T091112Z-latency-200ms-40s", "page": "report.html", "name": "FAIL", "tone": "fail" },
            { "id": "20261121T081112Z-suite", "page": "suite.html", "name": "SUITE", "tone": "void" },
        ]),
    );
}

fn wait_for(browser: &mut Browser, what: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while browser.evaluate(what) != true {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}; {:?}", browser.complaints);
        std::thread::sleep(Duration::from_millis(50));
    }
}

const POINTS: &str = "Number(document.querySelector('main').dataset.points ?? 0)";

fn picture(browser: &mut Browser, name: &str) {
    if let Some(dir) = std::env::var_os("LIVE_PICTURES") {
        let picture = BASE64_STANDARD.decode(browser.picture()).unwrap();
        std::fs::write(Path::new(&dir).join(format!("live-{name}.png")), picture).unwrap();
    }
}

const NAMES: [&str; 3] = ["memcached1", "memcached2", "memcached3"];

#[test]
fn an_hour_with_three_servers_is_smooth_and_readable_in_any_look() {
    let Some(mut browser) = Browser::start() else { return };
    let feed = feed(7);
    hour(&feed, NAMES, "packet-loss-100-pct");
    let site = Site::start("127.0.0.1:0", &feed);
    browser.visit(&site.url, LIGHT);
    wait_for(&mut browser, &format!("{POINTS} >= 600"));
    browser.evaluate("document.querySelector('[data-window=\"3600\"]').click()");
    wait_for(&mut browser, &format!("{POINTS} >= 3590"));
    // Frames while ticks go on coming, as they do from a process: five a second.
    let ticking = feed.clone();
    let going = CancellationToken::new();
    let until = going.clone();
    let teller = std::thread::spawn(move || {
        let mut n = HOUR_S * 10;
        while !until.is_cancelled() {
            n += 1;
            ticking.record(n * TICK_US, &tick(NAMES, n));
            // Sleeps: this is the pace of a client's ticks.
            std::thread::sleep(Duration::from_micros(TICK_US));
        }
    });
    let frames = "new Promise((done) => {
      const times = [];
      const busy = [];
      new PerformanceObserver((list) => busy.push(...list.getEntries().map((e) => e.duration))).observe({ entryTypes: ['longtask'] });
      const step = (at) => {
        times.push(at);
        if (at - times[0] < 1500) return requestAnimationFrame(step);
        const gaps = times.slice(1).map((at, n) => at - times[n]).sort((a, b) => a - b);
        done({ frames: gaps.length, seconds: (times.at(-1) - times[0]) / 1000, median: gaps[gaps.length >> 1], p95: gaps[Math.floor(gaps.length * 0.95)], worst: gaps.at(-1), long: busy.length });
      };
      requestAnimationFrame(step);
    })";
    for window in [3600, 120] {
        browser.evaluate(&format!("document.querySelector('[data-window=\"{window}\"]').click()"));
        let measured = browser.evaluate(frames);
        eprintln!("window {window} s: {measured}");
        // Told, not asked for: when a frame comes is the machine's as much as the page's.
        assert!(measured["frames"].as_u64().unwrap() > 10, "{measured}");
    }
    for (name, look) in [
        ("light", LIGHT),
        ("dark", Look { dark: true, width: 1200 }),
        ("phone", Look { dark: false, width: 360 }),
        ("phone-dark", Look { dark: true, width: 360 }),
    ] {
        browser.visit(&site.url, look);
        wait_for(&mut browser, &format!("{POINTS} >= 600"));
        if look.dark {
            browser.evaluate("document.querySelector('[data-window=\"3600\"]').click()");
        }
        // Charts are drawn when they are seen.
        browser.evaluate(
            "(async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) { scrollTo(0, y); await new Promise((r) => setTimeout(r, 60)); } scrollTo(0, 0); })()",
        );
        wait_for(&mut browser, "document.querySelectorAll('[data-chart] canvas').length === 9");
        let width = browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(width <= look.width.into(), "{name}: {width} pixels wide");
        picture(&mut browser, name);
        assert_eq!(browser.complaints, Vec::<String>::new(), "{name}");
    }
    going.cancel();
    teller.join().unwrap();
    site.end();
}

#[test]
fn a_new_process_on_the_same_port_is_seen_and_meanwhile_that_there_is_none() {
    let Some(mut browser) = Browser::start() else { return };
    let before = feed(1);
    hour(&before, NAMES, "before");
    let site = Site::start("127.0.0.1:0", &before);
    let (url, addr) = (site.url.clone(), site.url.trim_start_matches("http://").to_owned());
    browser.visit(&url, LIGHT);
    wait_for(&mut browser, "document.querySelector('h1').textContent === 'before'");
    wait_for(&mut browser, "document.getElementById('link').dataset.state === 'live'");
    assert_eq!(browser.complaints, Vec::<String>::new());
    site.end();
    wait_for(&mut browser, "document.getElementById('link').textContent.startsWith('Connection lost at ')");
    picture(&mut browser, "lost");
    // The same process, for instance after a network that was away: what was there stays.
    let site = Site::start(&addr, &before);
    wait_for(&mut browser, "document.getElementById('link').dataset.state === 'live'");
    assert_eq!(browser.evaluate("document.querySelector('main').dataset.begun"), "1");
    site.end();
    wait_for(&mut browser, "document.getElementById('link').dataset.state === 'lost'");
    let after = feed(2);
    after.record(0, &run(wall_ms(), "after"));
    after.record(0, &hello(NAMES));
    (0..3).for_each(|s| second(&after, NAMES, s, "after"));
    let site = Site::start(&addr, &after);
    wait_for(&mut browser, "document.querySelector('h1').textContent === 'after'");
    wait_for(&mut browser, &format!("{POINTS} < 100 && {POINTS} > 10"));
    assert_eq!(browser.evaluate("document.querySelector('main').dataset.begun"), "2");
    // Nothing but the browser's own words about the port that was closed.
    let own = [
        "ERR_CONNECTION_REFUSED",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "ERR_CONNECTION_RESET",
        "ERR_EMPTY_RESPONSE",
    ];
    browser.complaints.retain(|complaint| !own.iter().any(|error| complaint.contains(error)));
    assert_eq!(browser.complaints, Vec::<String>::new());
    site.end();
}

#[test]
fn nothing_that_comes_from_outside_runs() {
    let Some(mut browser) = Browser::start() else { return };
    let feed = feed(3);
    let names = [HOSTILE, "b", "c"];
    hour(&feed, names, HOSTILE);
    feed.tell(
        "runs",
        &serde_json::json!([{ "id": HOSTILE, "page": "report.html", "name": HOSTILE, "tone": "pass" }]),
    );
    let site = Site::start("127.0.0.1:0", &feed);
    browser.visit(&site.url, LIGHT);
    wait_for(&mut browser, &format!("{POINTS} >= 600 && document.querySelectorAll('#runs a').length === 1"));
    assert_eq!(browser.evaluate("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.evaluate("document.scripts.length"), 4);
    assert!(
        browser
            .evaluate("document.body.textContent")
            .as_str()
            .unwrap()
            .contains("<img src=x onerror=alert(1)>")
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
    site.end();
}
