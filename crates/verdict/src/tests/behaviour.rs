//! A good client's journal with one thing changed, and the criterion that must notice.

use observation::journal::{Entry, Journal, Source};
use observation::{
    BreakerState, Canary, Counts, Event, EventKind, Histogram, Note, Outcome, Record, ServerTick, Tick,
};

use super::{END, FAULT_OFF, FAULT_ON, Scene, hung, slow};
use crate::{Ruling, judge};

/// Adds an event of server `a`.
fn event(journal: &mut Journal, at_us: u64, event: EventKind) {
    let record = Record::Event(Event { at_us, server: Some("a".to_owned()), event });
    journal.entries.push(Entry { at_us, source: Source::Client, record });
}

fn breaker(journal: &mut Journal, at_us: u64, from: BreakerState, to: BreakerState) {
    event(journal, at_us, EventKind::Breaker { from, to, reason: String::new() });
}

/// Changes every tick that ends within `(from, to]`.
fn ticks(journal: &mut Journal, from: u64, to: u64, change: impl Fn(&mut Tick)) {
    for entry in &mut journal.entries {
        if let Record::Tick(tick) = &mut entry.record
            && entry.at_us > from
            && entry.at_us <= to
        {
            change(tick);
        }
    }
}

/// Changes every canary.
fn canaries(journal: &mut Journal, change: impl Fn(&mut Canary)) {
    for entry in &mut journal.entries {
        if let Record::Canary(canary) = &mut entry.record {
            change(canary);
        }
    }
}

fn a(tick: &mut Tick) -> &mut ServerTick {
    &mut tick.servers[0]
}

fn hits(n: u64) -> Counts {
    Counts([(Outcome::Hit, n)].into())
}

/// The strongest finding's criterion.
fn finding(journal: &Journal) -> (Ruling, String) {
    let verdict = judge(journal);
    let id = verdict.reasons.first().and_then(|reason| reason.split(':').next()).unwrap_or_default();
    (verdict.result, id.to_owned())
}

type Tamper = fn(&mut Journal);

