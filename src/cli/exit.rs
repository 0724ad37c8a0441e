//! Exit codes that mean something to a script.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    /// The command line or the settings are wrong.
    Usage = 2,
    NotFound = 3,
    /// The data directory can no longer be trusted, or not be used at all.
    StorageFailed = 4,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
