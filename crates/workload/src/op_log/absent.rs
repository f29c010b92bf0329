//! A program that is built without op logs: whoever asks for one is told so.

use std::io;
use std::path::Path;

use observation::OpLogHead;

use super::OpLogReport;
use crate::trace::OpTrace;

/// There is none.
#[derive(Debug, Clone)]
pub(crate) enum OpLog {}

impl OpLog {
    pub(crate) fn push(&self, _: OpTrace) {
        match *self {}
    }

    pub(crate) fn report(&self) -> OpLogReport {
        match *self {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) enum OpLogThread {}

impl OpLogThread {
    pub(crate) fn start(_: &Path, _: &OpLogHead) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this program is built without op logs (feature op-log)",
        ))
    }

    pub(crate) fn log(&self) -> OpLog {
        match *self {}
    }

    pub(crate) async fn finish(self) -> OpLogReport {
        match self {}
    }
}
