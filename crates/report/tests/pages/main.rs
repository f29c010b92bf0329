//! The pages, opened in Chromium: every chart is drawn, nothing is fetched, nothing from outside runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod browser;
mod hostile;
mod metastable;
mod overload;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use browser::{Browser, Look};
use observation::journal::Journal;
use report::compare::{self, Side};
use report::suite::{Repeated, SUITE_VERSION, Suite, SuiteRun};
use serde_json::Value;

/// A run that was recorded in the lab: our client, one of three servers silent for 15 s.
const RECORDED: &[u8] = include_bytes!("../data/packet-loss-100-pct.jsonl.zst");

/// The same with another client.
const OTHER: &[u8] = include_bytes!("../data/packet-loss-100-pct-memcache-async.jsonl.zst");

const LOOKS: [(&str, Look); 4] = [
    ("light", Look { dark: false, width: 1200 }),
    ("dark", Look { dark: true, width: 1200 }),
    ("phone", Look { dark: false, width: 360 }),
    ("phone-dark", Look { dark: true, width: 360 }),
];

/// What was drawn, by chart: pixels with ink, and how many colours.
const INK: &str = "[...document.querySelectorAll('[data-chart]')].map((place) => {
  const canvas = place.querySelector('canvas');
  const pixels = canvas ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : [];
  const colours = new Set();
  let inked = 0;
  for (let n = 0; n < pixels.length; n += 4) {
    if (pixels[n + 3] > 0) { inked++; colours.add(pixels[n] + ' ' + pixels[n + 1] + ' ' + pixels[n + 2]); }
  }
  return { id: place.dataset.chart, inked, colours: colours.size };
})";

fn recorded(bytes: &[u8]) -> Journal {
    Journal::parse(&zstd::decode_all(bytes).unwrap(), Path::new("fixture")).unwrap()
}

