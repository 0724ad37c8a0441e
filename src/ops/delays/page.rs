//! Pages of pending records over one partition or several, in order of due time, partition,
//! ticket.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::delay::key::Key;
use crate::delay::query::{self, Ask, PageAsk};

/// Where a page ends: `<effective due ms>:<partition>:<ticket>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cursor {
    due_ms: i64,
    partition: i32,
    ticket: i64,
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        fn field<T: FromStr>(text: Option<&str>) -> Option<T> {
            text?.parse().ok()
        }
        let mut fields = text.splitn(3, ':');
        let (due_ms, partition) = (field(fields.next()), field(fields.next()));
        match (due_ms, partition, field(fields.next())) {
            (Some(due_ms), Some(partition), Some(ticket)) => Ok(Self { due_ms, partition, ticket }),
            _ => Err(format!("after is '{text}'; it must be the next of a page")),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.due_ms, self.partition, self.ticket)
    }
}

impl Cursor {
    /// The key in a partition behind which its entries are behind the cursor.
    fn key_in(self, partition: i32) -> Key {
        let ticket = match partition.cmp(&self.partition) {
            std::cmp::Ordering::Less => i64::MAX,
            std::cmp::Ordering::Equal => self.ticket,
            std::cmp::Ordering::Greater => i64::MIN,
        };
        Key::new(self.due_ms, ticket)
    }
}

/// The question to one partition.
pub(super) fn ask(after: Option<Cursor>, partition: i32, id: Option<Bytes>, limit: usize) -> Ask {
    let after = after.map_or(Key::MIN, |cursor| cursor.key_in(partition));
    Ask::Pending(PageAsk { after, id, limit })
}

/// Pending records as they are listed.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pending: Vec<Listed>,
    /// `after` of the next page; null on the last.
    next: Option<String>,
    #[serde(skip)]
    limit: usize,
}

/// Texts are shown as far as they are UTF-8. Times are epoch milliseconds.
#[derive(Debug, Serialize)]
struct Listed {
    partition: i32,
    ticket: i64,
    due_ms: i64,
    asked_due_ms: i64,
    accepted_ms: i64,
    expires_at_ms: Option<i64>,
    id: Option<String>,
    key: Option<String>,
    bytes: u32,
}

impl Listed {
    const fn cursor(&self) -> Cursor {
        Cursor { due_ms: self.due_ms, partition: self.partition, ticket: self.ticket }
    }
}

impl Page {
    pub(super) const fn new(limit: usize) -> Self {
        Self { pending: Vec::new(), next: None, limit }
    }

    /// Merges a partition's page in and keeps the first records of both.
    pub(super) fn add(&mut self, partition: i32, found: query::Page) {
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let mut more = self.next.is_some() || found.more;
        self.pending.extend(found.entries.into_iter().map(|entry| Listed {
            partition,
            ticket: entry.key.ticket,
            due_ms: entry.key.due_ms,
            asked_due_ms: entry.asked_due_ms,
            accepted_ms: entry.accepted_ms,
            expires_at_ms: entry.expires_at_ms,
            id: entry.id.map(text),
            key: entry.record_key.map(text),
            bytes: entry.bytes,
        }));
        self.pending.sort_by_key(Listed::cursor);
        more |= self.pending.len() > self.limit;
        self.pending.truncate(self.limit);
        let last = self.pending.last().filter(|_| more);
        self.next = last.map(|last| last.cursor().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(keys: &[Key], ask: Ask) -> query::Page {
        let Ask::Pending(ask) = ask else { panic!("a page was asked for") };
        let mut left = keys.iter().filter(|key| **key > ask.after);
        let entry = |key: &Key| query::Pending {
            key: *key,
            asked_due_ms: key.due_ms,
            accepted_ms: 0,
            expires_at_ms: None,
            id: None,
            record_key: None,
            bytes: 1,
        };
        let entries = left.by_ref().take(ask.limit).map(entry).collect();
        query::Page { entries, more: left.next().is_some() }
    }

    proptest! {
        #[test]
        fn pages_show_every_record_once_and_in_order(
            mut partitions in prop::collection::vec(
                prop::collection::vec((0..9_i64, 0..9_i64), 0..20), 1..5,
            ),
            limit in 1_usize..7,
        ) {
            let keys: Vec<Vec<Key>> = partitions
                .iter_mut()
                .map(|keys| {
                    keys.sort_unstable();
                    keys.dedup();
                    keys.iter().map(|(due_ms, ticket)| Key::new(*due_ms, *ticket)).collect()
                })
                .collect();
            let total: usize = keys.iter().map(Vec::len).sum();
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let mut page = Page::new(limit);
                for (partition, keys) in (0..).zip(&keys) {
                    page.add(partition, found(keys, ask(after, partition, None, limit)));
                }
                prop_assert!(page.pending.len() <= limit);
                seen.extend(page.pending.iter().map(Listed::cursor));
                let Some(next) = page.next else { break };
                after = Some(Cursor::try_from(next).unwrap());
            }
            prop_assert!(seen.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(seen.len(), total);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "1", "1:2", "1:2:x", "a:2:3", "1:99999999999:3", "1:2:3:4"] {
            assert!(Cursor::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
