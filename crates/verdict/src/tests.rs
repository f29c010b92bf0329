//! Synthetic journals in the words of the domain, and the verdicts that they must get.

use std::collections::BTreeMap;

use observation::journal::{Entry, Source};
use observation::{
    BreakerSettings, BreakerState, Canary, ClientInfo, Dose, End, EndStatus, Event, EventKind, Fault,
    FaultKind, FaultState, Gap, Hello, Histogram, Host, LoadKind, LoadSettings, Note, OnOpen, Phase,
    PhaseKind, PoolTick, Record, RoutingSettings, Run, RunPhases, Server, ServerTick, Settings, SlowRule,
    Tick,
};

use super::*;

mod behaviour;
mod not_asked;
mod previews;

/// 1000 ops/s at each of three servers; seconds of stabilization, fault and recovery.
const RATE: u64 = 1000;
const STABLE_S: u64 = 10;
const FAULT_S: u64 = 10;
const RECOVERY_S: u64 = 20;
const FAULT_ON: u64 = STABLE_S * 1_000_000;
const FAULT_OFF: u64 = (STABLE_S + FAULT_S) * 1_000_000;
const END: u64 = (STABLE_S + FAULT_S + RECOVERY_S) * 1_000_000;

/// A run with server `a` faulted: what the client did and what the witnesses saw.
#[derive(Clone)]
struct Scene {
    params: Vec<(&'static str, f64)>,
    kind: &'static str,
    on_open: OnOpen,
    /// Replies slower than so many ms open the client's breaker.
    slow_rule_ms: Option<u64>,
    /// ms after the fault; `None`: no trip.
    trips_after_ms: Option<u64>,
    /// ms after the lift.
    closes_after_ms: Option<u64>,
    /// Share of `a`'s ops that fail while the fault is on.
    failing: f64,
    /// Share of the healthy servers' ops that fail while the fault is on.
    healthy_failing: f64,
    /// Share of all ops that fail before the fault.
    baseline_failing: f64,
    /// Until so many ms after the lift `a`'s ops go on failing.
    failing_after_ms: u64,
    /// Share of canaries that the fault touches.
    canaries_touched: f64,
    /// What the kernel, or of a toxic the proxy, counted at `a` each second of the fault: seen, and lost or touched.
    counted: Option<[u64; 2]>,
    /// The ops that are carried out at `a` under the fault are slow.
    slow_ops: bool,
    wrong_values: u64,
    trip_elsewhere: bool,
    server: Option<&'static str>,
    gap: bool,
    suspended_ms: u64,
    end: Option<EndStatus>,
    clean: bool,
    control: bool,
}

/// A hung server, and a client that does everything right.
fn hung() -> Scene {
    Scene {
        params: vec![("loss", 1.0)],
        kind: "loss",
        on_open: OnOpen::Failover,
        slow_rule_ms: None,
        trips_after_ms: Some(255),
        closes_after_ms: Some(900),
        failing: 0.01,
        healthy_failing: 0.0,
        baseline_failing: 0.0,
        failing_after_ms: 0,
        canaries_touched: 1.0,
        counted: None,
        slow_ops: true,
        wrong_values: 0,
        trip_elsewhere: false,
        server: Some("a"),
        gap: false,
        suspended_ms: 0,
        end: Some(EndStatus::Completed),
        clean: true,
        control: false,
    }
}

/// +200 ms at a timeout of 250: nothing may trip, the pool carries it.
fn slow() -> Scene {
    Scene {
        params: vec![("latency_ms", 200.0), ("jitter_ms", 0.0)],
        kind: "latency",
        trips_after_ms: None,
        closes_after_ms: None,
        failing: 0.0,
        ..hung()
    }
}

/// 2 % of the packets really lost: too few timeouts in a row for a trip, whatever the round trip's estimate.
fn lossy() -> Scene {
    Scene {
        params: vec![("loss", 0.02)],
        kind: "loss_kernel",
        trips_after_ms: None,
        closes_after_ms: None,
        failing: 0.02,
        canaries_touched: 0.08,
        counted: Some([2_000, 40]),
        ..hung()
    }
}

/// A toxic of the proxy's own that no op shows.
fn own() -> Scene {
    Scene {
        params: vec![("toxicity", 1.0)],
        kind: "toxic",
        trips_after_ms: None,
        closes_after_ms: None,
        failing: 0.0,
        canaries_touched: 0.0,
        counted: Some([2_000, 900]),
        slow_ops: false,
        ..hung()
    }
}

fn settings(on_open: OnOpen, slow_rule_ms: Option<u64>) -> Settings {
    Settings {
        driver: observation::WireDriver::Meta,
        op_timeout_ms: 250,
        total_timeout_ms: Some(1000),
        dials_per_s: Some(32.0),
        connect_timeout_ms: 250,
        pool_max: 256,
        pool_max_waiting: 128,
        retries: 1,
        breaker: Some(BreakerSettings {
            consecutive_timeouts: Some(5),
            ratio: None,
            slow: slow_rule_ms.map(|threshold_ms| SlowRule {
                threshold_ms,
                share: 0.8,
                window_ms: 2_000,
                min_calls: 20,
            }),
            trip_on_refused: true,
            open_ms: 1000,
            open_max_ms: None,
            ramp_ms: 0,
            open_jitter: 0.2,
            half_open_probes: 1,
            successes_to_close: 3,
        }),
        routing: RoutingSettings { on_open, failover_ttl_ms: 10_000, max_ejected: 2 },
        load: LoadSettings {
            kind: LoadKind::Open,
            arrivals: None,
            rate_ops_per_s: Some(3.0 * RATE as f64),
            concurrency: 1000,
            workload: "mixed".to_owned(),
            keys: 1000,
            seed: 1,
            shard: None,
            data: None,
        },
    }
}

impl Scene {
    fn judge(&self) -> Verdict {
        super::judge(&self.journal())
    }

