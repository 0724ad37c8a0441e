//! Values of settings: text to typed value by the key's kind.
//!
//! Text is trimmed first, as Kafka does. Numbers have no suffixes or units: a file that Kafka
//! reads must mean the same here, and a file written for Klamm must be readable by Kafka.

use super::delay::{ALIAS_TARGETS, are_aliases};
use super::spec::{Kind, Range};
use crate::base::topic_name::{CLUSTER_METADATA, is_internal, is_legal};

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    /// `int` and `long`.
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// A value that its key does not admit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value '{value}' for {key}: must be {expected}")]
pub struct BadValue {
    pub key: &'static str,
    pub value: String,
    /// What it may be.
    pub expected: String,
}

/// The value, or what would have been one.
pub(super) fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let value = match kind {
        Kind::Boolean => boolean(text).map(Value::Boolean),
        Kind::Int(range) | Kind::Long(range) => integer(range, text).map(Value::Integer),
        Kind::Double { min, max } => {
            text.parse().ok().filter(|v: &f64| *v >= min && *v <= max).map(Value::Double)
        }
        Kind::String => Some(Value::Text(text.into())),
        Kind::TopicName => {
            let is_clients = is_legal(text) && !is_internal(text) && text != CLUSTER_METADATA;
            (text.is_empty() || is_clients).then(|| Value::Text(text.into()))
        }
        Kind::Enum(words) => words.contains(&text).then(|| Value::Text(text.into())),
        Kind::List { allowed } => list(text)
            .filter(|entries| {
                entries.iter().all(|e| allowed.is_empty() || allowed.contains(&e.as_str()))
            })
            .map(Value::List),
        Kind::HeaderAliases => list(text).filter(|entries| are_aliases(entries)).map(Value::List),
        Kind::ThrottledReplicas => {
            list(text).filter(|e| text == "*" || e.iter().all(|e| is_replica(e))).map(Value::List)
        }
    };
    value.ok_or_else(|| expectation(kind))
}

fn boolean(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find_map(|(word, value)| text.eq_ignore_ascii_case(word).then_some(value))
}

fn integer(range: Range, text: &str) -> Option<i64> {
    let value = text.parse().ok()?;
    ((range.min..=range.max).contains(&value) || range.or == Some(value)).then_some(value)
}

/// Entries of a list. An empty text is an empty list; an empty entry is a mistake.
fn list(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let entries: Vec<String> = text.split(',').map(|e| e.trim().to_owned()).collect();
    (!entries.iter().any(String::is_empty)).then_some(entries)
}

fn is_replica(entry: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    entry.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// What a value of this kind may be, for people.
pub(super) fn expectation(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".into(),
        Kind::Int(range) => numbers("an int", range, i64::from(i32::MIN), i64::from(i32::MAX)),
        Kind::Long(range) => numbers("a long", range, i64::MIN, i64::MAX),
        Kind::Double { min, max: f64::MAX } => format!("a number, {min} or more"),
        Kind::Double { min, max } => format!("a number from {min} to {max}"),
        Kind::String => "text".into(),
        Kind::TopicName => "the name of a topic that clients may write to, or empty".into(),
        Kind::Enum(words) => format!("one of {}", words.join(", ")),
        Kind::List { allowed: [] } => "a comma-separated list".into(),
        Kind::List { allowed } => format!("a comma-separated list of {}", allowed.join(", ")),
        Kind::HeaderAliases => format!(
            "a comma-separated list of foreign=header, each foreign name once and none of klamm's \
             own, and each header one of {}",
            ALIAS_TARGETS.join(", ")
        ),
        Kind::ThrottledReplicas => "'*' or a list partition:broker,partition:broker,...".into(),
    }
}

fn numbers(of_type: &str, range: Range, least: i64, greatest: i64) -> String {
    let Range { min, max, or } = range;
    let limits = match (min > least, max < greatest) {
        (true, true) => format!(" from {min} to {max}"),
        (true, false) => format!(" of at least {min}"),
        (false, true) => format!(" of at most {max}"),
        (false, false) => String::new(),
    };
    match or {
        Some(other) => format!("{of_type}{limits}, or {other}"),
        None => format!("{of_type}{limits}"),
    }
}
