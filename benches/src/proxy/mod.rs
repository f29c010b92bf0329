//! Our proxy beside the stock one, a bare copy loop and no proxy at all: throughput, CPU an op, added latency, exactness of a
//! delay, and what many connections cost. All carriers run all the time; rounds are interleaved.

pub mod carrier;
mod crowd;
mod paced;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use crate::contestants::{Job, Who};
use crate::measure::Plan;
use crate::rounds;
use crate::stats::Spread;
use crate::table::Table;
use carrier::{Carrier, Kind};

/// Rate at which added latency is measured, ops/s.
const CALM: u32 = 2_000;
/// Rate at which the exactness of a delay is measured, ops/s.
const EXACT: u32 = 500;
/// The delay.
const EXACT_MS: u64 = 200;

/// One carrier's figures over all rounds.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: String,
    ops_per_s: Spread,
    /// CPU of the carrier, µs an op.
    cpu_us: Spread,
    /// Against the stock server in the same round.
    ops_ratio: Spread,
    cpu_ratio: Spread,
}

/// Measures everything; gives titles, tables and data.
pub async fn measure(plan: &Plan, rounds: usize) -> Result<Vec<(&'static str, String, String, Value)>> {
    let mut carriers = Vec::new();
    for kind in Kind::ALL {
        carriers.push(Carrier::start(kind, plan.addr).await?);
    }
    let mut all = Vec::new();
    let rows = throughput(&carriers, plan, rounds).await?;
    let title = format!("Proxies: {} connections, one request in flight on each, no toxic", plan.connections);
    all.push(("proxies", title, table(&rows), json!(rows)));

    let toxic: Vec<Carrier> = carriers.into_iter().filter(|one| Kind::TOXIC.contains(&one.kind)).collect();
    for carrier in &toxic {
        carrier.add_latency(1).await?;
    }
    let rows = throughput(&toxic, plan, rounds).await?;
    all.push((
        "proxies_1ms",
        "Proxies: the same with a latency of 1 ms".to_owned(),
        table(&rows),
        json!(rows),
    ));
    for carrier in &toxic {
        carrier.remove_latency().await?;
    }
    drop(toxic);

    let mut carriers = Vec::new();
    for kind in Kind::ALL {
        carriers.push(Carrier::start(kind, plan.addr).await?);
    }
    let (table, data) = latency(&carriers, plan, rounds).await?;
    all.push(("proxy_latency", format!("Proxies: round trips at {CALM} ops/s"), table, data));
    let (table, data) = exactness(&carriers, plan, rounds).await?;
    let title = format!("Proxies: a latency of {EXACT_MS} ms, at {EXACT} ops/s");
    all.push(("proxy_exactness", title, table, data));
    drop(carriers);

    let (table, data) = crowds(plan).await?;
    all.push(("proxy_crowds", "Proxies: many connections".to_owned(), table, data));
    Ok(all)
}

async fn throughput(carriers: &[Carrier], plan: &Plan, rounds: usize) -> Result<Vec<Row>> {
    let mut figures: Vec<Vec<(f64, f64)>> = vec![Vec::new(); carriers.len()];
    for round in 0..rounds {
        for step in 0..carriers.len() {
            let index = (round + step) % carriers.len();
            let carrier = &carriers[index];
            let job = Job { who: Who::RawMeta, plan: Plan { addr: carrier.addr, ..plan.clone() } };
            let before = carrier.cpu_us()?;
            let sample = rounds::in_child(&job).await?;
            let cpu = (carrier.cpu_us()? - before) / sample.ops_overall.max(1) as f64;
            rounds::progress(&format!(
                "round {} of {rounds}: {}: {:.0} ops/s, {cpu:.2} µs of the proxy an op",
                round + 1,
                carrier.kind.name(),
                sample.rate()
            ));
            figures[index].push((sample.rate(), cpu));
        }
    }
    let stock = carriers.iter().position(|carrier| carrier.kind == Kind::Stock);
    let rows = carriers.iter().zip(&figures).map(|(carrier, mine)| {
        let base = stock.map_or(mine, |stock| &figures[stock]);
        Row {
            name: carrier.kind.name().to_owned(),
            ops_per_s: Spread::of(mine.iter().map(|(rate, _)| *rate)),
            cpu_us: Spread::of(mine.iter().map(|(_, cpu)| *cpu)),
            ops_ratio: Spread::of(mine.iter().zip(base).map(|(mine, base)| mine.0 / base.0)),
            cpu_ratio: Spread::of(mine.iter().zip(base).map(|(mine, base)| mine.1 / base.1)),
        }
    });
    Ok(rows.collect())
}

