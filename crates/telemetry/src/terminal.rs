//! Lines above whatever is drawn in place on the terminal, never through it.

use std::io::{self, Write};
use std::sync::OnceLock;

/// Takes away what is drawn, writes, and draws it again.
type Above = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// A process has one terminal.
static DRAWN: OnceLock<Above> = OnceLock::new();

/// From now on each line of the log and each result is written by `above`. A second call changes nothing.
pub fn keep_clear(above: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    // The error gives the second one back.
    let _ = DRAWN.set(Box::new(above));
}

/// Writes something above what is drawn.
pub(crate) fn above<T>(mut write: impl FnMut() -> T) -> T {
    let Some(drawn) = DRAWN.get() else { return write() };
    let mut written = None;
    drawn(&mut || written = Some(write()));
    // Not called by who draws: then nothing of it stands in the way.
    written.unwrap_or_else(write)
}

/// Does standard error show colours? `NO_COLOR`, `CLICOLOR_FORCE` and `TERM=dumb` are respected.
pub fn shows_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// A text for standard error, without its colours where none are shown.
pub fn coloured(text: &str) -> String {
    with_colours(shows_colours(), text)
}

/// A text with its colours, or without.
pub(crate) fn with_colours(shown: bool, text: &str) -> String {
    if shown { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
}

/// Standard error for log lines: each comes in one piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