/// The criterion, a good client's run, and the change.
type Row = (&'static str, fn() -> Scene, Tamper);

const CASES: &[Row] = &[
    ("dead-server-calls", hung, |journal| {
        ticks(journal, FAULT_ON + 1_000_000, FAULT_OFF, |tick| a(tick).attempts.add(Outcome::Timeout, 20));
    }),
    ("probes", hung, |journal| {
        breaker(journal, FAULT_ON + 2_000_000, BreakerState::Open, BreakerState::HalfOpen);
        for n in 0..9 {
            let outcome = Outcome::Timeout;
            event(journal, FAULT_ON + 2_100_000 + n, EventKind::Probe { outcome, took_us: 250_000 });
        }
        breaker(journal, FAULT_ON + 2_250_000, BreakerState::HalfOpen, BreakerState::Open);
    }),
    ("flapping", hung, |journal| {
        for n in 0..30 {
            let at = FAULT_ON + 1_000_000 + n * 250_000;
            breaker(journal, at, BreakerState::Open, BreakerState::HalfOpen);
            breaker(journal, at + 1_000, BreakerState::HalfOpen, BreakerState::Open);
        }
    }),
    ("no-trip-on-healthy", hung, |journal| {
        for at in [FAULT_ON - 4_000_000, FAULT_ON - 2_000_000] {
            breaker(journal, at, BreakerState::Closed, BreakerState::Open);
            breaker(journal, at + 1_000_000, BreakerState::HalfOpen, BreakerState::Closed);
        }
    }),
    ("healthy-latency", hung, |journal| {
        ticks(journal, FAULT_ON, FAULT_OFF, |tick| {
            tick.servers[1].latency = Histogram(vec![(400_000, 100)]);
        });
    }),
    ("op-deadline", hung, |journal| {
        ticks(journal, FAULT_ON, FAULT_ON + 1_000_000, |tick| {
            a(tick).service = Histogram(vec![(2_500_000, 2)]);
        });
    }),
    ("amplification", slow, |journal| {
        ticks(journal, FAULT_ON, FAULT_OFF, |tick| a(tick).attempts.add(Outcome::Hit, 150));
    }),
    ("acknowledged-writes", slow, |journal| {
        for elsewhere in [true, false] {
            let key = "k".to_owned();
            let stale = EventKind::StaleRead { key, got: 1, newer: 2, age_us: 5, elsewhere };
            event(journal, FAULT_ON + 1_000_000, stale);
        }
    }),
    ("stays-recovered", hung, |journal| {
        ticks(journal, END - 4_000_000, END, |tick| {
            for server in &mut tick.servers {
                server.ops = Counts([(Outcome::Timeout, server.ops.total())].into());
            }
        });
    }),
    ("stays-recovered", hung, |journal| {
        breaker(journal, FAULT_OFF + 5_000_000, BreakerState::Closed, BreakerState::Open);
        breaker(journal, FAULT_OFF + 5_100_000, BreakerState::HalfOpen, BreakerState::Closed);
    }),
    ("goodput-after", slow, |journal| {
        ticks(journal, END - 7_000_000, END, |tick| a(tick).ops = hits(80));
    }),
    ("fails-back", hung, |journal| {
        ticks(journal, FAULT_OFF, END, |tick| a(tick).attempts = Counts::default());
    }),
    ("dial-burst", hung, |journal| {
        for n in 0..300 {
            let dial = EventKind::Dial { ok: false, took_us: 1, error: None };
            event(journal, FAULT_OFF + 2_000_000 + n, dial);
        }
    }),
    ("sockets", hung, |journal| {
        for n in 0..9 {
            let dial = EventKind::Dial { ok: true, took_us: 1, error: None };
            event(journal, FAULT_ON + 1_000_000 + n * 500_000, dial);
        }
    }),
    ("sockets", hung, |journal| ticks(journal, FAULT_ON, FAULT_OFF, |tick| a(tick).pool.total = 257)),
    // Its pool is always empty: what it loses is in no number of its own.
    ("sockets", hung, |journal| {
        ticks(journal, 0, END, |tick| {
            tick.servers.iter_mut().for_each(|s| s.pool = observation::PoolTick::default())
        });
        for n in 0..9 {
            let dial = EventKind::Dial { ok: true, took_us: 1, error: None };
            event(journal, FAULT_ON + 1_000_000 + n * 500_000, dial);
        }
        event(journal, FAULT_ON + 2_000_000, EventKind::Closed { reason: "idle".to_owned() });
    }),
];

#[test]
fn each_criterion_fails_the_client_that_breaks_it() {
    for (id, scene, tamper) in CASES {
        let mut journal = scene().journal();
        assert_eq!(finding(&journal), (Ruling::Pass, String::new()), "before: {id}");
        tamper(&mut journal);
        let verdict = judge(&journal);
        let mut failed = verdict.criteria.iter().filter(|criterion| criterion.result == Ruling::Fail);
        let named = failed.any(|criterion| criterion.id == *id);
        assert!(verdict.result == Ruling::Fail && named, "{id}: {:?}", verdict.reasons);
    }
}

#[test]
fn a_client_that_denies_what_the_proxy_held_is_caught_and_one_that_was_elsewhere_is_not() {
    let mut journal = Scene { counted: Some([2_000, 900]), ..hung() }.journal();
    let count = |journal: &mut Journal, chunks: u64, touched: u64| {
        for entry in &mut journal.entries {
            if let Record::Dose(dose) = &mut entry.record {
                dose.target = "proxy-a".to_owned();
                (dose.chunks, dose.chunks_touched) = (chunks, touched);
            }
        }
    };
    count(&mut journal, 2_000, 900);
    assert_eq!(finding(&journal), (Ruling::Pass, String::new()));
    ticks(&mut journal, FAULT_ON, END, |tick| {
        let server = a(tick);
        let quick = Histogram(vec![(500, 100)]);
        (server.latency, server.service) = (quick.clone(), quick);
        (server.ops, server.attempts) = (hits(100), hits(100));
    });
    assert_eq!(finding(&journal), (Ruling::Fail, "witness-agrees".to_owned()));
    // Stopped is not failed: perhaps the client was gone, and could say nothing.
    let mut stopped = journal.clone();
    for entry in &mut stopped.entries {
        if let Record::End(end) = &mut entry.record {
            end.status = observation::EndStatus::Stopped;
        }
    }
    let verdict = judge(&stopped);
    assert_eq!((verdict.result, verdict.name(), verdict.status()), (Ruling::Invalid, "STOPPED", "stopped"));
    // No more than the canaries were held: its requests went another way.
    count(&mut journal, 22, 20);
    assert_eq!(finding(&journal), (Ruling::Invalid, "fault-bit".to_owned()));
}

#[test]
fn an_environment_that_is_not_what_it_should_be_says_nothing_about_the_client() {
    let check = |wanted: Ruling, id: &str, tamper: &dyn Fn(&mut Journal)| {
        let mut journal = hung().journal();
        tamper(&mut journal);
        assert_eq!(finding(&journal), (wanted, id.to_owned()));
    };
    let middle = FAULT_ON + 5_000_000;
    check(Ruling::Invalid, "fault-bit", &|journal| {
        canaries(journal, |canary| {
            if canary.at_us > middle {
                canary.took_us = Some(300);
            }
        });
    });
    // It outlived its phase.
    check(Ruling::Invalid, "surroundings", &|journal| {
        canaries(journal, |canary| {
            if canary.at_us > FAULT_OFF {
                canary.took_us = None;
            }
        });
    });
    // A healthy server was down as well.
    check(Ruling::Invalid, "surroundings", &|journal| {
        for n in 0..20 {
            let at_us = FAULT_ON + 1_000_000 + n * 50_000;
            let target = "proxy-b".to_owned();
            let canary = Canary { at_us, target, server: None, took_us: None, error: None };
            journal.entries.push(Entry { at_us, source: Source::Runner, record: Record::Canary(canary) });
        }
    });
    // Somebody else's toxic on the proxy; one on another proxy is nobody's business.
    for (proxy, wanted, id) in [("proxy-a", Ruling::Invalid, "alone"), ("proxy-z", Ruling::Pass, "")] {
        check(wanted, id, &|journal| {
            let record = Record::Note(Note::foreign_toxic(1, "theirs", proxy));
            journal.entries.push(Entry { at_us: 1, source: Source::Runner, record });
        });
    }
    check(Ruling::Invalid, "load", &|journal| ticks(journal, 0, END, |tick| tick.offered = 270));
    // The source repeats itself, or falls silent.
    let is_tick = |entry: &&Entry| matches!(entry.record, Record::Tick(_));
    check(Ruling::Inconclusive, "observed", &|journal| {
        let early = journal.entries.iter().filter(is_tick).filter(|entry| entry.at_us <= FAULT_ON);
        let again: Vec<Entry> = early.cloned().collect();
        journal.entries.extend(again);
    });
    check(Ruling::Inconclusive, "observed", &|journal| {
        journal.entries.retain(|entry| !is_tick(&entry) || entry.at_us < END - 3_000_000);
    });
}

#[test]
fn a_control_run_passes_when_nothing_happens_and_fails_by_a_trip() {
    let control = |tamper: Tamper| {
        let mut journal = Scene { control: true, trips_after_ms: None, failing: 0.0, ..hung() }.journal();
        journal.entries.retain(|entry| !matches!(entry.record, Record::Fault(_)));
        canaries(&mut journal, |canary| canary.took_us = Some(300));
        ticks(&mut journal, 0, END, |tick| {
            let quick = Histogram(vec![(500, 100)]);
            (a(tick).latency, a(tick).service) = (quick.clone(), quick);
        });
        tamper(&mut journal);
        finding(&journal)
    };
    assert_eq!(control(|_| {}), (Ruling::Pass, String::new()));
    let tripped = control(|journal| {
        breaker(journal, FAULT_ON + 3_000_000, BreakerState::Closed, BreakerState::Open);
        breaker(journal, FAULT_ON + 4_000_000, BreakerState::HalfOpen, BreakerState::Closed);
    });
    assert_eq!(tripped, (Ruling::Fail, "no-trip-on-healthy".to_owned()));
}

#[test]
fn a_busy_machine_is_no_failure_of_the_client_where_it_explains_one() {
    let late = |scene: Scene, from: u64, to: u64, starts: u64| {
        let mut journal = scene.journal();
        ticks(&mut journal, from, to, |tick| tick.late = starts);
        finding(&journal)
    };
    let verdict = |result, id: &str| (result, id.to_owned());
    let never_back = || Scene { failing_after_ms: 19_000, failing: 0.05, ..hung() };
    assert_eq!(late(never_back(), FAULT_OFF, END, 20), verdict(Ruling::Inconclusive, "recovery"));
    // 5 % of 300 starts a tick.
    assert_eq!(late(never_back(), FAULT_OFF, END, 15), verdict(Ruling::Fail, "recovery"));
    // A second of it explains no twenty, and another phase nothing.
    let second = FAULT_OFF + 1_000_000;
    assert_eq!(late(never_back(), FAULT_OFF, second, 20), verdict(Ruling::Fail, "recovery"));
    assert_eq!(late(never_back(), FAULT_ON, FAULT_OFF - 1_000_000, 20), verdict(Ruling::Fail, "recovery"));
    let elsewhere = || Scene { healthy_failing: 0.02, ..hung() };
    assert_eq!(late(elsewhere(), FAULT_ON, FAULT_OFF, 20).0, Ruling::Inconclusive);
    assert_eq!(late(elsewhere(), FAULT_ON, FAULT_ON + 1_000_000, 20).0, Ruling::Fail);
    // A trip at that moment, and one at another.
    let at = FAULT_ON + 5_000_000;
    let tripped = |late_at: u64| {
        let mut journal = Scene { trips_after_ms: Some(5_000), ..slow() }.journal();
        ticks(&mut journal, late_at, late_at + 100_000, |tick| tick.late = 20);
        let verdict = judge(&journal);
        verdict.criteria.iter().find(|criterion| criterion.id == "trips-as-expected").map(|c| c.result)
    };
    assert_eq!(tripped(at), Some(Ruling::Inconclusive));
    assert_eq!(tripped(at + 2_000_000), Some(Ruling::Fail));
    let slow_trip = || Scene { trips_after_ms: Some(757), ..hung() };
    assert_eq!(late(slow_trip(), FAULT_ON, FAULT_ON + 200_000, 20).0, Ruling::Inconclusive);
    assert_eq!(late(slow_trip(), at, at + 100_000, 20), verdict(Ruling::Fail, "time-to-trip"));
    // Ops that hung for 2.5 s and ended in a burst, which is a stall: it was not the stall that held them.
    let (_, scene, tamper) = CASES.iter().find(|(id, ..)| *id == "op-deadline").expect("a case of it");
    let mut journal = scene().journal();
    tamper(&mut journal);
    ticks(&mut journal, FAULT_ON, FAULT_ON + 1_000_000, |tick| tick.late = 20);
    assert_eq!(finding(&journal), verdict(Ruling::Fail, "op-deadline"));
    // Nor does it spoil a pass, or excuse wrong data and what no slowness explains.
    assert_eq!(late(hung(), FAULT_ON, END, 20).0, Ruling::Pass);
    assert_eq!(late(Scene { wrong_values: 1, ..hung() }, FAULT_ON, END, 20).0, Ruling::WrongData);
    let (_, scene, tamper) = CASES.iter().find(|(id, ..)| *id == "probes").expect("a case of it");
    let mut journal = scene().journal();
    tamper(&mut journal);
    ticks(&mut journal, FAULT_ON, END, |tick| tick.late = 20);
    assert_eq!(finding(&journal), verdict(Ruling::Fail, "probes"));
}

#[test]
fn a_server_that_stood_still_is_no_failure_of_the_client_and_its_canaries_tell() {
    let never_back = || Scene { failing_after_ms: 19_000, failing: 0.05, ..hung() };
    let slow = |from: u64, to: u64, took_us: u64| {
        let mut journal = never_back().journal();
        for entry in &mut journal.entries {
            if let Record::Canary(canary) = &mut entry.record
                && (from..to).contains(&canary.at_us)
            {
                canary.took_us = Some(took_us);
            }
        }
        finding(&journal)
    };
    let verdict = |result| (result, "recovery".to_owned());
    let healed = FAULT_OFF + 1_600_000;
    assert_eq!(slow(healed, END, 200_000), verdict(Ruling::Inconclusive));
    assert_eq!(slow(healed, END, 140_000), verdict(Ruling::Fail), "as slow as beside other work");
    assert_eq!(
        slow(healed, healed + 300_000, 200_000),
        verdict(Ruling::Fail),
        "a moment explains no twenty seconds"
    );
    // What the fault itself holds, and lets go, is no other's.
    assert_eq!(slow(FAULT_OFF - 300_000, FAULT_OFF, 400_000), verdict(Ruling::Fail));
}
