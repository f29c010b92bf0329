//! The recovery in its parts: a waterfall that begins where the fault ends.

use verdict::RecoveryPart;

use crate::charts::{Chart, Segment, Tone, bands};
use crate::millis;

/// As bands, one row a part.
pub(crate) fn chart(id: &str, parts: &[RecoveryPart]) -> Chart {
    // A part that took no time is still a part: it is drawn a hair wide.
    let hair = parts.iter().map(|part| part.to_ms).fold(1.0, f64::max) / 250.0;
    let segments = parts.iter().enumerate().map(|(row, part)| {
        let took = millis(Some(part.to_ms - part.from_ms));
        let said = if part.reached { format!("took {took}") } else { format!("not back after {took}") };
        Segment(
            row,
            part.from_ms,
            part.to_ms.max(part.from_ms + hair),
            usize::from(!part.reached),
            Some(said),
        )
    });
    let tones =
        vec![Tone { label: "came back", role: "blue" }, Tone { label: "not within the run", role: "orange" }];
    let rows = parts.iter().map(|part| part.name.to_owned()).collect();
    let mut chart = bands(id, rows, tones, segments.collect());
    chart.x_title = "milliseconds since the fault ended".to_owned();
    chart.unit = "ms";
    (chart.shade, chart.sync) = (false, false);
    chart
}
