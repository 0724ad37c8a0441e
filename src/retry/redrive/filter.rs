//! Which dead letters are meant: by what they carry, why they died, when, and where they lie.
//!
//! What is not said is not asked. Texts are compared byte for byte; a header that repeats is met
//! if any of its values is.

use serde::{Deserialize, Serialize};

use super::provenance::Provenance;
use crate::wire::records::Record;

/// All conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Headers that must be there, each with this value or with any.
    pub headers: Vec<HeaderIs>,
    pub key: Option<String>,
    /// The consumer group that failed.
    pub group: Option<String>,
    /// One of these reasons; none: any.
    pub reasons: Vec<String>,
    /// The record's timestamp in the dead-letter topic, epoch milliseconds: not before.
    pub since_ms: Option<i64>,
    /// Before.
    pub until_ms: Option<i64>,
    pub partition: Option<i32>,
    /// First offset, in each partition.
    pub from_offset: Option<i64>,
    /// The offset behind the last one.
    pub to_offset: Option<i64>,
}

/// A header by name, and by value unless any will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderIs {
    pub name: String,
    #[serde(default)]
    pub value: Option<String>,
}

impl HeaderIs {
    fn is_in(&self, record: &Record<'_>) -> bool {
        record.headers.iter().any(|header| {
            header.key == self.name.as_bytes()
                && self.value.as_ref().is_none_or(|value| header.value == Some(value.as_bytes()))
        })
    }
}

impl Filter {
    /// The part of a partition's offsets that can be meant; `None` if the partition is not.
    #[must_use]
    pub fn stretch(&self, partition: i32, start: i64, end: i64) -> Option<(i64, i64)> {
        let is_meant = self.partition.is_none_or(|only| only == partition);
        let from = self.from_offset.map_or(start, |from| from.max(start));
        let to = self.to_offset.map_or(end, |to| to.min(end));
        is_meant.then_some((from, to.max(from)))
    }

    /// Whether a dead letter is meant. `timestamp_ms` is its own.
    #[must_use]
    pub fn matches(
        &self,
        offset: i64,
        timestamp_ms: i64,
        record: &Record<'_>,
        provenance: &Provenance<'_>,
    ) -> bool {
        let text = |wanted: &Option<String>, found: Option<&[u8]>| {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted.as_bytes()))
        };
        let reason = provenance.reason;
        self.from_offset.is_none_or(|from| offset >= from)
            && self.to_offset.is_none_or(|to| offset < to)
            && self.since_ms.is_none_or(|since_ms| timestamp_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| timestamp_ms < until_ms)
            && text(&self.key, record.key)
            && text(&self.group, provenance.group.map(str::as_bytes))
            && (self.reasons.is_empty()
                || self.reasons.iter().any(|wanted| reason == Some(wanted.as_str())))
            && self.headers.iter().all(|header| header.is_in(record))
    }
}
