//! The recovery in its parts: a waterfall that begins where the fault ends.

use verdict::Verdict;

use crate::charts::{Chart, Segment, Tone, bands};

/// One part; times since the fault had no effect any more, ms. The parts follow each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
}

/// The parts that the judge measured.
pub(crate) fn parts(verdict: &Verdict) -> Vec<Part> {
    let part = |name: &str, to_ms: Option<f64>| {
        to_ms.map(|to_ms| Part { name: name.to_owned(), from_ms: 0.0, to_ms })
    };
    let measures = &verdict.measures;
    let known = [
        part("breakers closed", measures.time_to_close_ms),
        part("goodput back", measures.time_to_recover_ms),
    ];
    known.into_iter().flatten().collect()
}

/// As bands, one row a part.
pub(crate) fn chart(id: &str, parts: &[Part]) -> Chart {
    // A part that took no time is still a part: it is drawn a hair wide.
    let hair = parts.iter().map(|part| part.to_ms).fold(1.0, f64::max) / 250.0;
    let segments = parts.iter().enumerate().map(|(row, part)| {
        let said = format!("{}, {}", crate::millis(Some(part.from_ms)), crate::millis(Some(part.to_ms - part.from_ms)));
        Segment(row, part.from_ms, part.to_ms.max(part.from_ms + hair), 0, Some(said))
    });
    let tones = vec![Tone { label: "part of the recovery", role: "blue" }];
    let rows = parts.iter().map(|part| part.name.clone()).collect();
    let mut chart = bands(id, rows, tones, segments.collect());
    chart.x_title = "milliseconds since the fault ended".to_owned();
    chart.unit = "ms";
    (chart.shade, chart.sync) = (false, false);
    chart
}
