//! Known answers on servers that obey a formula.

use super::*;

/// M/M/1 of `mu`/s; above it, ops in flight grow.
fn serve(order: &Order, mu: f64) -> Measured {
    let (rate, seconds) = (order.rate, order.measure.as_secs_f64());
    let offered = (rate * seconds) as u64;
    let mut measured = Measured { seconds, offered, complete: true, ..Measured::default() };
    let mean_ms = if rate < mu { 1000.0 / (mu - rate) } else { 5_000.0 };
    measured.ok = (rate.min(mu) * seconds) as u64;
    (measured.avg_ms, measured.p99_ms) = (mean_ms, mean_ms * 100f64.ln());
    let n = rate.min(mu) * mean_ms / 1e3;
    measured.in_flight =
        (0..100).map(|i| n + (rate - mu).max(0.0) * seconds * f64::from(i) / 100.0).collect();
    let second = Second { ok: rate as u64, errors: 0, avg_ms: mean_ms };
    measured.per_second = vec![second; seconds as usize];
    measured
}

fn run(params: SearchParams, mut serve: impl FnMut(&Order) -> Measured) -> (Vec<Order>, SearchReport) {
    let mut search = Search::new(params);
    let mut orders = Vec::new();
    while let Some(order) = search.next() {
        assert!(orders.len() < 200, "it does not end");
        let measured = serve(&order);
        search.ended(&measured);
        orders.push(order);
    }
    (orders, search.report().clone())
}

fn phases(orders: &[Order]) -> Vec<&'static str> {
    let mut names: Vec<_> = orders.iter().map(|order| order.phase.name()).collect();
    names.dedup();
    names
}

#[test]
fn the_rate_that_keeps_the_promise_is_found_to_five_percent() {
    for mu in [90.0, 400.0, 2_000.0] {
        // p99 = ln(100) / (mu - rate) <= 50 ms.
        let answer = mu - 100f64.ln() / 0.05;
        if answer <= 0.0 {
            continue;
        }
        let (orders, report) = run(SearchParams::default(), |order| serve(order, mu));
        let rate = report.rate.unwrap_or(0.0);
        if answer > 0.5 {
            assert!(rate <= answer && rate * 1.05 >= answer, "{rate} for {answer}");
            let (low, high) = report.interval.unwrap();
            assert!(low <= rate && high >= answer && high / rate <= 1.05, "{low} {rate} {high}");
            assert!((report.confirmed.unwrap() / rate - 0.95).abs() < 1e-9);
        }
        if mu > 100.0 {
            let expected = ["ramp", "bisection", "confirmation", "overload", "recovery", "mirror"];
            assert_eq!(phases(&orders), expected);
            assert_eq!(report.overload.len(), 3);
            assert_eq!(report.time_to_recover_s, Some(Some(0.0)));
            assert!(report.mirror.iter().all(|step| !step.differs));
            assert!(report.knee().is_ok(), "{:?}", report.knee());
        }
    }
}

#[test]
fn one_bad_step_of_the_ramp_does_not_end_it() {
    let mut steps = 0;
    let (_, report) = run(SearchParams::default(), |order| {
        steps += 1;
        if steps == 3 { Measured { p99_ms: 500.0, ..serve(order, 2_000.0) } } else { serve(order, 2_000.0) }
    });
    assert!(report.rate.unwrap() > 1_800.0, "{:?}", report.rate);
}

#[test]
fn close_to_the_limit_most_of_three_runs_decide() {
    // Every other run near the limit is off by 15 %.
    let mut n = 0;
    let (orders, report) = run(SearchParams::default(), |order| {
        n += 1;
        let measured = serve(order, 1_000.0);
        let off = if n % 3 == 0 { 1.15 } else { 1.0 };
        Measured { p99_ms: measured.p99_ms * off, ..measured }
    });
    let answer = 1_000.0 - 100f64.ln() / 0.05;
    assert!((report.rate.unwrap() / answer - 1.0).abs() < 0.05, "{:?} for {answer}", report.rate);
    let mut bisected: Vec<f64> =
        orders.iter().filter(|order| order.phase == Phase::Bisection).map(|order| order.rate).collect();
    let all = bisected.len();
    bisected.dedup();
    assert!(bisected.len() < all, "none was repeated");
}

