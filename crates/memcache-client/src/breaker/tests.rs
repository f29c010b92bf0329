//! The state machine in paused time.

use rand::SeedableRng;

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig { open_jitter: 0.0, ..BreakerConfig::default() }
}

fn breaker_with(config: BreakerConfig) -> Breaker {
    Breaker::new(config, Fleet::new(2, None), ChaCha8Rng::seed_from_u64(1))
}

/// No call gives this: for calls whose transition does not matter.
fn never() -> Transition {
    Transition {
        sequence: u64::MAX,
        from: BreakerState::Open,
        to: BreakerState::Open,
        reason: TripReason::ConnectRefused,
    }
}

fn breaker() -> Breaker {
    breaker_with(config())
}

fn call(breaker: &Breaker, verdict: Verdict) -> Option<Transition> {
    let permit = breaker.try_acquire(Instant::now()).0.expect("admitted");
    permit.end(verdict, Instant::now())
}

fn tripped() -> Breaker {
    let breaker = breaker();
    (0..4).for_each(|_| assert_eq!(call(&breaker, Verdict::Timeout), None));
    let transition = call(&breaker, Verdict::Timeout).unwrap();
    assert_eq!((transition.from, transition.to), (BreakerState::Closed, BreakerState::Open));
    assert_eq!(transition.reason, TripReason::ConsecutiveTimeouts(5));
    breaker
}

#[tokio::test(start_paused = true)]
async fn four_timeouts_do_not_trip_and_a_success_between_starts_the_count_anew() {
    let breaker = breaker();
    for _ in 0..5 {
        (0..4).for_each(|_| assert_eq!(call(&breaker, Verdict::Timeout), None));
        (0..9).for_each(|_| assert_eq!(call(&breaker, Verdict::Success), None));
    }
    assert_eq!(breaker.stats().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_trips_at_once_unless_the_rule_is_off() {
    assert_eq!(call(&breaker(), Verdict::Refused).unwrap().reason, TripReason::ConnectRefused);
    let off = breaker_with(BreakerConfig { trip_on_refused: false, ..config() });
    assert_eq!(call(&off, Verdict::Refused), None);
}

#[tokio::test(start_paused = true)]
async fn half_of_twenty_calls_trip_by_ratio() {
    let breaker = breaker();
    for _ in 0..9 {
        assert_eq!(call(&breaker, Verdict::Success), None);
        assert_eq!(call(&breaker, Verdict::Failure), None);
    }
    assert_eq!(call(&breaker, Verdict::Success), None);
    let reason = call(&breaker, Verdict::Failure).unwrap().reason;
    assert_eq!(reason, TripReason::FailureRatio { ratio: 0.5, calls: 20 });
}

#[tokio::test(start_paused = true)]
async fn open_refuses_until_its_time_has_passed_and_asking_for_stats_changes_nothing() {
    let breaker = tripped();
    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert!(breaker.try_acquire(Instant::now()).0.is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.stats().state, BreakerState::Open);
    let (permit, transition) = breaker.try_acquire(Instant::now());
    assert!(permit.unwrap().is_probe());
    assert_eq!(transition.unwrap().to, BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_exactly_one_of_a_thousand() {
    let breaker = tripped();
    tokio::time::advance(Duration::from_secs(5)).await;
    let permits: Vec<_> = (0..1_000).filter_map(|_| breaker.try_acquire(Instant::now()).0).collect();
    assert_eq!(permits.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn three_successes_close_and_one_failure_opens_again() {
    let breaker = tripped();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(call(&breaker, Verdict::Success), None);
    assert_eq!(call(&breaker, Verdict::Success), None);
    let closed = call(&breaker, Verdict::Success).unwrap();
    assert_eq!((closed.to, closed.reason), (BreakerState::Closed, TripReason::ProbesSucceeded(3)));

    let breaker = tripped();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(call(&breaker, Verdict::Success), None);
    assert_eq!(call(&breaker, Verdict::Timeout).unwrap().reason, TripReason::ProbeFailed);
    assert!(breaker.try_acquire(Instant::now()).0.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_gives_its_slot_back_and_decides_nothing() {
    let breaker = tripped();
    tokio::time::advance(Duration::from_secs(5)).await;
    for _ in 0..10 {
        let probe = breaker.try_acquire(Instant::now()).0.unwrap();
        assert!(breaker.try_acquire(Instant::now()).0.is_none());
        drop(probe);
        assert_eq!(breaker.stats().state, BreakerState::HalfOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_result_from_before_the_outage_changes_nothing() {
    let breaker = breaker();
    let early = breaker.try_acquire(Instant::now()).0.unwrap();
    let earlier = breaker.try_acquire(Instant::now()).0.unwrap();
    (0..5).for_each(|_| assert_ne!(call(&breaker, Verdict::Timeout), Some(never())));
    tokio::time::advance(Duration::from_secs(5)).await;
    let probe = breaker.try_acquire(Instant::now()).0.unwrap();
    assert_eq!(early.end(Verdict::Success, Instant::now()), None);
    assert_eq!(earlier.end(Verdict::Timeout, Instant::now()), None);
    assert_eq!(breaker.stats().state, BreakerState::HalfOpen);
    // The probe's slot is still taken: the late results did not free it.
    assert!(breaker.try_acquire(Instant::now()).0.is_none());
    assert_eq!(probe.end(Verdict::Success, Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn misses_cancels_and_own_queues_never_trip() {
    let breaker = breaker();
    for _ in 0..1_000 {
        assert_eq!(call(&breaker, Verdict::Nothing), None);
    }
    assert_eq!(breaker.stats().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_server_is_never_ejected() {
    let fleet = Fleet::new(3, None);
    let breakers: Vec<_> =
        (0..3).map(|n| Breaker::new(config(), Arc::clone(&fleet), ChaCha8Rng::seed_from_u64(n))).collect();
    for breaker in &breakers {
        let transition = call(breaker, Verdict::Refused);
        assert_eq!(transition.is_some(), !std::ptr::eq(breaker, &breakers[2]));
    }
    assert_eq!(breakers[2].stats().state, BreakerState::Closed);
    // One comes back; now the third may go.
    tokio::time::advance(Duration::from_secs(5)).await;
    (0..3).for_each(|_| assert_ne!(call(&breakers[0], Verdict::Success), Some(never())));
    assert_eq!(breakers[0].stats().state, BreakerState::Closed);
    assert!(call(&breakers[2], Verdict::Refused).is_some());
}

#[tokio::test(start_paused = true)]
async fn jitter_stays_in_its_range_and_follows_the_seed() {
    async fn open_times(seed: u64) -> Vec<Duration> {
        let config = BreakerConfig { open_jitter: 0.2, ..config() };
        let breaker = Breaker::new(config, Fleet::new(2, None), ChaCha8Rng::seed_from_u64(seed));
        assert_ne!(call(&breaker, Verdict::Refused), Some(never()));
        let mut times = Vec::new();
        for _ in 0..50 {
            times.push(breaker.lock().open_for);
            tokio::time::advance(Duration::from_secs(6)).await;
            assert_ne!(call(&breaker, Verdict::Failure), Some(never()));
        }
        times
    }
    let times = open_times(1).await;
    assert!(times.iter().all(|t| (4.0..=6.0).contains(&t.as_secs_f64())), "{times:?}");
    assert!(times.iter().any(|t| t.as_secs_f64() < 4.5) && times.iter().any(|t| t.as_secs_f64() > 5.5));
    assert_eq!(times, open_times(1).await);
    assert_ne!(times, open_times(2).await);
}
