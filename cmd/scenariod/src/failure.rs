//! Why there is no verdict, and the exit code of each cause.

use lab::LabError;
use scenario::RunError;

/// What kept a run from happening.
#[derive(Debug)]
pub enum Failure {
    /// Flags or scenario files.
    Usage(anyhow::Error),
    /// Ports, Toxiproxy, the observation stream, the disk.
    Infrastructure(anyhow::Error),
}

impl Failure {
    /// What happened.
    pub fn error(&self) -> &anyhow::Error {
        match self {
            Failure::Usage(error) | Failure::Infrastructure(error) => error,
        }
    }

    /// 2 usage, 4 infrastructure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Infrastructure(_) => 4,
        }
    }
}

/// Anything that is not the user's text.
pub fn infrastructure(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Infrastructure(error.into())
}

/// The user's text.
pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::ServerCount(_) | LabError::Load(_) => usage(error),
            _ => infrastructure(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Misfit { .. } => usage(error),
            _ => infrastructure(error),
        }
    }
}