    fn journal(&self) -> Journal {
        let mut entries = Vec::new();
        let mut add =
            |at_us: u64, source: Source, record: Record| entries.push(Entry { at_us, source, record });
        add(0, Source::Runner, Record::Run(Box::new(self.run())));
        add(0, Source::Client, Record::Hello(Box::new(self.hello())));
        for (at_us, phase) in
            [(0, PhaseKind::Stabilization), (FAULT_ON, PhaseKind::Testing), (FAULT_OFF, PhaseKind::Recovery)]
        {
            add(at_us, Source::Runner, Record::Phase(Phase { at_us, phase }));
        }
        for (at_us, state) in [
            (FAULT_ON - 1000, FaultState::Sent),
            (FAULT_ON, FaultState::Acknowledged),
            (FAULT_OFF, FaultState::Removing),
            (FAULT_OFF + 1000, FaultState::Lifted),
            (FAULT_OFF + 1_100_000, FaultState::Removed),
        ] {
            add(at_us, Source::Runner, Record::Fault(Box::new(self.fault(at_us, state))));
        }
        self.breakers(&mut add);
        for n in 0..END / 100_000 {
            let at_us = (n + 1) * 100_000;
            add(at_us, Source::Client, Record::Tick(self.tick(at_us)));
            add(at_us, Source::Runner, Record::Canary(self.canary(at_us, n)));
        }
        self.doses(&mut add);
        if self.gap {
            let gap = Gap { from_us: FAULT_ON, to_us: FAULT_ON + 2_000_000, reason: "lost".into() };
            add(FAULT_ON, Source::Runner, Record::Gap(gap));
        }
        let host = Host { suspended_us: Some(self.suspended_ms * 1_000), ..Host::default() };
        add(FAULT_ON + 1, Source::Client, Record::Host(host));
        if let Some(status) = self.end {
            let end = End { at_us: END, status, reason: None, clean: self.clean };
            add(END, Source::Runner, Record::End(end));
        }
        Journal { entries, truncated: false }
    }

