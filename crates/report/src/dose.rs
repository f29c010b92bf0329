//! Was the fault really given? Declared dose, what the proxy touched, what the client suffered.

use verdict::{DoseBucket, DoseMeter, Verdict};

use crate::charts::{Chart, Series, column, line, lines};
use crate::history::{History, POINTS_MAX, SERVERS_MAX};
use crate::percent;

/// A chart with its texts.
pub(crate) struct Figure {
    pub(crate) chart: Chart,
    pub(crate) title: String,
    pub(crate) about: String,
}

/// One chart per fault that could be metered.
pub(crate) fn charts(verdict: &Verdict, history: &History<'_>) -> Vec<Figure> {
    let meters = verdict.measures.dose.iter().filter(|meter| !meter.series.is_empty()).take(SERVERS_MAX);
    meters.enumerate().map(|(n, meter)| of(n, meter, history.fault_on.unwrap_or(0.0))).collect()
}

fn of(n: usize, meter: &DoseMeter, fault_on: f64) -> Figure {
    let joined = usize::try_from(POINTS_MAX).map_or(1, |most| meter.series.len().div_ceil(most));
    let buckets: Vec<&[DoseBucket]> = meter.series.chunks(joined.max(1)).collect();
    let times = buckets.iter().map(|joined| joined.last().map(|bucket| fault_on + bucket.at_ms / 1e3));
    let percents = |of: fn(&DoseBucket) -> Option<f64>| {
        column(
            buckets.iter().map(move |joined| mean(joined.iter().filter_map(of)).map(|share| share * 100.0)),
        )
    };
    let mut table = vec![
        column(times),
        percents(|bucket| bucket.proxy),
        percents(|bucket| bucket.canary),
        percents(|bucket| bucket.client),
    ];
    let mut series = vec![
        Series { filled: true, ..line("touched by the proxy", "orange") },
        Series { thin: true, ..line("canaries that suffered", "green") },
        line("client's ops that suffered", "blue"),
    ];
    if let Some(declared) = meter.declared {
        table.push(column(buckets.iter().map(|_| Some(declared * 100.0))));
        series.push(Series { dashed: true, ..line("declared", "black") });
    }
    let declared = meter.declared.map(|share| format!("{} declared; ", percent(share))).unwrap_or_default();
    Figure {
        chart: lines(format!("dose-{n}"), ("share, %", "%"), series, vec![table]),
        title: meter.target.clone(),
        about: format!("{declared}nothing suffered in {} of {} stretches.", meter.outside, meter.blocks),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
