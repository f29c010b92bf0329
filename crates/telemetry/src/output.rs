//! Standard output, which is for results. A result that cannot be written fails the program, but stops none of its work: what
//! a run came to, and its exit code, come first.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::terminal::{above, with_colours};

/// Exit code of a program whose results could not be written, if it has no other.
pub(crate) const LOST: u8 = 4;

/// A process has one standard output.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes a result.
pub fn print(text: &str) {
    write(|out| out.write_all(text.as_bytes()));
}

/// Writes a result with colours, which are left out where no terminal shows them; `NO_COLOR` and `CLICOLOR_FORCE` are respected.
pub fn print_coloured(text: &str) {
    let shown = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    print(&with_colours(shown, text));
}

/// Writes a result in pieces; gives whether all of it was written.
pub fn write(result: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> bool {
    let mut result = Some(result);
    let written = above(|| {
        let mut out = io::stdout();
        result.take().map_or(Ok(()), |result| result(&mut out).and_then(|()| out.flush()))
    });
    let Err(error) = written else { return true };
    // A reader that has seen enough (`| head`) is no failure. Of others the first is told: the rest have the same cause.
    if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        tracing::error!("standard output: {error}; results are lost");
    }
    false
}

/// The exit code of a program that would end with `code`: another one than 0 if results were lost.
pub fn exit_code(code: u8) -> ExitCode {
    ExitCode::from(if code == 0 && FAILED.load(Ordering::Relaxed) { LOST } else { code })
}
