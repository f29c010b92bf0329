//! Log lines on standard error, so that results on standard output stay clean.

use std::io::IsTerminal;
use std::str::FromStr;

use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal::{LogLines, shows_colours};

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("write text or json".to_owned()),
        }
    }
}

/// Seconds since the start: lines are narrow on a terminal, and somebody is looking.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        write!(out, "{:>8.3} s", self.0.elapsed().as_secs_f64())
    }
}

/// Starts logging for this process. The level comes from the environment variable `LOG`, for example `debug` or
/// `warn,scenario=trace`; without it: info, and of the targets in `quiet` errors alone. A second call changes nothing.
/// Where standard error is closed, lines are lost, and nothing else happens.
pub fn init(format: LogFormat, quiet: &[&str]) {
    let asked = std::env::var("LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = asked.and_then(|text| text.parse::<Targets>().ok()).unwrap_or_else(|| {
        let quiet = quiet.iter().map(|target| (*target, LevelFilter::ERROR));
        Targets::new().with_default(LevelFilter::INFO).with_targets(quiet)
    });
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(|| LogLines)
        .with_target(false);
    // A line that cannot be written is lost: told on the same standard error, it would be a panic.
    let terminal = std::io::stderr().is_terminal();
    let builder = builder.with_ansi(terminal && shows_colours()).log_internal_errors(false);
    // The error says that logging is on already.
    let _ = match format {
        LogFormat::Text if terminal => {
            builder.with_timer(SinceStart(Instant::now())).finish().with(filter).try_init()
        }
        LogFormat::Text => builder.finish().with(filter).try_init(),
        LogFormat::Json => builder.json().finish().with(filter).try_init(),
    };
}
