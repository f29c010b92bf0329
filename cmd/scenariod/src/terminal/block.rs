//! The words and bars of a run on a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use observation::{BreakerState, PhaseKind};
use tokio::time::Instant;

use super::seen::{Progress, Seen};

const GOOD: Style = AnsiColor::Green.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();
/// Eighths of a column.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Share of failed ops from which it is red.
const MANY_ERRORS: f64 = 0.01;
/// Columns of everything beside the bars.
const PHASE_WORDS: usize = 30;
const FIGURES: usize = 62;
/// Columns of a bar at least and at most.
const BAR_LEAST: usize = 4;
const HISTORY_MOST: usize = 120;

/// Which of several.
pub(super) fn job(index: usize, jobs: usize) -> String {
    if jobs > 1 { format!("[{}/{jobs}] ", index + 1) } else { String::new() }
}

/// A run in one line without colours, for a file.
pub(super) fn line(seen: &Seen, now: Instant) -> String {
    let Some(phase) = current(seen, now) else { return String::new() };
    let left = (phase.length - phase.elapsed).as_secs();
    let mut out = format!("{} {:<13} {left:>4} s left", seen.scenario, phase.phase.name());
    match seen.figures() {
        None => out += "  no observations",
        Some(now) => {
            put(&mut out, format_args!("  {:>7.0} ok/s  {:>6.2} % errors", now.goodput, now.errors * 100.0));
        }
    }
    for (server, state) in &seen.breakers {
        put(&mut out, format_args!("  {server} {}", state.name()));
    }
    out
}

/// The runs that are under way, in lines of at most `width` columns: one run in full, several in a line each.
pub(super) fn block(runs: &[Seen], width: usize, now: Instant) -> String {
    let under_way = runs.iter().enumerate().filter(|(_, seen)| seen.phase() != PhaseKind::Idle);
    let lines: Vec<String> = match runs {
        [one] => under_way.flat_map(|_| whole(one, width, now)).collect(),
        all => under_way.map(|(index, seen)| short(&job(index, all.len()), seen, width, now)).collect(),
    };
    lines.join("\n")
}

