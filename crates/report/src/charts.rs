//! Charts as data: what `assets/report.js` hands to uPlot. Colours are roles that the shared style (`crates/page`) defines.

use observation::{BreakerState, PhaseKind};
use serde::Serialize;

use crate::history::{History, Interval};
use crate::plain;

/// The data block of a page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Data {
    /// Shades behind every chart of this time.
    pub(crate) phases: Vec<Phase>,
    /// Dashed lines through them.
    pub(crate) moments: Vec<Moment>,
    pub(crate) charts: Vec<Chart>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) label: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) tone: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: f64,
}

/// One chart, and the place in the page that it is drawn in.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) id: String,
    pub(crate) x_title: String,
    pub(crate) height: u32,
    /// Phases and moments are shown.
    pub(crate) shade: bool,
    /// Its cursor moves with the others'.
    pub(crate) sync: bool,
    /// Times are Unix milliseconds.
    pub(crate) wall: bool,
    /// The x axis is logarithmic; all of it is above 0.
    pub(crate) x_log: bool,
    /// The whole x axis, where it is not that of the data.
    pub(crate) range: Option<[f64; 2]>,
    /// Unit of values: of the y axis of lines, of the x axis of bands.
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) body: Body,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Body {
    Lines {
        y_title: String,
        log: bool,
        /// The y axis reaches at least this far.
        least: f64,
        series: Vec<Series>,
        /// Each: times, then the columns of some of the series, in their order.
        tables: Vec<Vec<Vec<Option<f64>>>>,
    },
    Bands {
        rows: Vec<String>,
        tones: Vec<Tone>,
        segments: Vec<Segment>,
        /// Under the chart while nothing is pointed at.
        hint: &'static str,
    },
}

#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) role: &'static str,
    pub(crate) dashed: bool,
    pub(crate) thin: bool,
    pub(crate) filled: bool,
    pub(crate) steps: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tone {
    pub(crate) label: &'static str,
    pub(crate) role: &'static str,
}

/// Row, from, to, index of the tone, what it is (else the tone's label).
#[derive(Debug, Serialize)]
pub(crate) struct Segment(
    pub(crate) usize,
    pub(crate) f64,
    pub(crate) f64,
    pub(crate) usize,
    pub(crate) Option<String>,
);

/// A line without anything special.
pub(crate) fn line(label: impl Into<String>, role: &'static str) -> Series {
    Series { label: label.into(), role, ..Series::default() }
}

/// Three decimals: more cannot be seen.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A column of numbers.
pub(crate) fn column(values: impl Iterator<Item = Option<f64>>) -> Vec<Option<f64>> {
    values.map(|value| value.filter(|value| value.is_finite()).map(round)).collect()
}

/// Charts below each other show the same time, so that a line of the eye through all of them is one moment.
pub(crate) fn align(charts: &mut [Chart], from: f64, to: f64) {
    for chart in charts.iter_mut().filter(|chart| chart.shade && from < to) {
        chart.range = Some([round(from), round(to)]);
    }
}

/// Colours of lines that have no meaning of their own.
pub(crate) const ROLES: [&str; 8] = ["orange", "blue", "amber", "pink", "green", "sky", "grey", "black"];

