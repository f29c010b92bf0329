//! Pacing on the paused clock, and once on the real one.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::arrivals::Arrivals;
use crate::driver::drive;

/// A pace on tokio's paused clock, and the ends of its strings.
struct Setup {
    /// Until it is run.
    pace: Option<Pace>,
    alarm: fn() -> Alarm,
    recorder: Arc<Mutex<Recorder>>,
    rates: watch::Sender<Option<RateChange>>,
    begin: Instant,
}

fn setup(arrivals: Arrivals, in_flight_max: usize, catch_up: bool) -> Setup {
    let begin = Instant::now();
    let recorder = Arc::new(Mutex::new(Recorder::new(0)));
    let (rates, changes) = watch::channel(None);
    let pace = Pace {
        schedule: Schedule::new(arrivals, begin, 0.0, ChaCha8Rng::seed_from_u64(3)),
        in_flight_max,
        catch_up,
        share: 1.0,
        rates: changes,
        recorder: Arc::clone(&recorder),
    };
    Setup { pace: Some(pace), alarm: || Alarm::Tokio, recorder, rates, begin }
}

impl Setup {
    /// Starts ops of this length for `lasts`, and gives the intended starts.
    async fn run(&mut self, lasts: Duration, op: Duration) -> Vec<Instant> {
        let stop = CancellationToken::new();
        let end = stop.clone();
        let timer = tokio::spawn(async move {
            // Sleeps: the length of the load; paused in all tests but the one of the real clock.
            tokio::time::sleep(lasts).await;
            end.cancel();
        });
        let mut intended = Vec::new();
        let recorder = &*self.recorder;
        let next = |start: Start| {
            intended.push(start.intended);
            async move {
                start.begin(recorder);
                // Sleeps: the length of an op.
                tokio::time::sleep(op).await;
            }
        };
        drive(self.pace.take().unwrap(), (self.alarm)(), &stop, next, |()| {}).await;
        timer.await.unwrap();
        intended
    }

    fn counts(&self) -> Recorder {
        self.recorder.lock().unwrap().clone()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn every_intended_start_is_started_on_time_while_nothing_is_in_its_way() {
    let mut setup = setup(Arrivals::Poisson(5_000.0), 1_000, false);
    let intended = setup.run(ms(10_000), ms(1)).await;
    let counts = setup.counts();
    assert!((counts.offered as f64 - 50_000.0).abs() < 4.0 * 50_000_f64.sqrt(), "{}", counts.offered);
    assert_eq!((counts.started, counts.dropped, counts.late), (counts.offered, 0, 0));
    assert_eq!((counts.started, counts.lag.len()), (intended.len() as u64, counts.started));
    assert!(intended.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_generator_owns_up_and_sends_no_burst() {
    let mut setup = setup(Arrivals::Constant(1_000.0), 100_000, false);
    // Nobody polls the pacer for 10 s: to it the process was stopped.
    tokio::time::advance(ms(10_000)).await;
    setup.run(ms(50), ms(1)).await;
    let counts = setup.counts();
    assert!(counts.late + counts.dropped >= 9_900, "{} late, {} dropped", counts.late, counts.dropped);
    assert!((9_900..=9_902).contains(&counts.dropped), "{}", counts.dropped);
    assert!((10_049..=10_052).contains(&counts.offered), "{}", counts.offered);
    assert_eq!(counts.started + counts.dropped, counts.offered);
    assert!(counts.lag.max() <= 102_000, "{}", counts.lag.max());
}

#[tokio::test(start_paused = true)]
async fn with_catch_up_every_start_is_made_however_late() {
    let mut setup = setup(Arrivals::Constant(1_000.0), 100_000, true);
    tokio::time::advance(ms(10_000)).await;
    let intended = setup.run(ms(50), ms(1)).await;
    let counts = setup.counts();
    assert_eq!((counts.started, counts.dropped), (counts.offered, 0));
    assert!(counts.late >= 9_900 && intended.len() >= 10_000, "{} late of {}", counts.late, intended.len());
    assert!((9_900_000..=10_200_000).contains(&counts.lag.max()), "{}", counts.lag.max());
}

#[tokio::test(start_paused = true)]
async fn without_a_slot_starts_are_dropped_or_wait_for_one_with_catch_up() {
    // 10 slots and ops of 1 s: 10 of 100 starts a second are possible.
    for catch_up in [false, true] {
        let mut setup = setup(Arrivals::Constant(100.0), 10, catch_up);
        setup.run(ms(10_005), ms(1_000)).await;
        let counts = setup.counts();
        assert!((1_000..=1_001).contains(&counts.offered), "{}", counts.offered);
        assert!((95..=110).contains(&counts.started), "{}", counts.started);
        assert_eq!(counts.started + counts.dropped, counts.offered, "what never started is owned up to");
        assert_eq!(counts.late > 0, catch_up);
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_rate_changes_without_a_gap_or_a_burst() {
    for arrivals in [Arrivals::Constant(1_000.0), Arrivals::Poisson(1_000.0)] {
        let mut setup = setup(arrivals, 100_000, false);
        let (begin, rates) = (setup.begin, setup.rates.clone());
        let steps = [(2.0, 4_000.0), (4.0, 100.0), (6.0, 2_500.0)];
        tokio::spawn(async move {
            for (after, ops_per_s) in steps {
                let at = begin + Duration::from_secs_f64(after);
                tokio::time::sleep_until(at).await;
                rates.send_replace(Some(RateChange { at, ops_per_s }));
            }
        });
        let intended = setup.run(ms(8_000), ms(1)).await;
        let expected = [(0.0, 1_000.0), steps[0], steps[1], steps[2]];
        for (from, rate) in expected {
            let within = |at: &&Instant| {
                let after = (**at - begin).as_secs_f64();
                (from..from + 2.0).contains(&after)
            };
            let n = intended.iter().filter(within).count() as f64;
            // A start that was due in the very millisecond of the change may count on either side.
            let constant = matches!(arrivals, Arrivals::Constant(_));
            let tolerance = if constant { 6.0 } else { 4.0 * (rate * 2.0_f64).sqrt() };
            assert!((n - rate * 2.0).abs() <= tolerance, "{n} of {} from {from} s on", rate * 2.0);
        }
        assert_eq!(setup.counts().dropped, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_keeps_its_slots_full_and_knows_no_lag() {
    let mut setup = setup(Arrivals::Closed, 64, false);
    setup.run(ms(1_000), ms(10)).await;
    let counts = setup.counts();
    assert!((6_000..=6_500).contains(&counts.started), "{}", counts.started);
    assert_eq!((counts.offered, counts.dropped, counts.lag.len()), (counts.started, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_handle_is_gone_goes_on() {
    let mut setup = setup(Arrivals::Constant(100.0), 10, false);
    setup.rates = watch::channel(None).0;
    assert!((100..=101).contains(&setup.run(ms(1_000), ms(1)).await.len()));
}

#[tokio::test]
async fn on_the_real_clock_starts_follow_their_schedule() {
    let mut setup = setup(Arrivals::Constant(2_000.0), 10_000, false);
    setup.alarm = Alarm::exact;
    setup.run(ms(1_000), Duration::ZERO).await;
    let counts = setup.counts();
    // Wide enough for a machine that does something else: half of the starts in time.
    assert!((1_800..=20_000).contains(&counts.offered), "{}", counts.offered);
    assert!(counts.lag.value_at_quantile(0.5) < 50_000, "{} us", counts.lag.value_at_quantile(0.5));
}
