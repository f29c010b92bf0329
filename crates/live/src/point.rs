//! Ticks add up to a point of a chart.

use std::collections::BTreeMap;

use observation::{BreakerState, Counts, Histogram, Outcome, PoolTick, Tick};
use serde::Serialize;

/// What happened in one step, rendered for the page. An absent number was not observed.
#[derive(Debug, Serialize)]
struct Point<'a> {
    /// Its end, Unix seconds.
    t: f64,
    /// Per second.
    offered: Option<f64>,
    ok: Option<f64>,
    errors: BTreeMap<&'static str, f64>,
    /// p50, p90, p99 and p99.9 from the intended start, ms.
    latency: [Option<f64>; 4],
    servers: &'a [ServerPoint],
    /// Shares, 0-1: declared, chunks that the proxies touched, canaries that suffered.
    dose: [Option<f64>; 3],
}

/// Worst breaker state; connections: total, active, idle; waiting ops. The last that were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct ServerPoint(i64, u32, u32, u32, u32);

/// A share of something that was counted.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    hit: u64,
    all: u64,
}

impl Counted {
    fn add(&mut self, hit: u64, all: u64) {
        self.hit = self.hit.saturating_add(hit);
        self.all = self.all.saturating_add(all);
    }

    fn share(self) -> Option<f64> {
        (self.all > 0).then(|| round(self.hit as f64 / self.all as f64))
    }
}

/// A point that is not yet as long as its step.
#[derive(Debug, Default)]
pub(crate) struct Open {
    seconds: f64,
    offered: u64,
    counts: Counts,
    latency: Histogram,
    servers: Vec<ServerPoint>,
    /// What came later than the ticks of its time counts for the next point: 0.4 s at most.
    touched: Counted,
    canaries: Counted,
}

impl Open {
    /// `index` gives the place of a server, if it is shown.
    pub(crate) fn tick(&mut self, tick: &Tick, index: impl Fn(&str) -> Option<usize>) {
        self.seconds += tick.period_us as f64 / 1e6;
        self.offered = self.offered.saturating_add(tick.offered);
        for server in &tick.servers {
            self.counts.merge(&server.ops);
            self.latency.merge(&server.latency);
            let Some(n) = index(&server.server) else { continue };
            self.breaker(n, server.breaker);
            let PoolTick { total, active, idle, waiting } = server.pool;
            let ServerPoint(worst, ..) = self.servers[n];
            self.servers[n] = ServerPoint(worst, total, active, idle, waiting);
        }
    }

    /// A state that may have come and gone between two ticks.
    pub(crate) fn breaker(&mut self, n: usize, state: BreakerState) {
        if self.servers.len() <= n {
            self.servers.resize(n + 1, ServerPoint::default());
        }
        self.servers[n].0 = self.servers[n].0.max(state.gauge());
    }

    pub(crate) fn touched(&mut self, touched: u64, chunks: u64) {
        self.touched.add(touched, chunks);
    }

    pub(crate) fn canary(&mut self, suffered: bool) {
        self.canaries.add(u64::from(suffered), 1);
    }

    /// Is it as long as it should be? Ticks are a little shorter or longer than asked for.
    pub(crate) fn is_whole(&self, step_us: u64, tick: &Tick) -> bool {
        let half = tick.period_us.min(step_us) as f64 / 2e6;
        self.seconds + half >= step_us as f64 / 1e6
    }

    /// Renders it and begins the next.
    pub(crate) fn end(&mut self, t: f64, declared: Option<f64>) -> String {
        let of = std::mem::take(self);
        let rate = |count: u64| (of.seconds > 0.0).then(|| round(count as f64 / of.seconds));
        let class = |class: Outcome| Some((class.name(), rate(of.counts.get(class)).filter(|n| *n > 0.0)?));
        let errors = Outcome::ALL.into_iter().filter(|class| class.is_error());
        let quantile = |q| of.latency.quantile_us(q).map(|us| round(us.max(1) as f64 / 1e3));
        let point = Point {
            t: round(t),
            offered: rate(of.offered),
            ok: rate(of.counts.ok()),
            errors: errors.filter_map(class).collect(),
            latency: [0.5, 0.9, 0.99, 0.999].map(quantile),
            servers: &of.servers,
            dose: [declared.map(round), of.touched.share(), of.canaries.share()],
        };
        // Numbers and fixed names: there is no way for this to fail.
        serde_json::to_string(&point).unwrap_or_else(|_| "null".to_owned())
    }
}

/// Three decimals: more cannot be seen.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