/// A chart of lines over the seconds of a run.
pub(crate) fn lines(
    id: impl Into<String>,
    (y_title, unit): (&str, &'static str),
    series: Vec<Series>,
    tables: Vec<Vec<Vec<Option<f64>>>>,
) -> Chart {
    Chart {
        id: id.into(),
        x_title: "seconds since the begin".to_owned(),
        height: 210,
        shade: true,
        sync: true,
        wall: false,
        x_log: false,
        range: None,
        unit,
        body: Body::Lines { y_title: y_title.to_owned(), log: false, least: 1.0, series, tables },
    }
}

impl Chart {
    /// With a logarithmic y axis.
    pub(crate) fn logarithmic(mut self) -> Self {
        if let Body::Lines { log, .. } = &mut self.body {
            *log = true;
        }
        self
    }

    /// Smaller, for charts that stand beside each other.
    pub(crate) fn small(mut self) -> Self {
        self.height = 150;
        self
    }
}

/// Phases and the fault of a run, with `zero` of its seconds as 0.
pub(crate) fn marks(history: &History<'_>, zero: f64) -> (Vec<Phase>, Vec<Moment>) {
    let order = [PhaseKind::Stabilization, PhaseKind::Testing, PhaseKind::Recovery];
    let looks = [("stabilization", "before"), ("fault", "fault"), ("recovery", "after")];
    let begins: Vec<Option<f64>> = order.iter().map(|phase| history.phases.get(phase).copied()).collect();
    let phases = begins.iter().zip(looks).enumerate().filter_map(|(n, (from, (label, tone)))| {
        let to = begins.get(n + 1).copied().flatten().unwrap_or(history.until);
        Some(Phase { label, from: round((*from)? - zero), to: round(to - zero), tone })
    });
    let moments = [history.fault_on, history.lifted.or(history.fault_off)].into_iter().flatten();
    (phases.collect(), moments.map(|at| Moment { at: round(at - zero) }).collect())
}

/// Middles of the points.
pub(crate) fn times(history: &History<'_>, zero: f64) -> Vec<Option<f64>> {
    column(history.points.iter().map(|point| Some(point.at - zero)))
}

/// Times, then what was offered and what succeeded, per second.
pub(crate) fn goodput(history: &History<'_>) -> Chart {
    let offered = column(history.points.iter().map(|point| point.rate(point.offered)));
    let ok = column(history.points.iter().map(|point| point.rate(point.counts.ok())));
    let series = vec![
        Series { filled: true, ..line("succeeded", "blue") },
        Series { thin: true, dashed: true, ..line("offered", "grey") },
    ];
    lines("goodput", ("ops per second", "ops/s"), series, vec![vec![times(history, 0.0), ok, offered]])
}

/// Failed ops by class, per second.
pub(crate) fn errors(history: &History<'_>) -> Chart {
    let classes = history.error_classes();
    let mut table = vec![times(history, 0.0)];
    let mut series = Vec::new();
    for (class, role) in classes.iter().zip(ROLES.iter().cycle()) {
        table.push(column(history.points.iter().map(|point| point.rate(point.counts.get(*class)))));
        series.push(line(class.name().replace('_', " "), role));
    }
    if classes.is_empty() {
        table.push(column(history.points.iter().map(|point| point.rate(point.counts.errors()))));
        series.push(line("no failed op", "grey"));
    }
    lines("errors", ("failed ops per second", "ops/s"), series, vec![table])
}

/// p50, p90 and p99 from the intended start.
pub(crate) fn latency(history: &History<'_>) -> Chart {
    let quantile = |q: f64| column(history.points.iter().map(|point| point.latency_ms(q)));
    let table = vec![times(history, 0.0), quantile(0.5), quantile(0.9), quantile(0.99)];
    let series = vec![line("p50", "blue"), line("p90", "amber"), line("p99", "orange")];
    lines("latency", ("latency, ms (log)", "ms"), series, vec![table]).logarithmic()
}

/// Connections and waiting ops of one server.
pub(crate) fn pool(history: &History<'_>, index: usize) -> Option<Chart> {
    let server = history.servers.get(index)?;
    let of = |number: fn(&observation::PoolTick) -> u32| {
        column(history.points.iter().map(|point| point.pools.get(server).map(|pool| f64::from(number(pool)))))
    };
    let table = vec![
        times(history, 0.0),
        of(|pool| pool.total),
        of(|pool| pool.active),
        of(|pool| pool.idle),
        of(|pool| pool.waiting),
    ];
    let series = vec![
        Series { thin: true, dashed: true, ..line("total", "grey") },
        line("active", "blue"),
        line("idle", "green"),
        line("waiting ops", "orange"),
    ];
    Some(lines(format!("pool-{index}"), ("connections", ""), series, vec![table]).small())
}

/// States of breakers as bands; `name` says which row an interval is in.
pub(crate) fn breakers<'i>(
    rows: Vec<String>,
    intervals: impl Iterator<Item = (usize, f64, &'i Interval)>,
) -> Chart {
    let tones = vec![
        Tone { label: "closed", role: "closed-band" },
        Tone { label: "half-open", role: "amber-band" },
        Tone { label: "open", role: "open-band" },
    ];
    let tone = |state: BreakerState| usize::try_from(state.gauge()).unwrap_or(0);
    let segments = intervals
        .map(|(row, zero, i)| Segment(row, round(i.from - zero), round(i.to - zero), tone(i.state), None));
    let segments = segments.filter(|segment| segment.1 < segment.2).collect();
    bands("breakers", rows, tones, segments)
}

/// A chart of coloured intervals over the seconds of a run.
pub(crate) fn bands(id: &str, rows: Vec<String>, tones: Vec<Tone>, segments: Vec<Segment>) -> Chart {
    let height = 66 + 30 * u32::try_from(rows.len()).unwrap_or(0);
    let rows = rows.iter().map(|row| plain(row)).collect();
    Chart {
        id: id.to_owned(),
        x_title: "seconds since the begin".to_owned(),
        height,
        shade: true,
        sync: true,
        wall: false,
        x_log: false,
        range: None,
        unit: "s",
        body: Body::Bands { rows, tones, segments, hint: "Point at the chart to read it." },
    }
}