    fn run(&self) -> Run {
        let phases = RunPhases {
            stabilization_ms: STABLE_S * 1000,
            testing_ms: FAULT_S * 1000,
            recovery_ms: RECOVERY_S * 1000,
        };
        Run {
            v: 1,
            run: "r".to_owned(),
            scenario: "s".to_owned(),
            suite: "x".to_owned(),
            description: String::new(),
            scenario_toml: String::new(),
            rules_sha256: String::new(),
            phases,
            wall_ms: 0,
            tool_version: "0".to_owned(),
            backend: "none".to_owned(),
            control: self.control,
        }
    }

    fn hello(&self) -> Hello {
        let server = |name: &str| Server { name: name.to_owned(), addr: format!("{name}:1") };
        Hello {
            v: 1,
            client: ClientInfo { name: "c".to_owned(), version: "1".to_owned() },
            instance: "i".to_owned(),
            at_us: 0,
            wall_ms: 0,
            servers: ["a", "b", "c"].map(server).into(),
            settings: settings(self.on_open, self.slow_rule_ms),
        }
    }

    fn doses(&self, add: &mut impl FnMut(u64, Source, Record)) {
        let Some([chunks, chunks_touched]) = self.counted else { return };
        for second in 1..=FAULT_S {
            let at_us = FAULT_ON + second * 1_000_000;
            let target = if self.kind == "toxic" { "proxy-a" } else { "f" };
            let (target, period_us) = (target.to_owned(), 1_000_000);
            let (links, links_touched, bytes, bytes_touched) = (0, 0, 0, 0);
            let dose = Dose {
                at_us,
                period_us,
                target,
                links,
                links_touched,
                chunks,
                chunks_touched,
                bytes,
                bytes_touched,
            };
            add(at_us, Source::Runner, Record::Dose(dose));
        }
    }

    fn fault(&self, at_us: u64, state: FaultState) -> Fault {
        let params: BTreeMap<String, f64> = self.params.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        Fault {
            at_us,
            id: "f".to_owned(),
            state,
            target: "proxy-a".to_owned(),
            server: self.server.map(str::to_owned),
            kind: self.kind.into(),
            given: "given".to_owned(),
            params,
            lease_until_us: END,
            error: None,
        }
    }

    fn breakers(&self, add: &mut impl FnMut(u64, Source, Record)) {
        let mut change = |at_us: u64, server: &str, from, to| {
            let event = EventKind::Breaker { from, to, reason: String::new() };
            add(
                at_us,
                Source::Client,
                Record::Event(Event { at_us, server: Some(server.to_owned()), event }),
            );
        };
        if let Some(ms) = self.trips_after_ms {
            change(FAULT_ON + ms * 1000, "a", BreakerState::Closed, BreakerState::Open);
            if let Some(ms) = self.closes_after_ms {
                change(FAULT_OFF + ms * 1000, "a", BreakerState::HalfOpen, BreakerState::Closed);
            }
        }
        if self.trip_elsewhere {
            change(FAULT_ON + 2_000_000, "b", BreakerState::Closed, BreakerState::Open);
            change(FAULT_ON + 3_000_000, "b", BreakerState::HalfOpen, BreakerState::Closed);
        }
    }

    fn tick(&self, at_us: u64) -> Tick {
        let on = at_us > FAULT_ON && at_us <= FAULT_OFF + self.failing_after_ms * 1000;
        let server = |name: &str| {
            let share = match (at_us <= FAULT_ON, on, name) {
                (true, _, _) => self.baseline_failing,
                (_, true, "a") => self.failing,
                (_, true, _) => self.healthy_failing,
                _ => 0.0,
            };
            let n = RATE / 10;
            let failed = (n as f64 * share).round() as u64;
            let mut ops = observation::Counts::default();
            ops.add(Outcome::Hit, n - failed);
            ops.add(Outcome::Timeout, failed);
            let us = if on && name == "a" && self.slow_ops { 205_000 } else { 500 };
            let mut attempts = ops.clone();
            if self.is_open(at_us) {
                match name {
                    // Of the healed server's load nothing gets there but a probe a second.
                    "a" => {
                        attempts = observation::Counts::default();
                        attempts.add(Outcome::BreakerOpen, n);
                        attempts.add(Outcome::Timeout, u64::from(at_us.is_multiple_of(1_000_000)));
                    }
                    _ => attempts.add(Outcome::Hit, n / 2),
                }
            }
            let latency = Histogram(vec![(us, n)]);
            ServerTick {
                server: name.to_owned(),
                ops,
                attempts,
                latency: latency.clone(),
                service: latency,
                pool: PoolTick { total: 8, idle: 8, ..PoolTick::default() },
                ..ServerTick::default()
            }
        };
        let mut servers: Vec<ServerTick> = ["a", "b", "c"].map(server).into();
        if at_us == FAULT_ON + 100_000 {
            servers[1].ops.add(Outcome::WrongValue, self.wrong_values);
        }
        Tick { at_us, period_us: 100_000, offered: 300, started: 300, servers, ..Tick::default() }
    }

