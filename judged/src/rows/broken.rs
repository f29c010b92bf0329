//! Experiments that say nothing about the client, which is the good one: neither PASS nor FAIL may come of them.

use observation::PhaseKind::{Recovery, Stabilization, Testing};

use super::*;

fn row(id: &'static str, about: &'static str, by: &'static [&'static str], meddler: Meddler) -> Row {
    Row {
        id: id.to_owned(),
        about,
        scenario: LOSS,
        setup: Setup::default,
        meddler,
        is_twin: false,
        wanted: Wanted::Refused(by),
    }
}

fn lies(from: PhaseKind, lie: Lie) -> Meddler {
    Meddler::LiesFrom(from, Duration::from_secs(1), lie)
}

pub(super) fn rows() -> Vec<Row> {
    let fake = || Setup { fake: true, ..Setup::default() };
    vec![
        Row {
            setup: || Setup { past_the_proxies: true, ..Setup::default() },
            ..row("E1", "the fault is applied where the client is not", &["fault-bit"], Meddler::Nobody)
        },
        Row { scenario: NO_EFFECT, ..row("E2", "the fault has no effect", &["fault-bit"], Meddler::Nobody) },
        row("E3", "another server is faulted", &["fault-bit", "clean", "surroundings"], Meddler::MovesToxic),
        row("E4", "the fault ends early", &["fault-bit"], Meddler::EndsToxic(Duration::from_secs(2))),
        row("E5", "the fault outlives its phase", &["surroundings"], Meddler::ProlongsToxic),
        row("E6", "somebody else's toxic", &["alone"], Meddler::AddsToxic),
        row("E7", "the proxies are restarted", &["fault-bit"], Meddler::RestartsProxies),
        row("E8", "the load dies", &["completed"], Meddler::EndsLoad),
        Row {
            setup: || Setup { made: 0.9, ..Setup::default() },
            ..row("E9", "the load is 90 % of what was declared", &["load"], Meddler::Nobody)
        },
        row("E10", "the load's host is starved of CPU", &["baseline"], Meddler::Starves),
        row("E11", "the metrics stand still", &["observed"], lies(Testing, Lie::Frozen)),
        row("E12", "the metrics are those of an earlier run", &["observed"], Meddler::Lies(Lie::Earlier)),
        row("E13", "the source of the metrics is restarted", &["observed"], Meddler::RestartsLoad),
        row("E14", "a clock steps", &["observed"], lies(Stabilization, Lie::Ahead(30_000_000))),
        row("E15", "the host pauses", &["observed"], Meddler::Pauses(Duration::from_secs(3))),
        Row {
            setup: || {
                Setup { rate: 2_000.0, ..Setup::default() }.with_client(|client| {
                    (client.pool.max, client.pool.max_waiting) = (1, 0);
                })
            },
            ..row("E16", "the baseline is bad already", &["baseline"], Meddler::Nobody)
        },
        Row {
            setup: fake,
            ..row(
                "E17",
                "a memcached is restarted in the baseline",
                &["baseline", "surroundings"],
                Meddler::RestartsServer,
            )
        },
        Row {
            scenario: RARE_STALL,
            setup: || Setup { rate: 300.0, ..Setup::default() },
            ..row("E18", "the toxic misses every connection", &["fault-bit"], Meddler::Nobody)
        },
        Row {
            setup: || Setup { file_max: Some(256 * 1024), ..Setup::default() },
            ..row("E19", "the disk is full", &["completed"], Meddler::Nobody)
        },
        row("E20", "ticks are missing", &["observed"], Meddler::LeavesGaps(Recovery)),
    ]
}