/// Its address.
fn file(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn page_of(dir: &Path, journal: &Journal) -> std::path::PathBuf {
    report::write_all(dir, journal, &verdict::judge(journal)).unwrap()
}

/// Opens `page` in each look; `charts` of them must be drawn.
fn inspect(browser: &mut Browser, page: &Path, charts: usize) {
    let size = std::fs::metadata(page).unwrap().len();
    assert!(size < 2_000_000, "{}: {size} bytes", page.display());
    for (name, look) in LOOKS {
        browser.visit(&file(page), look);
        let ink = browser.evaluate(INK);
        let ink = ink.as_array().unwrap();
        assert_eq!(ink.len(), charts, "{ink:?}");
        for chart in ink {
            let number = |what: &str| chart[what].as_u64().unwrap();
            assert!(number("inked") > 500 && number("colours") > 3, "{name}: not drawn: {chart}");
        }
        let width = browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(width <= look.width.into(), "{name}: {width} pixels wide");
        let ground = "getComputedStyle(document.body).backgroundColor";
        let before = browser.evaluate(ground);
        if let Some(dir) = std::env::var_os("REPORT_PICTURES") {
            let stem = page.file_stem().unwrap().to_str().unwrap();
            let picture = BASE64_STANDARD.decode(browser.picture()).unwrap();
            std::fs::write(Path::new(&dir).join(format!("{stem}-{name}.png")), picture).unwrap();
        }
        browser.evaluate("document.getElementById('theme').click()");
        assert_ne!(browser.evaluate(ground), before, "{name}: the theme has not changed");
        assert_eq!(browser.evaluate(INK).as_array().unwrap().len(), charts);
        assert_eq!(browser.complaints, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_recorded_run_is_drawn_in_any_look_and_fetches_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = page_of(dir.path(), &recorded(RECORDED));
    // Goodput, errors, latency, breakers, recovery, one dose, three pools.
    inspect(&mut browser, &page, 9);
}

/// Runs of which one is `verdict`'s, with texts from outside that are `text`.
fn suite(text: &str) -> Suite {
    let run = |n: u32, result: &str| SuiteRun {
        scenario: format!("scenario-{n} {text}"),
        dir: if n == 1 { "run".to_owned() } else { text.to_owned() },
        result: result.to_owned(),
        reasons: vec![format!("goodput-retained: expected at least 92 %, measured {n} % {text}")],
        began_ms: 1_795_278_263_000 + u64::from(n / 3) * 47_000,
        ended_ms: 1_795_278_263_000 + u64::from(n / 3) * 47_000 + 45_000,
        job: n % 3 + 1,
        attempt: 1,
        stopped: (n == 5).then(|| text.to_owned()),
        rerun: n == 4,
    };
    let results = ["PASS", "PASS", "FAIL", "PASS", "INCONCLUSIVE", "INVALID", "PASS", "ERROR", text];
    Suite {
        v: SUITE_VERSION,
        began_ms: 1_795_278_263_000,
        ended_ms: None,
        tool_version: text.to_owned(),
        jobs: 3,
        runs: (0..).zip(results).map(|(n, result)| run(n, result)).collect(),
        repeated: vec![Repeated {
            scenario: text.to_owned(),
            result: "PASS".into(),
            class: "noisy".into(),
            runs: 3,
        }],
    }
}

fn suite_page_of(dir: &Path, journal: &Journal, text: &str) -> std::path::PathBuf {
    let verdicts = BTreeMap::from([("run".to_owned(), verdict::judge(journal))]);
    let path = dir.join(report::SUITE_PAGE);
    report::write(&path, &report::suite_page(&suite(text), &verdicts, Path::new(".."))).unwrap();
    path
}

fn comparison_of(dir: &Path, a: &Journal, b: &Journal, force: bool) -> std::path::PathBuf {
    let (verdict_a, verdict_b) = (verdict::judge(a), verdict::judge(b));
    let (a, b) = (Side { journal: a, verdict: &verdict_a }, Side { journal: b, verdict: &verdict_b });
    assert!(force || compare::refusal(a, b).is_none());
    let path = dir.join("compare.html");
    report::write(&path, &compare::html(a, b)).unwrap();
    path
}

#[test]
fn a_suite_is_drawn_in_any_look_and_fetches_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = suite_page_of(dir.path(), &recorded(RECORDED), "plain");
    inspect(&mut browser, &page, 1);
    let links = "[...document.links].map((a) => a.getAttribute('href'))[1]";
    assert_eq!(browser.evaluate(links), "./../run/report.html");
}

#[test]
fn two_clients_are_drawn_beside_each_other_in_any_look() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = comparison_of(dir.path(), &recorded(RECORDED), &recorded(OTHER), false);
    // Goodput, errors, latency, breakers, two recoveries.
    inspect(&mut browser, &page, 6);
}

#[test]
fn ten_minutes_with_three_servers_are_less_than_two_megabytes() {
    let mut journal = recorded(RECORDED);
    let ticks: Vec<_> = journal
        .entries
        .iter()
        .filter(|e| matches!(e.record, observation::Record::Tick(_)))
        .cloned()
        .collect();
    let end = journal.entries.len() - 1;
    for n in 1..14u64 {
        let later = ticks.iter().cloned().map(|mut entry| {
            entry.at_us += n * 45_000_000;
            entry
        });
        journal.entries.splice(end..end, later);
    }
    let page = report::html(&journal, &verdict::judge(&journal));
    assert!(page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn a_run_of_which_little_or_nothing_is_known_has_a_page_too() {
    let Some(mut browser) = Browser::start() else { return };
    let whole = recorded(RECORDED);
    for entries in [0, 1, 4, 20, 60, 1_500] {
        let dir = tempfile::tempdir().unwrap();
        let journal =
            Journal { entries: whole.entries.iter().take(entries).cloned().collect(), truncated: true };
        for page in [page_of(dir.path(), &journal), comparison_of(dir.path(), &journal, &whole, true)] {
            browser.visit(&file(&page), Look { dark: false, width: 1200 });
            assert_eq!(browser.complaints, Vec::<String>::new(), "{entries} entries");
            assert!(browser.evaluate("document.documentElement.dataset.drawn").is_string());
        }
    }
}

#[test]
fn nothing_that_a_client_says_of_itself_runs() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let journal = hostile::journal(&recorded(RECORDED));
    let page = page_of(dir.path(), &journal);
    browser.visit(&file(&page), Look { dark: false, width: 1200 });
    assert_eq!(browser.complaints, Vec::<String>::new());
    let elements =
        "[...new Set([...document.querySelectorAll('*')].map((e) => e.localName))].sort().join(' ')";
    let honest = page_of(dir.path(), &recorded(RECORDED));
    let with = browser.evaluate(elements);
    assert_eq!(browser.evaluate("[...document.scripts].length"), 4);
    let handlers = "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes])
        .filter((a) => a.name.startsWith('on') || a.name === 'style' && !a.ownerElement.closest('[data-chart], #theme')).length";
    assert_eq!(browser.evaluate(handlers), 0);
    assert!(browser.evaluate("document.body.textContent").as_str().unwrap().contains(hostile::PAYLOADS[0]));
    // The same texts on the other pages.
    for payload in hostile::PAYLOADS {
        let page = suite_page_of(dir.path(), &journal, payload);
        browser.visit(&file(&page), Look { dark: false, width: 1200 });
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
    let page = comparison_of(dir.path(), &journal, &journal, false);
    browser.visit(&file(&page), Look { dark: false, width: 1200 });
    assert_eq!(browser.evaluate("[...document.scripts].length"), 4);
    browser.visit(&file(&honest), Look { dark: false, width: 1200 });
    // No element that an honest run does not have, but for the list of its notes.
    let known = browser.evaluate(elements);
    let known: Vec<&str> = known.as_str().unwrap().split(' ').chain(["ul", "li"]).collect();
    for element in with.as_str().unwrap().split(' ') {
        assert!(known.contains(&element), "{element}");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_browser_that_is_asked_for_too_much_is_noticed() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("bad.html");
    let text = "<script>console.log('x'); alert(1); undefined.y</script><img src='file:///nowhere.png'>";
    std::fs::write(&page, text).unwrap();
    browser.visit(&file(&page), Look { dark: false, width: 800 });
    for kind in ["console", "dialog", "exception", "request"] {
        assert!(browser.complaints.iter().any(|c| c.starts_with(kind)), "{kind}: {:?}", browser.complaints);
    }
    assert_eq!(browser.evaluate(INK), Value::Array(Vec::new()));
}