    /// Have the last ops from before the trip ended, and is it open still?
    fn is_open(&self, at_us: u64) -> bool {
        let Some(trip) = self.trips_after_ms else { return false };
        let closes = self.closes_after_ms.map_or(END, |ms| FAULT_OFF + ms * 1000);
        at_us > FAULT_ON + (trip + 450) * 1000 && at_us <= closes
    }

    fn canary(&self, at_us: u64, n: u64) -> Canary {
        let on = at_us > FAULT_ON && at_us <= FAULT_OFF;
        let touched = on && (n % 100) < (self.canaries_touched * 100.0) as u64;
        let took_us = match (touched, self.kind) {
            (false, _) => Some(300),
            (true, "latency") => Some(200_300),
            (true, _) => None,
        };
        let (target, server) = ("proxy-a".to_owned(), self.server.map(str::to_owned));
        Canary { at_us, target, server, took_us, error: None }
    }
}

/// The verdict, and the criterion that decided it.
fn decided(scene: &Scene) -> (Ruling, String) {
    let verdict = scene.judge();
    let id = verdict.reasons.first().and_then(|reason| reason.split(':').next()).unwrap_or("").to_owned();
    (verdict.result, id)
}

fn expect(scene: Scene, result: Ruling, criterion: &str) {
    let (got, id) = decided(&scene);
    assert_eq!((got, id.as_str()), (result, criterion), "{:#?}", scene.judge().reasons);
}

#[test]
fn good_clients_pass() {
    expect(hung(), Ruling::Pass, "");
    expect(slow(), Ruling::Pass, "");
    // Without failover the faulted third is lost, and that is what these settings allow.
    expect(Scene { on_open: OnOpen::FailFast, failing: 1.0, ..hung() }, Ruling::Pass, "");
    // A slow rule below the latency opens the breaker; one above it does not.
    expect(
        Scene { slow_rule_ms: Some(100), trips_after_ms: Some(1_700), closes_after_ms: Some(900), ..slow() },
        Ruling::Pass,
        "",
    );
    expect(Scene { slow_rule_ms: Some(400), ..slow() }, Ruling::Pass, "");
    let down = Scene { kind: "down", params: vec![], trips_after_ms: Some(5), ..hung() };
    expect(down, Ruling::Pass, "");
}

#[test]
fn bad_clients_fail_for_the_right_reason() {
    expect(Scene { trips_after_ms: None, failing: 1.0, ..hung() }, Ruling::Fail, "trips-as-expected");
    expect(Scene { trips_after_ms: Some(300), ..slow() }, Ruling::Fail, "trips-as-expected");
    expect(Scene { slow_rule_ms: Some(100), ..slow() }, Ruling::Fail, "trips-as-expected");
    let eager = Scene { slow_rule_ms: Some(400), trips_after_ms: Some(300), ..slow() };
    expect(eager, Ruling::Fail, "trips-as-expected");
    expect(Scene { trip_elsewhere: true, ..hung() }, Ruling::Fail, "no-trip-on-healthy");
    expect(Scene { healthy_failing: 0.02, ..hung() }, Ruling::Fail, "healthy-isolation");
    expect(Scene { failing: 0.4, ..hung() }, Ruling::Fail, "goodput-retained");
    expect(Scene { failing_after_ms: 19_000, failing: 0.05, ..hung() }, Ruling::Fail, "recovery");
}

#[test]
fn limits_have_two_sides() {
    // Timeout 250 ms + 5 ops at 1000/s + 500 ms.
    expect(Scene { trips_after_ms: Some(754), ..hung() }, Ruling::Pass, "");
    expect(Scene { trips_after_ms: Some(757), ..hung() }, Ruling::Fail, "time-to-trip");
    // Open time 1 s + 20 %, timeout 250 ms, 3 probes, 3 s.
    expect(Scene { closes_after_ms: Some(4_445), ..hung() }, Ruling::Pass, "");
    expect(Scene { closes_after_ms: Some(4_460), ..hung() }, Ruling::Fail, "recovery");
}

#[test]
fn one_wrong_value_is_stronger_than_everything() {
    expect(Scene { wrong_values: 1, ..hung() }, Ruling::WrongData, "no-wrong-values");
    expect(Scene { wrong_values: 1, canaries_touched: 0.0, ..hung() }, Ruling::WrongData, "no-wrong-values");
    assert_eq!(Scene { wrong_values: 1, ..hung() }.judge().result.exit_code(), 5);
}

#[test]
fn a_fault_that_did_not_bite_and_a_path_past_the_proxy_are_invalid() {
    expect(Scene { canaries_touched: 0.0, ..hung() }, Ruling::Invalid, "fault-bit");
    expect(Scene { canaries_touched: 0.3, ..hung() }, Ruling::Invalid, "fault-bit");
    expect(Scene { server: None, ..hung() }, Ruling::Invalid, "fault-bit");
    expect(Scene { baseline_failing: 0.05, ..hung() }, Ruling::Invalid, "baseline");
    let none = Journal { entries: Vec::new(), truncated: false };
    assert_eq!(judge(&none).result, Ruling::Invalid);
}

#[test]
fn the_kernel_proves_its_own_loss_by_what_it_counted() {
    expect(lossy(), Ruling::Pass, "");
    for counted in [None, Some([2_000, 0]), Some([0, 0]), Some([2_000, 20]), Some([2_000, 60])] {
        expect(Scene { counted, ..lossy() }, Ruling::Invalid, "fault-bit");
    }
    // A loss that only the proxy delays has no such counters, and none are asked for.
    expect(Scene { kind: "loss", counted: None, ..lossy() }, Ruling::Pass, "");
}

#[test]
fn a_toxic_by_its_own_name_is_proven_by_the_proxys_counter_and_not_by_the_canaries_in_it() {
    expect(own(), Ruling::Pass, "");
    // A stock server counts nothing, whatever the client shows.
    for slow_ops in [false, true] {
        expect(Scene { counted: None, slow_ops, ..own() }, Ruling::Invalid, "fault-bit");
        expect(Scene { counted: Some([2_000, 0]), slow_ops, ..own() }, Ruling::Invalid, "fault-bit");
    }
    // 10 canaries a second, each with a request and a reply.
    expect(Scene { counted: Some([2_000, 20]), ..own() }, Ruling::Invalid, "fault-bit");
    expect(Scene { counted: Some([2_000, 20]), slow_ops: true, ..own() }, Ruling::Pass, "");
    for (proxy, result) in [("proxy-a", Ruling::Invalid), ("proxy-b", Ruling::Pass)] {
        let mut journal = own().journal();
        let note = Note::foreign_toxic(0, "mine", proxy);
        journal.entries.push(Entry { at_us: 0, source: Source::Runner, record: Record::Note(note) });
        assert_eq!(judge(&journal).result, result, "{proxy}");
    }
}

/// The journal of `scene` with every fault given a second time, as `other` says.
fn with_second(scene: &Scene, other: impl Fn(&mut Fault)) -> Journal {
    let mut journal = scene.journal();
    let mut second = Vec::new();
    for entry in &journal.entries {
        if let Record::Fault(fault) = &entry.record {
            let mut fault = fault.clone();
            fault.id = "g".to_owned();
            other(&mut fault);
            second.push(Entry { record: Record::Fault(fault), ..entry.clone() });
        }
    }
    journal.entries.extend(second);
    journal
}

#[test]
fn a_second_fault_of_the_same_server_is_asked_for_too_and_then_nothing_is_computed() {
    let same = judge(&with_second(&hung(), |_| {}));
    assert_eq!(same.result, Ruling::Pass);
    assert_eq!(same.criteria.iter().filter(|criterion| criterion.id == "fault-bit").count(), 1);
    assert_eq!(same.expectation.unwrap().trips["a"], Trip::Must);

    // Its counters are missing.
    let other = judge(&with_second(&hung(), |fault| {
        fault.kind = FaultKind::Toxic;
        fault.params = BTreeMap::new();
    }));
    assert_eq!(other.result, Ruling::Invalid);
    assert_eq!(other.expectation.unwrap().trips["a"], Trip::May);
}

#[test]
fn in_a_closed_loop_an_effect_that_cannot_be_computed_asks_for_no_goodput() {
    let retained = |scene: Scene| {
        let mut journal = scene.journal();
        for entry in &mut journal.entries {
            if let Record::Hello(hello) = &mut entry.record {
                hello.settings.load.kind = LoadKind::Closed;
            }
        }
        judge(&journal).expectation.unwrap().goodput_retained
    };
    assert_eq!(retained(own()), 0.0);
    assert!(retained(slow()) > 0.0);
}

#[test]
fn under_real_loss_a_trip_is_asked_for_only_where_the_least_and_the_most_delay_agree() {
    let trip = |loss: f64, canaries_touched: f64| {
        let per_second = [10_000, (10_000.0 * loss) as u64];
        let params = vec![("loss", loss)];
        let scene = Scene { params, canaries_touched, counted: Some(per_second), ..lossy() };
        scene.judge().expectation.unwrap().trips["a"]
    };
    assert_eq!((trip(0.02, 0.08), trip(0.1, 0.3), trip(1.0, 1.0)), (Trip::MustNot, Trip::May, Trip::Must));
}

#[test]
fn what_was_not_seen_to_its_end_is_never_a_pass() {
    expect(Scene { end: None, ..hung() }, Ruling::Inconclusive, "completed");
    expect(Scene { end: Some(EndStatus::Stopped), ..hung() }, Ruling::Inconclusive, "completed");
    expect(Scene { end: Some(EndStatus::Failed), ..hung() }, Ruling::Inconclusive, "completed");
    expect(Scene { gap: true, ..hung() }, Ruling::Inconclusive, "observed");
    expect(Scene { suspended_ms: 1_000, ..hung() }, Ruling::Inconclusive, "observed");
    assert_eq!(judge(&Scene { suspended_ms: 999, ..hung() }.journal()).result, Ruling::Pass);
    expect(Scene { clean: false, ..hung() }, Ruling::Inconclusive, "clean");
    let mut cut = hung().journal();
    cut.truncated = true;
    assert_eq!(judge(&cut).result, Ruling::Inconclusive);
}

#[test]
fn taking_records_away_never_makes_a_failure_a_pass() {
    let bad = Scene { trips_after_ms: None, failing: 1.0, ..hung() }.journal();
    for keep in [2, 3, 5, 7] {
        let entries = bad.entries.iter().enumerate().filter(|(n, _)| n % keep != 0).map(|(_, e)| e.clone());
        let thinned = Journal { entries: entries.collect(), truncated: false };
        assert_ne!(judge(&thinned).result, Ruling::Pass, "every {keep}th");
    }
    for length in (0..bad.entries.len()).step_by(37) {
        let cut = Journal { entries: bad.entries[..length].to_vec(), truncated: false };
        assert_ne!(judge(&cut).result, Ruling::Pass, "the first {length}");
    }
}

#[test]
fn judging_again_gives_the_same() {
    let journal = hung().journal();
    assert_eq!(
        serde_json::to_string(&judge(&journal)).unwrap(),
        serde_json::to_string(&judge(&journal)).unwrap()
    );
}
