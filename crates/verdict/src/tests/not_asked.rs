//! What could not be asked is never a pass: it is listed with its reason, and where too little could be asked there is no verdict.

use std::collections::BTreeSet;

use observation::WireDriver;

use super::*;

/// Every question to a run, but those that are put only where something is wrong.
const QUESTIONS: [&str; 28] = [
    "no-wrong-values",
    "completed",
    "clean",
    "observed",
    "baseline",
    "load",
    "alone",
    "surroundings",
    "fault-bit",
    "trips-as-expected",
    "time-to-trip",
    "dead-server-calls",
    "probes",
    "flapping",
    "no-trip-on-healthy",
    "healthy-isolation",
    "healthy-latency",
    "goodput-retained",
    "error-share",
    "op-deadline",
    "amplification",
    "acknowledged-writes",
    "recovery",
    "stays-recovered",
    "goodput-after",
    "fails-back",
    "dial-burst",
    "sockets",
];

/// The journal of `scene` from a client with other settings, and other ticks.
fn changed(scene: &Scene, settings: impl Fn(&mut Settings), tick: impl Fn(&mut Tick)) -> Journal {
    let mut journal = scene.journal();
    for entry in &mut journal.entries {
        match &mut entry.record {
            Record::Hello(hello) => settings(&mut hello.settings),
            Record::Tick(of) => tick(of),
            _ => {}
        }
    }
    journal
}

fn without_breaker(settings: &mut Settings) {
    settings.breaker = None;
}

fn reason(verdict: &Verdict, id: &str) -> String {
    let asked = verdict.criteria.iter().any(|criterion| criterion.id == id);
    let not_asked = verdict.not_asked.iter().find(|question| question.id == id);
    assert!(asked != not_asked.is_some(), "{id} is in both lists, or in none");
    not_asked.map_or("asked".to_owned(), |question| question.reason.clone())
}

#[test]
fn each_question_is_asked_or_not_asked_and_nothing_else() {
    let faultless = Scene { control: true, trips_after_ms: None, failing: 0.0, ..hung() };
    let noisy = Scene { baseline_failing: 0.2, ..hung() };
    for scene in [hung(), slow(), lossy(), own(), faultless, noisy] {
        let verdict = scene.judge();
        let ids = verdict.criteria.iter().map(|criterion| criterion.id);
        let ids: BTreeSet<&str> = ids.chain(verdict.not_asked.iter().map(|question| question.id)).collect();
        assert_eq!(ids, QUESTIONS.into(), "{:?}", scene.kind);
        for id in QUESTIONS {
            reason(&verdict, id);
        }
    }
}

#[test]
fn of_a_run_that_says_nothing_the_client_is_asked_nothing() {
    let verdict = Scene { canaries_touched: 0.0, ..hung() }.judge();
    assert_eq!(verdict.result, Ruling::Invalid);
    assert_eq!(reason(&verdict, "recovery"), "the run says nothing about the client");
}

#[test]
fn a_client_without_breakers_is_not_asked_for_them() {
    let verdict = judge(&changed(&slow(), without_breaker, |_| {}));
    assert_eq!(verdict.result, Ruling::Pass, "{:?}", verdict.reasons);
    for id in ["trips-as-expected", "dead-server-calls", "probes", "flapping", "no-trip-on-healthy"] {
        assert_eq!(reason(&verdict, id), "the client has no breaker");
    }
    let recovery = verdict.criteria.iter().find(|criterion| criterion.id == "recovery").unwrap();
    assert!(recovery.measured.starts_with("the client has no breaker; back after 0 ms"), "{recovery:?}");
    // One that trips although it declares none is asked.
    let verdict = judge(&changed(&Scene { trips_after_ms: Some(300), ..slow() }, without_breaker, |_| {}));
    assert_eq!((verdict.result, reason(&verdict, "trips-as-expected").as_str()), (Ruling::Fail, "asked"));
}

#[test]
fn what_depends_on_chance_is_not_asked() {
    let none_may_be_ejected = |settings: &mut Settings| settings.routing.max_ejected = 0;
    let verdict = judge(&changed(&slow(), none_may_be_ejected, |_| {}));
    let why = reason(&verdict, "trips-as-expected");
    assert!(why.starts_with("a trip depends on chance: "), "{why}: {:?}", verdict.reasons);
}

#[test]
fn a_closed_loop_is_not_asked_for_its_rate() {
    let closed = |settings: &mut Settings| {
        (settings.load.kind, settings.load.rate_ops_per_s) = (LoadKind::Closed, None);
    };
    let verdict = judge(&changed(&slow(), closed, |_| {}));
    assert_eq!(reason(&verdict, "load"), "a closed loop has no rate");
    assert!(reason(&verdict, "error-share").starts_with("all ops may fail: closed loop"));
}

