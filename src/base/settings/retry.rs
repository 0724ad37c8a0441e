//! What is in force for a group's retries and dead letters, as typed data.

use super::layers::{BrokerConfig, Overrides, Reader};

/// A group's own configs over the broker's defaults. Field names are the keys'.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// Retries after the first delivery.
    pub max_attempts: u32,
    pub backoff_initial_ms: i64,
    /// At least 1.
    pub backoff_multiplier: f64,
    pub backoff_max_ms: i64,
    /// From 0 to 1.
    pub backoff_jitter: f64,
    /// `errors.deadletterqueue.topic.name`; `None`: the group's own for the source topic.
    pub dead_letter_topic: Option<String>,
    /// `errors.deadletterqueue.copy.record.enable`
    pub dead_letter_has_record: bool,
}

impl RetrySettings {
    /// The key of the topic for a group's dead letters.
    pub const DEAD_LETTER_TOPIC: &'static str = "errors.deadletterqueue.topic.name";

    /// Resolves a group's configs. Values that do not pass their check are passed over.
    #[must_use]
    pub fn resolve(configs: &Overrides, broker: &BrokerConfig) -> Self {
        let read = Reader::group(broker, configs);
        let topic = read.text(Self::DEAD_LETTER_TOPIC);
        Self {
            max_attempts: read.count("retry.max.attempts"),
            backoff_initial_ms: read.long("retry.backoff.initial.ms"),
            backoff_multiplier: read.double("retry.backoff.multiplier"),
            backoff_max_ms: read.long("retry.backoff.max.ms"),
            backoff_jitter: read.double("retry.backoff.jitter"),
            dead_letter_topic: Some(topic).filter(|topic| !topic.is_empty()),
            dead_letter_has_record: read.boolean("errors.deadletterqueue.copy.record.enable"),
        }
    }
}
