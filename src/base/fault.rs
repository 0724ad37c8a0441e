//! The broker's error kinds and the one table that maps them to Kafka's codes.
//!
//! Layers below have their own typed errors; each converts into a [`Fault`] at its upper edge.
//! `api/` never invents a code: it asks [`Fault::code`].

use std::fmt;

/// Kafka's error codes, by its own names. Source: Kafka 4.3, `Errors`.
pub use kafka_protocol::error::ResponseError as Code;

/// An error on its way to a client: a Kafka code and a message for people that names the
/// offending value and the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    message: Option<String>,
}

impl Fault {
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self { code, message: None }
    }

    #[must_use]
    pub fn with(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    #[must_use]
    pub const fn kind(&self) -> Code {
        self.code
    }

    /// The number that goes on the wire.
    #[must_use]
    pub fn code(&self) -> i16 {
        self.code.code()
    }

    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{message} ({:?})", self.code),
            None => write!(f, "{:?}", self.code),
        }
    }
}

impl std::error::Error for Fault {}
