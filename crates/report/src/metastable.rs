//! A cell of an experiment on metastable failure as a page.

use std::collections::BTreeMap;

use maud::html;
use observation::Record;
use observation::journal::Journal;
use observation::metastable::CellPhase;
use verdict::metastable::{Cell, CellState, phases};

use crate::charts::{self, Chart, Data, Phase, Series, column, line, lines};
use crate::page::{figure, heading, page};
use crate::plain;

/// HTML of one run of a cell.
pub fn metastable_page(title: &str, journal: &Journal, cell: &Cell, patience_us: u64) -> String {
    let charts = charts_of(journal, patience_us);
    let seconds = |us: u64| charts::round(us as f64 / 1e6);
    let begins = phases(journal);
    let shades = begins.windows(2).map(|pair| {
        let (label, tone) = match &pair[0].0 {
            CellPhase::Warm => ("warm", "before"),
            CellPhase::Baseline => ("baseline", "before"),
            CellPhase::Trigger => ("trigger", "fault"),
            CellPhase::Relief => ("relief", "fault"),
            CellPhase::Ramp => ("ramp", "fault"),
            CellPhase::After => ("after", "after"),
            _ => ("hold", "after"),
        };
        Phase { label, from: seconds(pair[0].1), to: seconds(pair[1].1), tone }
    });
    let phases = shades.collect();
    let class = match cell.state {
        CellState::Recovered => "pass",
        CellState::Degraded => "unsure",
        CellState::Stuck => "fail",
        CellState::Invalid => "void",
    };
    let badge = html! { span.badge.(class) { (cell.state.name()) } };
    let facts = [
        ("end goodput", format!("{:.2} of the baseline's", cell.end)),
        ("back after", cell.recovery_s.map_or("never".to_owned(), |s| format!("{s} s"))),
        ("hit ratio", format!("{:.2}, at the end {:.2}", cell.hit_ratio.before, cell.hit_ratio.after)),
        (
            "queries a request",
            format!(
                "{:.2}, at the end {:.2}",
                cell.queries_per_request.before, cell.queries_per_request.after
            ),
        ),
        ("after relief and ramp", cell.after_ramp.map_or("-".to_owned(), |share| format!("{share:.2}"))),
    ];
    let about = [
        ("Goodput", "Requests that were offered, and those that got what they asked for, per second."),
        (
            "Latency",
            "Of requests that ended in each tenth of a second, from their intended start; failed ones too.",
        ),
        ("Latencies", "How many requests took how long, over the whole run."),
        ("Hit ratio", "Share of the requests that the cache answered."),
        (
            "Queue",
            "How long the oldest queued query has waited, in parts of its caller's patience: above 1 all work is in vain.",
        ),
        (
            "Database",
            "Queries that it was asked, that it served, and that it served when nobody waited any more, per second.",
        ),
        ("Memory", "Resident memory of the processes and containers that were watched."),
    ];
    let body = html! {
        (heading(&badge, title))
        @if cell.wrong_values > 0 { p.because { "Wrong data: " (cell.wrong_values) " values that were never written there." } }
        @if let Some(why) = &cell.why { p.because { (plain(why)) } }
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        @for (chart, (name, about)) in charts.iter().zip(about) { (figure(chart, name, about)) }
    };
    page(title, &Data { phases, charts, ..Data::default() }, &body)
}

