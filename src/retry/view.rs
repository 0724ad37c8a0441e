//! What operators ask about dead letters, and what they are told. JSON over HTTP has the same
//! names.

use serde::{Deserialize, Serialize};

use super::redrive::Target;
use super::redrive::filter::Filter;

/// Most dead letters of a page.
pub const MOST_LISTED: usize = 1_000;

/// Why something that was asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    NotFound(String),
    /// It makes no sense as it is.
    #[error("{0}")]
    Bad(String),
    /// It makes no sense now.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Unavailable(String),
}

/// A dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadTopic {
    pub topic: String,
    /// The group whose failures it holds; null if no group had a part in them, or several.
    pub group: Option<String>,
    /// The topic whose records it holds; null if there may be several.
    pub source: Option<String>,
    /// Where a redrive puts them by default, if it is there.
    pub retry_topic: Option<String>,
    pub partitions: i32,
    /// Null if there are too many to have been counted yet.
    pub records: Option<u64>,
    /// Those that no redrive has put back.
    pub waiting: Option<u64>,
    pub bytes: u64,
    /// Time of the oldest that waits, epoch milliseconds; null if there is none.
    pub oldest_ms: Option<i64>,
}

/// A page of dead letters is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageAsk {
    /// Only behind this place: partition and offset.
    pub after: Option<(i32, i64)>,
    pub filter: Filter,
    pub limit: usize,
}

/// Dead letters in order of partition and offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Page {
    pub records: Vec<Letter>,
    /// `after` of the next page; null on the last one.
    pub next: Option<String>,
}

/// One dead letter. Texts are shown as far as they are UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    /// Where it was delivered first.
    pub origin_topic: Option<String>,
    pub origin_partition: Option<i32>,
    pub origin_offset: Option<i64>,
    pub group: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub delivery_count: Option<u32>,
    pub redrive_count: u32,
    /// A redrive has put it back.
    pub redriven: bool,
    pub key: Option<String>,
    /// Its beginning.
    pub value: Option<String>,
    pub value_bytes: Option<usize>,
    /// All of them, in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// A redrive is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveAsk {
    /// The dead-letter topic.
    pub source: String,
    #[serde(default)]
    pub target: Target,
    #[serde(default)]
    pub filter: Filter,
    #[serde(default)]
    pub rate: u32,
    #[serde(default)]
    pub dry_run: bool,
    pub redrive_limit: Option<u32>,
    #[serde(default)]
    pub again: bool,
    /// Who asks.
    pub by: Option<String>,
}

/// A record that a group comes back to, generation after generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stuck {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// The committed offset.
    pub offset: i64,
    /// How many generations began with it.
    pub generations: u32,
    pub since_ms: i64,
}

/// What became of a record that an operator took out of a group's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub dead_letter_topic: String,
    /// The group goes on behind the record; false: as soon as it has no members.
    pub moved: bool,
}