fn whole(seen: &Seen, width: usize, now: Instant) -> [String; 4] {
    let mut title = Line::new(width);
    title.put(STRONG, &seen.scenario);
    if let Some(phase) = current(seen, now) {
        let (elapsed, length) = (phase.elapsed.as_secs(), phase.length.as_secs());
        title.put(Style::new(), &format!("  {}, {elapsed} of {length} s", words(phase.phase)));
    }
    let mut phases = Line::new(width);
    let progress = seen.progress(now);
    let columns = width.saturating_sub(PHASE_WORDS);
    let all: f64 = progress.iter().map(|phase| phase.length.as_secs_f64()).sum();
    for phase in &progress {
        let share = phase.length.as_secs_f64() / all.max(0.001);
        let columns = ((columns as f64 * share) as usize).max(BAR_LEAST);
        let style = if phase.phase == PhaseKind::Testing { BAD } else { GOOD };
        phases.put(DIM, &format!("{} ", name(phase.phase)));
        phases.bar(style, phase, columns);
        phases.put(Style::new(), " ");
    }
    let mut figures = Line::new(width);
    match seen.figures() {
        None => figures.put(BAD, "no observations"),
        Some(now) => {
            let columns = width.saturating_sub(FIGURES).clamp(BAR_LEAST, HISTORY_MOST);
            figures.put(DIM, "goodput ");
            figures.put(GOOD, &sparkline(seen.history.iter().copied(), columns));
            figures.put(STRONG, &format!(" {:.0} ok/s", now.goodput));
            figures.put(DIM, "  errors ");
            figures.put(errors(now.errors), &format!("{:.2} %", now.errors * 100.0));
            figures.put(DIM, "  p99 ");
            figures.put(Style::new(), &now.p99_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms")));
            if let Some(dose) = seen.dose() {
                figures.put(DIM, "  dose ");
                figures.put(Style::new(), &format!("{:.0} %", dose * 100.0));
            }
        }
    }
    let mut breakers = Line::new(width);
    breakers.put(DIM, "breakers");
    servers(&mut breakers, seen);
    [title, phases, figures, breakers].map(Line::end)
}

fn short(job: &str, seen: &Seen, width: usize, now: Instant) -> String {
    let mut line = Line::new(width);
    line.put(DIM, job);
    line.put(STRONG, &seen.scenario);
    if let Some(phase) = current(seen, now) {
        line.put(Style::new(), &format!(" {} ", name(phase.phase)));
        let style = if phase.phase == PhaseKind::Testing { BAD } else { GOOD };
        line.bar(style, &phase, 2 * BAR_LEAST);
    }
    match seen.figures() {
        None => line.put(BAD, " no observations"),
        Some(now) => {
            line.put(Style::new(), &format!(" {:.0} ok/s ", now.goodput));
            line.put(errors(now.errors), &format!("{:.1} %", now.errors * 100.0));
        }
    }
    servers(&mut line, seen);
    line.end()
}

/// Closed breakers are named only where there is room for all.
fn servers(line: &mut Line, seen: &Seen) {
    let room = seen
        .breakers
        .iter()
        .map(|(server, state)| server.chars().count() + state.name().len() + 3)
        .sum::<usize>();
    let all = room <= line.left();
    for (server, state) in seen.breakers.iter().filter(|(_, state)| all || *state != BreakerState::Closed) {
        let style = match state {
            BreakerState::Closed => GOOD,
            BreakerState::HalfOpen => DOUBTFUL,
            BreakerState::Open => BAD,
        };
        line.put(DIM, &format!("  {server} "));
        line.put(style, state.name());
    }
}

fn current(seen: &Seen, now: Instant) -> Option<Progress> {
    seen.progress(now).into_iter().find(|progress| progress.phase == seen.phase())
}

fn words(phase: PhaseKind) -> &'static str {
    match phase {
        PhaseKind::Idle => "nothing runs",
        PhaseKind::Stabilization => "stabilization: what is usual, before the fault",
        PhaseKind::Testing => "testing: the fault is on",
        PhaseKind::Recovery => "recovery: the fault is gone",
    }
}

fn name(phase: PhaseKind) -> &'static str {
    match phase {
        PhaseKind::Idle => "idle",
        PhaseKind::Stabilization => "before",
        PhaseKind::Testing => "fault",
        PhaseKind::Recovery => "after",
    }
}

fn errors(share: f64) -> Style {
    match share {
        0.0 => GOOD,
        share if share < MANY_ERRORS => DOUBTFUL,
        _ => BAD,
    }
}

/// The last values, each a column, from 0 to the largest.
fn sparkline(values: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator, columns: usize) -> String {
    let shown: Vec<f64> = values.rev().take(columns).collect();
    let largest = shown.iter().copied().fold(0.0, f64::max);
    let blank = " ".repeat(columns.saturating_sub(shown.len()));
    let bar = |value: &f64| {
        let height = if largest > 0.0 { value / largest * (BARS.len() - 1) as f64 } else { 0.0 };
        BARS[(height.round() as usize).min(BARS.len() - 1)]
    };
    blank + &shown.iter().rev().map(bar).collect::<String>()
}

/// Writing to a String cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A line of a terminal: what does not fit is cut, so that it never wraps.
struct Line {
    text: String,
    left: usize,
}

impl Line {
    fn new(width: usize) -> Self {
        Self { text: String::new(), left: width }
    }

    fn left(&self) -> usize {
        self.left
    }

    fn put(&mut self, style: Style, text: &str) {
        // A name from outside may hold anything.
        let text: String = report::plain(text).chars().take(self.left).collect();
        self.left -= text.chars().count();
        put(&mut self.text, format_args!("{style}{text}{style:#}"));
    }

