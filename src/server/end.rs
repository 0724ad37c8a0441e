//! Why a connection ended, and what the log says about it.

use std::io;

use super::reader::ReadError;
use crate::base::text::Escaped;
use crate::wire::frame::BadFrame;

#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("closed by the client")]
    Left,
    #[error("lost: {0}")]
    Lost(io::Error),
    #[error("closed at the broker's stop")]
    Stopped,
    #[error("nothing sent or received for connections.max.idle.ms")]
    Idle,
    #[error("no request in the time allowed after connecting")]
    Mute,
    #[error("a request arrived too slowly")]
    SlowRequest,
    #[error("replies were not read in the time allowed")]
    Stalled,
    #[error(transparent)]
    BadFrame(BadFrame),
    #[error("{}", Escaped(.0))]
    Refused(String),
}

impl End {
    /// Whether the client did something an ordinary client does not do.
    pub(super) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Mute | Self::SlowRequest | Self::Stalled | Self::BadFrame(_) | Self::Refused(_)
        )
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Socket(error) => Self::Lost(error),
            ReadError::Frame(bad) => Self::BadFrame(bad),
        }
    }
}
