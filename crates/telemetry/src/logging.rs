//! Log lines on standard error, so that results on standard output stay clean.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use crate::terminal::LogLines;

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

/// Starts logging for this process. The level comes from the environment variable `LOG`, for example `debug` or
/// `warn,scenario=trace`; without it: info. A second call changes nothing.
/// Where standard error is closed, lines are lost, and nothing else happens.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLines).with_target(false);
    // A line that cannot be written is lost: told on the same standard error, it would be a panic.
    let builder = builder.with_ansi(std::io::stderr().is_terminal()).log_internal_errors(false);
    // The error says that logging is on already.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
