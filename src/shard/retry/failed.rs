//! A record that failed, and the copies that are made of it: what `retry/letter.rs` writes beside
//! it, of the place where it is now.

use crate::base::headers;
use crate::catalog::Topic;
use crate::retry::letter::{self, Death, Place, Story};
use crate::retry::policy::{OwnRules, Reason};
use crate::wire::owned::{OwnedHeader, OwnedRecord};
use crate::wire::records::Header;

/// Larger records get no copy: with its headers it might not fit a batch.
const MOST_RECORD_BYTES: usize = (i32::MAX - (1 << 20)) as usize;

/// A record, or what is known of one that is gone.
pub struct Failed {
    record: Option<OwnedRecord>,
    story: Story,
    origin: Place,
}

/// Why a record is dead.
pub struct Cause<'a> {
    pub reason: Reason,
    /// `None`: no group has seen it.
    pub group: Option<&'a str>,
    pub message: Option<&'a str>,
    pub exception_class: Option<&'a str>,
    /// How often the record was delivered to the group, beyond what its headers say of retries.
    pub deliveries: u32,
    pub now_ms: i64,
}

impl Failed {
    /// The record at an offset of a topic; its headers are believed on a retry topic only.
    #[must_use]
    pub fn at(topic: &Topic, partition: i32, offset: i64, record: Option<OwnedRecord>) -> Self {
        let headers = record.as_ref().map_or(&[][..], |record| &record.headers);
        let story = match topic.role.as_ref().and_then(|role| role.retries_of()) {
            Some(_) => Story::of_retry(headers),
            None => Story::of_source(headers),
        };
        let here = || Place { topic: topic.name.to_string(), partition, offset };
        let origin = story.origin.clone().unwrap_or_else(here);
        Self { record, story, origin }
    }

    /// Retries behind it.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.story.attempts
    }

    /// Why there can be no copy of the record itself.
    #[must_use]
    pub fn hopeless(&self) -> Option<Reason> {
        match &self.record {
            None => Some(Reason::SourceGone),
            Some(record) if record.size_bytes() > MOST_RECORD_BYTES => Some(Reason::Oversize),
            Some(_) => None,
        }
    }

    /// Puts headers in the place of the record's own of the same names.
    pub fn override_headers<'h>(&mut self, own: impl Iterator<Item = Header<'h>>) {
        let Some(record) = &mut self.record else { return };
        for header in own {
            record.headers.retain(|known| *known.key != *header.key);
            record.headers.push(OwnedHeader::of(header));
        }
    }

    /// What the record says of its retries.
    #[must_use]
    pub fn own_rules(&self) -> OwnRules {
        let headers = self.record.as_ref().map_or(&[][..], |record| &record.headers);
        let value = |name: &str| {
            let last = headers.iter().rev().find(|header| header.key == name.as_bytes());
            last.and_then(|header| header.value.as_deref())
        };
        OwnRules::read(value(headers::RETRY_SCHEDULE), value(headers::RETRY_MAX))
    }

    /// The copy for the next attempt, of a record that is not [hopeless](Self::hopeless).
    #[must_use]
    pub fn into_retry(self, attempt: u32, now_ms: i64) -> OwnedRecord {
        let Self { record, story, origin } = self;
        let record = record.unwrap_or_default();
        let first_failed_ms = story.first_failed_ms.unwrap_or(now_ms);
        let timestamp_ms = story.original_timestamp_ms.unwrap_or(record.timestamp_ms);
        let headers =
            letter::retry(&record.headers, attempt, &origin, first_failed_ms, timestamp_ms);
        OwnedRecord { timestamp_ms, headers, ..record }
    }

    /// The dead letter. Without the record where its group wants it so, or where it is hopeless.
    #[must_use]
    pub fn into_letter(self, cause: &Cause<'_>, with_record: bool) -> OwnedRecord {
        let with_record = with_record && self.hopeless().is_none();
        let Self { record, story, origin } = self;
        let timestamp_ms = record.as_ref().map(|record| record.timestamp_ms);
        let record = record.filter(|_| with_record).unwrap_or_default();
        let death = Death {
            reason: cause.reason,
            origin: &origin,
            group: cause.group,
            deliveries: story.attempts.saturating_add(cause.deliveries),
            message: cause.message,
            exception_class: cause.exception_class,
            now_ms: cause.now_ms,
            first_failed_ms: story.first_failed_ms.unwrap_or(cause.now_ms),
            original_timestamp_ms: story.original_timestamp_ms.or(timestamp_ms),
            redrives: story.redrives,
        };
        let headers = letter::dead(&record.headers, &death);
        OwnedRecord { headers, timestamp_ms: cause.now_ms, ..record }
    }
}
