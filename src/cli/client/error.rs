//! Why a command could not be done, as one line for people and an exit code for scripts.

use std::io;

use crate::base::fault::Code;
use crate::cli::exit::Exit;

/// What went wrong between a command and a broker.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// What is there does not allow what the command asks for.
    #[error("{0}")]
    Unfit(String),
    /// What the command is about is not there.
    #[error("{0}")]
    NotFound(String),
    #[error("cannot reach {address}: {}; is the broker running?", reason(.error))]
    Unreachable { address: String, error: io::Error },
    #[error("{address} did not answer {api} in time")]
    TimedOut { address: String, api: &'static str },
    /// Whether the broker has done what was asked is not known.
    #[error("{address} closed the connection instead of answering {api}: {}", reason(.error))]
    Dropped { address: String, api: &'static str, error: io::Error },
    #[error("{address} does not speak Kafka's protocol: {why}")]
    NotKafka { address: String, why: String },
    #[error("{address} does not serve {api} in a version that klamm speaks ({why})")]
    Unserved { address: String, api: &'static str, why: String },
    /// The broker answered with a code.
    #[error("{what}: {}{code:?}{}", opened(.message.as_deref()), closed(.message.as_deref()))]
    Refused { what: String, code: Code, message: Option<String> },
}

impl ClientError {
    /// A broker's refusal, with its own words if it sent any, else with ours.
    pub fn refused(what: impl Into<String>, code: Code, message: Option<&str>) -> Self {
        let message = message.filter(|message| !message.is_empty()).or_else(|| meaning(code));
        let message = message.map(str::to_owned);
        Self::Refused { what: what.into(), code, message }
    }

    /// Whether the same request may succeed in a moment. A name that is not known is final here:
    /// a person is waiting, and has probably mistyped it.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                let lasting = matches!(
                    code,
                    Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::KafkaStorageError
                );
                code.is_retriable() && !lasting
            }
            _ => false,
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Refused { code, .. } => match code {
                Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::GroupIdNotFound => {
                    Exit::NotFound
                }
                Code::KafkaStorageError => Exit::StorageFailed,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        }
    }
}

/// Codes that people meet in daily work and whose names alone would puzzle them.
const fn meaning(code: Code) -> Option<&'static str> {
    match code {
        Code::NonEmptyGroup => Some("it has members"),
        Code::UnknownMemberId => Some("it has members that commit for themselves"),
        Code::GroupSubscribedToTopic => Some("a member subscribes to the topic"),
        Code::InvalidTopicException => Some("that is no valid name for a topic"),
        Code::InvalidGroupId => Some("that is no valid name for a group"),
        Code::CoordinatorNotAvailable => Some("no coordinator yet"),
        Code::CoordinatorLoadInProgress => Some("the coordinator is still loading"),
        Code::LeaderNotAvailable | Code::NotLeaderOrFollower => Some("no leader"),
        Code::KafkaStorageError => Some("the broker's storage has failed"),
        _ => None,
    }
}

/// An error of the system without the number that Rust puts behind it, in small letters.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "end of stream".into(),
        _ => {
            let text = error.to_string();
            let mut text = text.split(" (os error").next().unwrap_or_default().chars();
            let first = text.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(text).collect()
        }
    }
}

fn opened(message: Option<&str>) -> String {
    message.map(|message| format!("{message} (")).unwrap_or_default()
}

fn closed(message: Option<&str>) -> &'static str {
    if message.is_some() { ")" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_people() {
        let error = io::Error::from_raw_os_error(111);
        let unreachable = ClientError::Unreachable { address: "127.0.0.1:9".into(), error };
        assert_eq!(
            unreachable.to_string(),
            "cannot reach 127.0.0.1:9: connection refused; is the broker running?"
        );
        let bare = ClientError::refused("topic x", Code::TopicAuthorizationFailed, Some(""));
        assert_eq!(bare.to_string(), "topic x: TopicAuthorizationFailed");
        let told = ClientError::refused("topic x", Code::InvalidConfig, Some("a bad value"));
        assert_eq!(told.to_string(), "topic x: a bad value (InvalidConfig)");
    }

    #[test]
    fn codes_decide_retry_and_exit() {
        for (code, retry, exit) in [
            (Code::NotLeaderOrFollower, true, Exit::Failed),
            (Code::CoordinatorLoadInProgress, true, Exit::Failed),
            (Code::UnknownTopicOrPartition, false, Exit::NotFound),
            (Code::GroupIdNotFound, false, Exit::NotFound),
            (Code::KafkaStorageError, false, Exit::StorageFailed),
            (Code::InvalidConfig, false, Exit::Failed),
        ] {
            let error = ClientError::refused("x", code, None);
            assert_eq!((error.may_retry(), error.exit()), (retry, exit), "{code:?}");
        }
    }
}
