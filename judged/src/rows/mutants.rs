//! Clients that are wrong, each in one way. They must fail, for what is wrong with them.

use memcache_client::bugs::Bug;
use memcache_client::{OnOpen, RatioRule};

use super::*;

fn bad(bug: Bug) -> Setup {
    Setup::default().with_client(|client| client.bugs = bug.into())
}

fn row(
    id: &'static str,
    about: &'static str,
    scenario: ScenarioFile,
    by: &'static [&'static str],
    setup: fn() -> Setup,
) -> Row {
    Row {
        id: id.to_owned(),
        about,
        scenario,
        setup,
        meddler: Meddler::Nobody,
        is_twin: false,
        wanted: Wanted::Caught(by),
    }
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("M1", "breaker disabled", LOSS, &["dead-server-calls", "trips-as-expected"], || {
            bad(Bug::BreakerDisabled)
        }),
        row("M2", "breaker never closes", LOSS, &["recovery"], || bad(Bug::NeverCloses)),
        // So few ops that ten times the threshold shows beyond the margin for a loaded machine.
        row("M3", "threshold x10", LOSS, &["time-to-trip"], || Setup {
            rate: 90.0,
            ..bad(Bug::ThresholdTenfold)
        }),
        row("M4", "timeout x10", LOSS, &["op-deadline"], || bad(Bug::TimeoutTenfold)),
        row("M5", "no timeout", LOSS, &["op-deadline"], || bad(Bug::NoTimeout)),
        row("M6", "pool never reopened", LOSS, &["recovery"], || bad(Bug::NeverRedials)),
        row("M7", "pool returns a dirty connection", LOSS, &["no-wrong-values"], || {
            bad(Bug::DirtyConnection)
        }),
        // Without failover, so that the lost places are missed.
        row("M8", "leaks a slot per timeout", LOSS, &["goodput-after", "recovery"], || {
            bad(Bug::LeaksSlot).with_client(|client| client.routing.on_open = OnOpen::FailFast)
        }),
        row("M9", "failover disabled", LOSS, &["goodput-retained", "error-share"], || bad(Bug::NoFailover)),
        row("M10", "fails over to a dead server", LOSS_TWO, &["goodput-retained", "error-share"], || {
            bad(Bug::FailsOverToDead)
        }),
        row("M11", "never fails back", LOSS, &["fails-back"], || bad(Bug::NeverFailsBack)),
        row("M12", "recovers, then relapses", LOSS, &["stays-recovered"], || bad(Bug::Relapses)),
        // No breaker, as declared: nothing else stops the retries.
        row("M13", "retries without limit", LOSS, &["amplification"], || {
            Setup { rate: 150.0, ..bad(Bug::RetriesWithoutLimit) }.with_client(|client| {
                (client.breaker, client.pool.max) = (None, 64);
            })
        }),
        // So many ops that one in ten thousand is sure to come.
        row("M14", "1 in 10 000 values is another's", LOSS, &["no-wrong-values"], || Setup {
            rate: 2_000.0,
            ..bad(Bug::Desync)
        }),
        row(
            "M15",
            "a miss counts as a failure",
            MISSES,
            &["no-trip-on-healthy", "trips-as-expected"],
            || {
                let rule = RatioRule { failure_ratio: 0.1, window: Duration::from_secs(2), min_calls: 20 };
                Setup { workload: "get-heavy", ..bad(Bug::MissIsFailure) }
                    .with_breaker(|breaker| breaker.ratio = Some(rule))
            },
        ),
        row("M16", "timeout outside the breaker", LOSS, &["trips-as-expected", "time-to-trip"], || {
            bad(Bug::DeafToTimeouts)
        }),
        row("M17", "half-open stampede", LOSS, &["probes"], || bad(Bug::Stampede)),
        row("M18", "flaps each second", LOSS, &["flapping"], || {
            bad(Bug::Flaps).with_breaker(|breaker| breaker.open = Duration::from_secs(5))
        }),
        row("M19", "leaks a socket per error", LOSS_20, &["sockets"], || bad(Bug::LeaksConnection)),
        row("M20", "all reconnect at once", LOSS, &["dial-burst"], || {
            bad(Bug::DialsAtOnce).with_client(|client| client.pool.max = 64)
        }),
        row("M21", "one server starves the others", LATENCY_BELOW, &["healthy-isolation"], || {
            bad(Bug::SharedPool)
        }),
        row("M22", "a refused write is reported as done", REFUSED_WRITES, &["acknowledged-writes"], || {
            Setup { workload: "set-heavy", ..bad(Bug::HidesRefusals) }
        }),
        row("M23", "recovers at 1.5 times its limit", LOSS, &["recovery"], || bad(Bug::RecoversLate)),
        Row {
            meddler: Meddler::Lies(Lie::AllIsWell),
            ..row("M24", "its metrics lie", LOSS, &["witness-agrees"], Setup::default)
        },
    ]
}
