//! Standard output, which is for results. A result that cannot be written fails the program, but stops none of its work: what
//! a run came to, and its exit code, come first.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::logging::{self, LogFormat};

/// Exit code of a program whose results could not be written, if it has no other.
const LOST: u8 = 4;

/// A process has one standard output.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes a result.
pub fn print(text: &str) {
    write(|out| out.write_all(text.as_bytes()));
}

/// Writes a result in pieces; gives whether all of it was written.
pub fn write(result: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> bool {
    let mut out = io::stdout();
    let Err(error) = result(&mut out).and_then(|()| out.flush()) else { return true };
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

/// Reads the arguments, the program's name first. The error is the exit code after help or version was printed, or after a usage
/// error.
pub fn arguments<A: clap::Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, ExitCode> {
    A::try_parse_from(words).map_err(|asked| {
        if asked.use_stderr() {
            // Where standard error is gone, there is no place to say so.
            let _ = asked.print();
        } else {
            logging::init(LogFormat::Text);
            write(|_| asked.print());
        }
        exit_code(asked.exit_code().try_into().unwrap_or(LOST))
    })
}