fn table(rows: &[Row]) -> String {
    let mut table =
        Table::new(["carrier", "ops/s", "its CPU, µs/op", "ops/s × Toxiproxy", "CPU × Toxiproxy"]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.ops_per_s.shown(0),
            row.cpu_us.shown(2),
            row.ops_ratio.shown(2),
            row.cpu_ratio.shown(2),
        ]);
    }
    table.markdown()
}

async fn latency(carriers: &[Carrier], plan: &Plan, rounds: usize) -> Result<(String, Value)> {
    let connections = u32::try_from(plan.connections)?;
    let mut p50: Vec<Vec<f64>> = vec![Vec::new(); carriers.len()];
    let mut p99 = p50.clone();
    for round in 0..rounds {
        for step in 0..carriers.len() {
            let index = (round + step) % carriers.len();
            let carrier = &carriers[index];
            let latency =
                paced::measure(carrier.addr, connections, CALM, plan.window, Duration::ZERO).await?;
            rounds::progress(&format!("{}: p50 {:.0} µs", carrier.kind.name(), latency.p50_us));
            p50[index].push(latency.p50_us);
            p99[index].push(latency.p99_us);
        }
    }
    let direct = carriers.iter().position(|carrier| carrier.kind == Kind::Direct).unwrap_or(0);
    let mut table = Table::new(["carrier", "p50 µs", "p99 µs", "added p50 µs"]);
    let mut data = Vec::new();
    for (index, carrier) in carriers.iter().enumerate() {
        let added = Spread::of(p50[index].iter().zip(&p50[direct]).map(|(mine, base)| mine - base));
        let (p50, p99) = (Spread::of(p50[index].clone()), Spread::of(p99[index].clone()));
        table.row([carrier.kind.name().to_owned(), p50.shown(0), p99.shown(0), added.shown(0)]);
        data.push(json!({"name": carrier.kind.name(), "p50_us": p50, "p99_us": p99, "added_p50_us": added}));
    }
    Ok((table.markdown(), json!(data)))
}

async fn exactness(carriers: &[Carrier], plan: &Plan, rounds: usize) -> Result<(String, Value)> {
    let connections = u32::try_from(plan.connections)?.max(EXACT / 4);
    let mut table = Table::new(["carrier", "p50 µs", "p99 µs", "|measured - configured| p99, µs"]);
    let mut data = Vec::new();
    for carrier in carriers.iter().filter(|carrier| Kind::TOXIC.contains(&carrier.kind)) {
        carrier.add_latency(EXACT_MS as i64).await?;
        let mut all = Vec::new();
        for _ in 0..rounds {
            let expected = Duration::from_millis(EXACT_MS);
            all.push(paced::measure(carrier.addr, connections, EXACT, plan.window, expected).await?);
        }
        carrier.remove_latency().await?;
        let spread = |figure: fn(&paced::Latency) -> f64| Spread::of(all.iter().map(figure));
        let off = spread(|latency| latency.off_p99_us);
        let row = [spread(|latency| latency.p50_us), spread(|latency| latency.p99_us), off];
        table.row([carrier.kind.name().to_owned()].into_iter().chain(row.map(|one| one.shown(0))));
        data.push(json!({"name": carrier.kind.name(), "rounds": all}));
    }
    Ok((table.markdown(), json!(data)))
}

async fn crowds(plan: &Plan) -> Result<(String, Value)> {
    let mut table = Table::new([
        "carrier",
        "RSS before, MiB",
        "RSS with 9 900 idle, MiB",
        "toxic on 1 000 open, ms",
        "short connections/s",
        "CPU, µs each",
        "descriptors before, after",
        "RSS before, after, MiB",
    ]);
    let mut data = Vec::new();
    for kind in Kind::TOXIC {
        let carrier = Carrier::start(kind, plan.addr).await?;
        let churn = crowd::churn(&carrier).await?;
        rounds::progress(&format!("{}: {:.0} short connections/s", kind.name(), churn.per_s));
        let carrier = Carrier::start(kind, plan.addr).await?;
        let idle = crowd::idle(&carrier).await?;
        rounds::progress(&format!("{}: {:.1} MiB with all", kind.name(), idle.with_all_mib));
        table.row([
            kind.name().to_owned(),
            format!("{:.1}", idle.before_mib),
            format!("{:.1}", idle.with_all_mib),
            idle.toxic_ms.shown(2),
            format!("{:.0}", churn.per_s),
            format!("{:.1}", churn.cpu_us),
            format!("{}, {}", churn.descriptors.0, churn.descriptors.1),
            format!("{:.1}, {:.1}", churn.mib.0, churn.mib.1),
        ]);
        data.push(json!({"name": kind.name(), "idle": idle, "churn": churn}));
    }
    Ok((table.markdown(), json!(data)))
}
