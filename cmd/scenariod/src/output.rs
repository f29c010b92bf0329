//! Standard output, which is for results.

use std::io::Write;

/// Writes a result.
pub fn print(text: &str) {
    // A closed standard output (`| head`) is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
