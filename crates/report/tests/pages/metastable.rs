//! The pages of experiments on metastable failure.

use observation::journal::{Entry, Journal, Source};
use observation::{DatabaseTick, Histogram, LookAside, Memory, Note, NoteCode, Record};
use report::{EXPERIMENT_VERSION, Experiment, Found, Sweep, metastable_page, write_experiment};
use verdict::hysteresis::{Hysteresis, LoadStep};

use crate::browser::{Browser, Look};
use crate::{file, inspect};

/// A collapse at second 11 of 31, of a process of this name.
fn journal(name: &str) -> Journal {
    let mut entries = Vec::new();
    let mut add = |at_us, source, record| entries.push(Entry { at_us, source, record });
    let second = 1_000_000;
    for (phase, at) in [("warm", 0), ("baseline", 1), ("trigger", 11), ("hold", 11), ("ended", 31)] {
        let note = Note::new(at * second, NoteCode::MetastablePhase, phase);
        add(at * second, Source::Runner, Record::Note(note));
    }
    for tick in 0..310 {
        let at_us = (tick + 1) * 100_000;
        let good = if tick < 110 { 100 } else { 10 + tick % 7 };
        let database = DatabaseTick {
            demanded: 300 - good,
            served: 25,
            in_vain: 25 - good.min(25),
            oldest_us: (tick * 9_000).max(900_000) - 900_000,
            ..DatabaseTick::default()
        };
        let latency = Histogram(vec![(180 + tick, good), (600_000, 100 - good)]);
        let record = LookAside {
            at_us,
            period_us: 100_000,
            offered: 100,
            hits: good,
            timed_out: 100 - good,
            latency,
            database,
            ..LookAside::default()
        };
        add(at_us, Source::Client, Record::LookAside(record));
        let memory = Memory { at_us, name: name.to_owned(), bytes: 5_000_000 + tick * 10_000 };
        add(at_us, Source::Runner, Record::Memory(memory));
    }
    Journal { entries, truncated: false }
}

fn sweep(name: &str) -> Experiment {
    let steps = [60.0, 120.0, 250.0, 500.0, 1_000.0].map(|rate| {
        let down = if rate < 200.0 { 0.99 } else { 0.01 };
        LoadStep { rate, up: Some(1.0), down: Some(down) }
    });
    let found = Hysteresis {
        steps: steps.to_vec(),
        healthy: Some(1_000.0),
        recovers: Some(120.0),
        unmeasured: None,
        void: None,
        wrong_values: 0,
    };
    Experiment {
        v: EXPERIMENT_VERSION,
        name: name.to_owned(),
        description: name.to_owned(),
        began_ms: 1_795_278_263_000,
        ended_ms: 1_795_278_363_000,
        complete: true,
        wrong_values: 0,
        tool_version: name.to_owned(),
        found: Found::Sweeps(vec![Sweep { cell: name.to_owned(), dir: "queue-2-sweep".to_owned(), found }]),
    }
}

#[test]
fn a_cell_is_a_page_with_all_that_it_is_judged_by() {
    let journal = journal("<b>");
    let cell = verdict::metastable::cell(&journal);
    assert_eq!((cell.state, cell.why.as_deref()), (verdict::metastable::CellState::Stuck, None));
    let page = metastable_page("fast: unprotected", &journal, &cell, 200_000);
    for id in ["goodput", "latency", "latencies", "hits", "queue", "database", "memory"] {
        assert!(page.contains(&format!("data-chart=\"{id}\"")), "{id}");
    }
    assert!(page.contains(">stuck</span>") && !page.contains("<b>"));
}

#[test]
fn a_cell_and_a_sweep_are_drawn_in_any_look_and_fetch_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let journal = journal("memcached1");
    let cell = verdict::metastable::cell(&journal);
    let path = dir.path().join("cell.html");
    std::fs::write(&path, metastable_page("fast: unprotected, seed 1", &journal, &cell, 200_000)).unwrap();
    // Goodput, latency, latencies, hit ratio, queue, database, memory.
    inspect(&mut browser, &path, 7);

    write_experiment(dir.path(), &sweep("queue-2")).unwrap();
    let page = dir.path().join("experiment.html");
    std::fs::rename(dir.path().join("report.html"), &page).unwrap();
    inspect(&mut browser, &page, 1);
}

#[test]
fn texts_of_an_experiment_stay_texts() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bad = "</script><img src=x onerror=document.title='bad'>";
    let journal = journal(bad);
    let path = dir.path().join("cell.html");
    let page = metastable_page(bad, &journal, &verdict::metastable::cell(&journal), 0);
    std::fs::write(&path, page).unwrap();
    write_experiment(dir.path(), &sweep(bad)).unwrap();
    for page in [path, dir.path().join("report.html")] {
        browser.visit(&file(&page), Look { dark: false, width: 1200 });
        assert_eq!(browser.complaints, Vec::<String>::new(), "{}", page.display());
        assert_ne!(browser.evaluate("document.title"), "bad");
        assert_eq!(browser.evaluate("document.images.length"), 0);
    }
}