#[test]
fn what_fails_at_the_first_rate_is_looked_for_below() {
    let params = SearchParams { initial: 1_000.0, ..SearchParams::default() };
    let (_, report) = run(params, |order| serve(order, 300.0));
    let answer = 300.0 - 100f64.ln() / 0.05;
    assert!((report.rate.unwrap() / answer - 1.0).abs() < 0.05, "{:?}", report.rate);
    let (orders, nothing) =
        run(SearchParams::default(), |order| Measured { p99_ms: 1e3, ..serve(order, 300.0) });
    assert_eq!((nothing.rate, phases(&orders)), (None, vec!["ramp"]));
}

#[test]
fn what_stands_everything_is_confirmed_at_the_highest_rate() {
    let params = SearchParams { max: 1_000.0, ..SearchParams::default() };
    let (orders, report) = run(params, |order| serve(order, 1e6));
    assert!(report.at_max);
    assert_eq!((report.rate, report.confirmed), (Some(1_000.0), Some(1_000.0)));
    assert!(!phases(&orders).contains(&"bisection"));
}

#[test]
fn a_confirmation_that_fails_goes_down_by_two_percent() {
    let mut fails = 0;
    let (_, report) = run(SearchParams::default(), |order| {
        let measured = serve(order, 1_000.0);
        let bad = order.phase == Phase::Confirmation && fails < 3;
        fails += u32::from(bad);
        if bad { Measured { p99_ms: 500.0, ..measured } } else { measured }
    });
    assert_eq!(report.rate, report.confirmed);
    let (low, high) = report.interval.unwrap();
    assert!((report.rate.unwrap() - low).abs() < 1e-9 && high > low);
}

#[test]
fn collapse_hysteresis_and_a_late_recovery_are_seen() {
    let mut overloaded = false;
    let (_, report) = run(SearchParams::default(), |order| {
        overloaded |= order.phase == Phase::Overload;
        let mut measured = serve(order, 1_000.0);
        if order.phase == Phase::Overload {
            measured.ok /= 4;
        }
        if order.phase == Phase::Recovery {
            measured.per_second[..12].fill(Second { ok: 1, errors: 600, avg_ms: 250.0 });
        }
        if order.phase == Phase::Mirror && order.rate > 500.0 {
            measured.ok = measured.ok * 8 / 10;
        }
        measured
    });
    assert!(report.overload.iter().all(|step| step.collapsed));
    assert_eq!(report.time_to_recover_s, Some(Some(12.0)));
    assert!(report.mirror.iter().any(|step| step.differs) && report.mirror.iter().any(|step| !step.differs));
}

#[test]
fn each_part_of_the_promise_can_fail_a_step() {
    let search = Search::new(SearchParams::default());
    let order = search.next().unwrap();
    let good = serve(&order, 1_000.0);
    assert!(search.judge(&good).is_ok());
    let said = |measured: Measured| search.judge(&measured).unwrap_err();
    assert!(said(Measured { errors: 5, ..good.clone() }).contains("failed"));
    assert!(said(Measured { ok: good.ok / 2, ..good.clone() }).contains("was offered"));
    assert!(said(Measured { late: 50, ..good.clone() }).contains("generator"));
    let grows = (0..100).map(|i| 1.0 + f64::from(i)).collect();
    assert!(said(Measured { in_flight: grows, ..good.clone() }).contains("grew"));
    assert!(said(Measured { p99_ms: 51.0, ..good.clone() }).contains("above 50 ms"));
    let params = SearchParams { statistic: Statistic::Wait, ..SearchParams::default() };
    let search = Search::new(params);
    assert!(search.judge(&good).unwrap_err().contains("no p99 of the wait"));
    assert!(search.judge(&Measured { wait_p99_ms: Some(1.0), p99_ms: 900.0, ..good }).is_ok());
}
