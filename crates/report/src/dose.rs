//! Was the fault really given? Declared dose, what the proxy touched, what the client suffered.

use std::collections::BTreeMap;

use observation::journal::Journal;
use observation::{Dose, Record};
use verdict::Verdict;

use crate::charts::{Chart, Series, column, line, lines};
use crate::history::{History, SERVERS_MAX, seconds};

/// A chart with its texts.
pub(crate) struct Figure {
    pub(crate) chart: Chart,
    pub(crate) title: String,
    pub(crate) about: String,
}

/// One chart per target that was touched at all.
pub(crate) fn charts(journal: &Journal, _verdict: &Verdict, history: &History<'_>) -> Vec<Figure> {
    let mut targets: BTreeMap<&str, Vec<(u64, &Dose)>> = BTreeMap::new();
    for entry in &journal.entries {
        if let Record::Dose(dose) = &entry.record {
            targets.entry(&dose.target).or_default().push((entry.at_us, dose));
        }
    }
    let touched =
        targets.into_iter().filter(|(_, doses)| doses.iter().any(|(_, dose)| dose.links_touched > 0));
    let shown = touched.take(SERVERS_MAX).enumerate().map(|(n, (target, doses))| {
        let joined = joined(&doses, history.step);
        let table = vec![
            column(joined.iter().map(|(at, _)| Some(*at))),
            column(joined.iter().map(|(_, share)| share.map(|share| share * 100.0))),
        ];
        let series = vec![Series { filled: true, ..line("touched by the proxy", "orange") }];
        Figure {
            chart: lines(format!("dose-{n}"), ("share, %", "%"), series, vec![table]).small(),
            title: target.to_owned(),
            about: String::new(),
        }
    });
    shown.collect()
}

/// Share of touched chunks by step; `None` where nothing passed.
fn joined(doses: &[(u64, &Dose)], step: f64) -> Vec<(f64, Option<f64>)> {
    let mut out: Vec<(f64, Option<f64>)> = Vec::new();
    let (mut touched, mut chunks, mut from) = (0u64, 0u64, None);
    for (at_us, dose) in doses {
        let at = seconds(*at_us);
        let begin = *from.get_or_insert(at - seconds(dose.period_us));
        touched = touched.saturating_add(dose.chunks_touched);
        chunks = chunks.saturating_add(dose.chunks);
        if at - begin >= step * 0.9 {
            out.push(((at + begin) / 2.0, (chunks > 0).then(|| touched as f64 / chunks as f64)));
            (touched, chunks, from) = (0, 0, None);
        }
    }
    out
}