fn charts_of(journal: &Journal, patience_us: u64) -> Vec<Chart> {
    let ticks: Vec<_> = journal
        .entries
        .iter()
        .filter_map(|entry| match &entry.record {
            Record::LookAside(record) if record.period_us > 0 => Some((entry.at_us, record)),
            _ => None,
        })
        .collect();
    let times = || column(ticks.iter().map(|(at_us, _)| Some(*at_us as f64 / 1e6)));
    let of = |value: &dyn Fn(&observation::LookAside) -> Option<f64>| {
        column(ticks.iter().map(|(_, record)| value(record)))
    };
    let rate = |value: &dyn Fn(&observation::LookAside) -> u64| {
        of(&|record| Some(value(record) as f64 * 1e6 / record.period_us as f64))
    };
    let quantile = |q: f64| of(&|record| record.latency.quantile_us(q).map(|us| us as f64 / 1e3));
    let goodput = lines(
        "goodput",
        ("requests per second", "requests/s"),
        vec![
            Series { filled: true, ..line("good", "blue") },
            Series { dashed: true, thin: true, ..line("offered", "grey") },
        ],
        vec![vec![times(), rate(&|record| record.good()), rate(&|record| record.offered)]],
    );
    let latency = lines(
        "latency",
        ("latency, ms (log)", "ms"),
        vec![line("p50", "blue"), line("p99", "amber"), line("max", "orange")],
        vec![vec![times(), quantile(0.5), quantile(0.99), quantile(1.0)]],
    )
    .logarithmic();
    let hits = of(&|record| (record.ended() > 0).then(|| record.hits as f64 / record.ended() as f64));
    let hits = lines("hits", ("share", ""), vec![line("hit ratio", "green")], vec![vec![times(), hits]]);
    let waited = of(&|record| Some(record.database.oldest_us as f64 / patience_us.max(1) as f64));
    let queue = lines(
        "queue",
        ("parts of the patience", ""),
        vec![line("oldest query", "orange")],
        vec![vec![times(), waited]],
    );
    let database = lines(
        "database",
        ("queries per second", "queries/s"),
        vec![line("asked", "grey"), line("served", "blue"), line("in vain", "orange")],
        vec![vec![
            times(),
            rate(&|record| record.database.demanded),
            rate(&|record| record.database.served),
            rate(&|record| record.database.in_vain),
        ]],
    );
    vec![goodput, latency, histogram(journal), hits, queue, database, memory(journal)]
}

/// Requests by their latency, in buckets that double every third time.
fn histogram(journal: &Journal) -> Chart {
    let mut buckets: BTreeMap<i64, u64> = BTreeMap::new();
    for entry in &journal.entries {
        let Record::LookAside(record) = &entry.record else { continue };
        for (us, n) in &record.latency.0 {
            let bucket = ((*us).max(1) as f64).log2() * 3.0;
            *buckets.entry(bucket.floor() as i64).or_default() += n;
        }
    }
    let end = |bucket: i64| (((bucket + 1) as f64) / 3.0).exp2() / 1e3;
    let first = buckets.keys().next().copied().unwrap_or(0);
    let last = buckets.keys().last().copied().unwrap_or(0);
    let count = |bucket: i64| buckets.get(&bucket).copied().unwrap_or(0) as f64;
    // A step reaches back to the one before: the first has its begin too.
    let table = vec![
        column((first - 1..=last).map(|bucket| Some(end(bucket)))),
        column((first - 1..=last).map(|bucket| Some(count(bucket.max(first))))),
    ];
    let series = vec![Series { steps: true, filled: true, ..line("requests", "blue") }];
    let mut chart = lines("latencies", ("requests", "ms"), series, vec![table]);
    (chart.x_title, chart.shade, chart.sync) = ("latency, ms (log)".to_owned(), false, false);
    chart.x_log = true;
    chart
}

fn memory(journal: &Journal) -> Chart {
    let mut by_name: BTreeMap<&str, [Vec<Option<f64>>; 2]> = BTreeMap::new();
    for entry in &journal.entries {
        let Record::Memory(memory) = &entry.record else { continue };
        let [times, bytes] = by_name.entry(&memory.name).or_default();
        times.push(Some(entry.at_us as f64 / 1e6));
        bytes.push(Some(memory.bytes as f64 / 1e6));
    }
    let series = by_name.keys().zip(charts::ROLES.iter().cycle()).map(|(name, role)| line(plain(name), role));
    let series = series.collect();
    let tables = by_name
        .into_values()
        .map(|[times, bytes]| vec![column(times.into_iter()), column(bytes.into_iter())]);
    lines("memory", ("MB", "MB"), series, tables.collect())
}