    fn bar(&mut self, style: Style, progress: &Progress, columns: usize) {
        let share = progress.elapsed.as_secs_f64() / progress.length.as_secs_f64().max(0.001);
        let full = ((share * columns as f64).round() as usize).min(columns);
        self.put(style, &"━".repeat(full));
        self.put(DIM, &"─".repeat(columns - full));
    }

    fn end(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use observation::journal::{Entry, Source};
    use observation::{Outcome, Phase, Record, Run, RunPhases, SCHEMA_VERSION, ServerTick, Tick};
    use std::time::Duration;

    use super::*;

    fn seen(began: Instant) -> Seen {
        let mut seen = Seen::default();
        let mut enter = |record| seen.entry(&Entry { at_us: 0, source: Source::Runner, record }, began);
        enter(Record::Run(Box::new(Run {
            v: SCHEMA_VERSION,
            run: String::new(),
            scenario: "packet-loss-100-pct".to_owned(),
            suite: String::new(),
            description: String::new(),
            scenario_toml: String::new(),
            rules_sha256: String::new(),
            phases: RunPhases { stabilization_ms: 10_000, testing_ms: 15_000, recovery_ms: 20_000 },
            wall_ms: 0,
            tool_version: String::new(),
            backend: String::new(),
            control: false,
        })));
        enter(Record::Phase(Phase { at_us: 0, phase: PhaseKind::Testing }));
        for n in 0..20 {
            let mut server = ServerTick {
                server: "memcached1".into(),
                breaker: if n > 10 { BreakerState::Open } else { BreakerState::Closed },
                ..ServerTick::default()
            };
            server.ops.add(Outcome::Hit, 98);
            server.ops.add(Outcome::Timeout, 2);
            let other = ServerTick { server: "memcached2".into(), ..ServerTick::default() };
            enter(Record::Tick(Tick { period_us: 100_000, servers: vec![server, other], ..Tick::default() }));
        }
        seen
    }

    /// Columns of a line, without its colours.
    fn columns(line: &str) -> usize {
        let mut inside = false;
        let visible = line.chars().filter(|c| {
            let escape = inside || *c == '\x1b';
            inside = escape && *c != 'm';
            !escape
        });
        visible.count()
    }

    #[test]
    fn one_run_is_four_lines_and_none_is_wider_than_the_terminal() {
        let began = Instant::now();
        for width in [20, 80, 200] {
            let text = block(&[seen(began)], width, began + Duration::from_secs(5));
            assert_eq!(text.lines().count(), 4, "{text}");
            assert!(text.lines().all(|line| columns(line) <= width), "{width}:\n{text}");
        }
        let text = block(&[seen(began)], 80, began + Duration::from_secs(5));
        for words in
            ["testing: the fault is on, 5 of 15 s", "980 ok/s", "2.00 %", "memcached1", "open", "memcached2"]
        {
            assert!(text.contains(words), "{words}:\n{text}");
        }
    }

    #[test]
    fn several_runs_are_a_line_each_and_idle_ones_have_none() {
        let began = Instant::now();
        let text = block(&[seen(began), Seen::default(), seen(began)], 80, began);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("[1/3]") && text.contains("[3/3]"), "{text}");
        assert_eq!(block(&[Seen::default()], 80, began), "");
    }

    #[test]
    fn a_line_for_a_file_has_no_colours() {
        let began = Instant::now();
        assert_eq!(
            line(&seen(began), began + Duration::from_secs(5)),
            "packet-loss-100-pct testing         10 s left      980 ok/s    2.00 % errors  memcached1 open  memcached2 closed"
        );
    }

    #[test]
    fn a_sparkline_goes_from_nothing_to_the_largest_and_shows_the_last() {
        assert_eq!(sparkline([0.0, 50.0, 100.0].into_iter(), 5), "  ▁▅█");
        assert_eq!(sparkline([9.0, 0.0, 100.0].into_iter(), 2), "▁█");
        assert_eq!(sparkline([0.0].into_iter(), 1), "▁");
    }
}