#[test]
fn lost_writes_are_asked_for_where_writes_were_acknowledged_and_reads_found_something() {
    let writes = |tick: &mut Tick| tick.servers.iter_mut().for_each(|s| s.ops.add(Outcome::Stored, 1));
    let reads_only = |_: &mut Tick| {};
    let asked = |settings: fn(&mut Settings), tick: &dyn Fn(&mut Tick)| {
        reason(&judge(&changed(&slow(), settings, tick)), "acknowledged-writes")
    };
    assert_eq!(asked(|_| {}, &writes), "asked");
    assert_eq!(asked(|_| {}, &reads_only), "no write was acknowledged");
    let blind = asked(|settings| settings.driver = WireDriver::MemcacheAsync, &writes);
    assert_eq!(blind, "the driver memcache-async writes and deletes without an acknowledgement");
}

#[test]
fn connections_are_asked_for_where_the_client_reports_them() {
    let no_limit = |settings: &mut Settings| settings.pool_max = u32::MAX;
    let no_pool = |tick: &mut Tick| tick.servers.iter_mut().for_each(|s| s.pool = PoolTick::default());
    let verdict = judge(&changed(&slow(), no_limit, |_| {}));
    assert_eq!(reason(&verdict, "dial-burst"), "the client reports no dials");
    assert_eq!(reason(&verdict, "sockets"), "the client declares no limit of its pool, and reports no dials");
    let verdict = judge(&changed(&slow(), |_| {}, no_pool));
    assert_eq!(reason(&verdict, "sockets"), "the client reports no connections of its pool");
    assert_eq!(reason(&slow().judge(), "sockets"), "asked");
}

#[test]
fn without_attempts_and_times_nothing_is_said_of_them() {
    let silent = |tick: &mut Tick| {
        for server in &mut tick.servers {
            (server.attempts, server.service) = (Default::default(), Histogram::default());
        }
    };
    // As a toxic of the proxy's own: no witness needs them.
    let verdict = judge(&changed(&own(), |_| {}, silent));
    for id in ["amplification", "fails-back"] {
        assert_eq!(reason(&verdict, id), "the client reports no attempts");
    }
    assert_eq!(reason(&verdict, "op-deadline"), "the client does not report how long its ops take");
}

#[test]
fn a_fault_that_nothing_could_show_is_not_there_and_the_run_is_inconclusive() {
    let unseen = Scene { kind: "bandwidth", params: vec![("rate_kb_per_s", 5.0)], counted: None, ..own() };
    expect(unseen.clone(), Ruling::Inconclusive, "essential");
    assert!(reason(&unseen.judge(), "fault-bit").starts_with("proxy-a: nothing can show it: "));
    // Beside one that is proven it is as little there.
    let beside = with_second(&hung(), |fault| {
        (fault.kind, fault.target) = (FaultKind::Bandwidth, "proxy-b".to_owned());
        (fault.params, fault.server) = (BTreeMap::new(), Some("b".to_owned()));
    });
    assert_eq!(judge(&beside).result, Ruling::Inconclusive);
    // The client's own harm shows it.
    expect(Scene { slow_ops: true, ..unseen }, Ruling::Pass, "");
}

#[test]
fn a_run_in_which_nothing_under_the_fault_could_be_asked_is_inconclusive() {
    let without = |settings: &mut Settings| {
        without_breaker(settings);
        (settings.load.kind, settings.total_timeout_ms) = (LoadKind::Closed, None);
    };
    let verdict = judge(&changed(&own(), without, |_| {}));
    assert_eq!(verdict.result, Ruling::Inconclusive);
    let essential = verdict.criteria.iter().find(|criterion| criterion.id == "essential").unwrap();
    assert!(essential.expected.starts_with("what the client did under the fault: "), "{essential:?}");
    assert!(essential.measured.contains("goodput-retained: "), "{essential:?}");
    // A deadline of a whole op is one thing that can be asked.
    let with_deadline = |settings: &mut Settings| {
        without(settings);
        settings.total_timeout_ms = Some(1_000);
    };
    assert_eq!(judge(&changed(&own(), with_deadline, |_| {})).result, Ruling::Pass);
    // But not of ops that ended before and after the fault only.
    let mut hangs = changed(&own(), with_deadline, |_| {});
    for entry in &mut hangs.entries {
        if let Record::Tick(tick) = &mut entry.record
            && (FAULT_ON..=FAULT_OFF + 100_000).contains(&entry.at_us)
        {
            tick.servers.iter_mut().for_each(|server| server.ops = observation::Counts::default());
        }
    }
    let verdict = judge(&hangs);
    let essential = verdict.criteria.iter().find(|criterion| criterion.id == "essential").unwrap();
    assert_eq!(essential.result, Ruling::Inconclusive);
    assert!(essential.measured.contains("no op ended under the fault"), "{essential:?}");
}
