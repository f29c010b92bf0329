//! Takes processor time away from everybody else: another process, with a core to itself if it gets one.

use std::io;
use std::process::{Child, Command, Stdio};

/// One core that is kept busy until this is dropped.
pub struct Burning(Child);

impl Burning {
    /// Begins.
    pub fn start() -> io::Result<Self> {
        Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        // It has ended if it cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
