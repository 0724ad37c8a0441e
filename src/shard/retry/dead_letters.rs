//! Dead letters as operators look at them: topics with their sums, and pages of records.
//!
//! Records are counted by the headers of their batches, once: what was counted is remembered for
//! as long as nothing is deleted below it. One look reads a bounded part; the next goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::reader::{Placed, Stretch, Unreadable};
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::role::{Role, RoleKind};
use crate::catalog::{Topic, is_internal};
use crate::retry::redrive::provenance::Provenance;
use crate::retry::redriven::Redriven;
use crate::retry::view::{DeadTopic, Letter, MOST_LISTED, Page, PageAsk, Refusal};
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::shard::registry::{Partition, Registry};

/// Bytes of batches that are read at once.
const READ_BYTES: u64 = 1 << 20;
/// Bytes that one look at counts may read.
const MOST_COUNTED_BYTES: usize = 256 << 20;
/// Bytes that one page may read; more are left to the next.
const MOST_SEARCHED_BYTES: usize = 64 << 20;
/// Bytes of keys, values and headers of one page.
const MOST_SHOWN_BYTES: usize = 4 << 20;
/// Bytes of a value that are shown.
const VALUE_SHOWN_BYTES: usize = 1 << 10;

/// What was counted of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// The log's start then.
    start: i64,
    /// The next offset to count.
    next: i64,
    records: u64,
    /// The first that waits, and its time.
    oldest: Option<(i64, i64)>,
    /// Nothing below waits.
    searched: i64,
}

/// The dead letters of this broker.
pub struct DeadLetters {
    metadata: Arc<Metadata>,
    registry: Arc<Registry>,
    redriven: Arc<RwLock<Redriven>>,
    counted: Mutex<FxHashMap<TopicPartition, Counted>>,
    defaults: Defaults,
}

impl DeadLetters {
    #[must_use]
    pub fn new(
        metadata: Arc<Metadata>,
        registry: Arc<Registry>,
        redriven: Arc<RwLock<Redriven>>,
        defaults: Defaults,
    ) -> Arc<Self> {
        let counted = Mutex::default();
        Arc::new(Self { metadata, registry, redriven, counted, defaults })
    }

    /// All dead-letter topics by name. Blocks on the disk.
    #[must_use]
    pub fn list(&self) -> Vec<DeadTopic> {
        let topics = self.topics();
        let served = |topic: &Topic| self.partitions(topic.id, topic.partitions);
        let all: Vec<_> = topics.iter().flat_map(|(topic, _)| served(topic)).collect();
        let known: rustc_hash::FxHashSet<_> = all.iter().map(|partition| partition.tp).collect();
        self.counted.lock().retain(|tp, _| known.contains(tp));
        let mut room = MOST_COUNTED_BYTES;
        topics
            .into_iter()
            .map(|(topic, role)| self.summary(&topic, role.as_deref(), &mut room))
            .collect()
    }

    /// Topics with the role, and those that configs name for dead letters of several topics.
    fn topics(&self) -> Vec<(Arc<Topic>, Option<Arc<Role>>)> {
        let catalog = self.metadata.catalog();
        // No group is called nothing: what all groups have that say nothing themselves.
        let groups = catalog.configured_groups().chain([""]);
        let named =
            groups.filter_map(|group| self.defaults.retries(&catalog, group).dead_letter_topic);
        let named: BTreeSet<String> = named.collect();
        let dead = |topic: &Arc<Topic>| {
            let role = topic.role.clone().filter(|role| role.kind == RoleKind::Dlq);
            let is_meant = role.is_some() || named.contains(&*topic.name);
            is_meant.then(|| (Arc::clone(topic), role))
        };
        catalog.topics().filter_map(dead).collect()
    }

    fn partitions(&self, topic: Uuid, count: i32) -> Vec<Arc<Partition>> {
        let served = |n| self.registry.get(TopicPartition::new(topic, n));
        (0..count).filter_map(served).collect()
    }

    fn summary(&self, topic: &Topic, role: Option<&Role>, room: &mut usize) -> DeadTopic {
        let (mut records, mut redriven) = (Some(0), 0);
        let (mut bytes, mut oldest_ms) = (0, None);
        for partition in self.partitions(topic.id, topic.partitions) {
            let counted = self.count(&partition, room);
            bytes += partition.view.size_bytes();
            redriven += self.redriven.read().count_from(partition.tp, counted.start);
            oldest_ms = oldest_ms.into_iter().chain(counted.oldest.map(|(_, ms)| ms)).min();
            let is_all = counted.next >= partition.view.high_watermark();
            records = records.filter(|_| is_all).map(|sum| sum + counted.records);
        }
        let retry = role.filter(|role| role.group.is_some()).and_then(|role| {
            let retry = Role { kind: RoleKind::Retry, ..role.clone() };
            self.metadata.catalog().of_role(&retry).map(|topic| topic.name.to_string())
        });
        DeadTopic {
            topic: topic.name.to_string(),
            group: role.and_then(|role| role.group.as_deref()).map(str::to_owned),
            source: role.map(|role| role.source_name.to_string()),
            retry_topic: retry,
            partitions: topic.partitions,
            records,
            waiting: records.map(|records: u64| records.saturating_sub(redriven)),
            bytes,
            oldest_ms,
        }
    }

    /// Goes on counting where the last look ended, as far as there is room. What can't be read is
    /// counted as far as that goes.
    fn count(&self, partition: &Partition, room: &mut usize) -> Counted {
        let view = &partition.view;
        let start = view.log_start();
        let known = self.counted.lock().get(&partition.tp).copied();
        let fresh = Counted { start, next: start, searched: start, ..Counted::default() };
        let mut counted = known.filter(|known| known.start == start).unwrap_or(fresh);
        let end = view.high_watermark();
        while counted.next < end && *room > 0 {
            let Ok(stretch) = Stretch::read(view, counted.next, None, READ_BYTES, 0) else { break };
            for (header, batch) in stretch.batches() {
                *room = room.saturating_sub(batch.len());
                counted.records += u64::from(header.record_count.unsigned_abs());
            }
            counted.next = stretch.next_offset().unwrap_or(end).max(counted.next + 1);
        }
        self.find_oldest(partition, &mut counted, room);
        self.counted.lock().insert(partition.tp, counted);
        counted
    }

    /// Looks for the first record that was not put back, from the one on that was the first.
    fn find_oldest(&self, partition: &Partition, counted: &mut Counted, room: &mut usize) {
        let (tp, view) = (partition.tp, &partition.view);
        let waits = |offset: i64| !self.redriven.read().contains(tp, offset);
        if counted.oldest.is_some_and(|(offset, _)| waits(offset)) {
            return;
        }
        counted.oldest = None;
        while counted.searched < view.high_watermark() && *room > 0 && counted.oldest.is_none() {
            let most = self.defaults.max_decompressed_bytes;
            let read = Stretch::read(view, counted.searched, None, READ_BYTES, most);
            let Ok(stretch) = read else { break };
            let look = stretch.for_each(|placed| {
                if counted.oldest.is_none() && waits(placed.offset) {
                    counted.oldest = Some((placed.offset, placed.timestamp_ms));
                }
            });
            *room = room.saturating_sub(stretch.size_bytes());
            let next = stretch.next_offset().unwrap_or(counted.searched).max(counted.searched + 1);
            counted.searched = counted.oldest.map_or(next, |(offset, _)| offset);
            if look.is_err() {
                break;
            }
        }
    }

    /// A page of any topic's records, read as dead letters. Blocks on the disk.
    ///
    /// # Errors
    /// If there is no such topic, or it can't be read.
    pub fn page(&self, topic: &str, ask: &PageAsk) -> Result<Page, Refusal> {
        let found = self.metadata.catalog().topic(topic).filter(|_| !is_internal(topic)).cloned();
        let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no topic {topic}")))?;
        let mut search = Search::new(ask, &self.redriven);
        for partition in self.partitions(found.id, found.partitions) {
            let searched = search.partition(&partition, self.defaults.max_decompressed_bytes);
            searched.map_err(|error| {
                Refusal::Unavailable(format!("{topic}-{}: {error}", partition.tp.partition))
            })?;
            if search.is_over() {
                break;
            }
        }
        Ok(search.page)
    }
}

/// A page as it fills.
struct Search<'a> {
    ask: &'a PageAsk,
    redriven: &'a RwLock<Redriven>,
    page: Page,
    searched_bytes: usize,
    shown_bytes: usize,
}

impl<'a> Search<'a> {
    fn new(ask: &'a PageAsk, redriven: &'a RwLock<Redriven>) -> Self {
        Self { ask, redriven, page: Page::default(), searched_bytes: 0, shown_bytes: 0 }
    }

    fn is_over(&self) -> bool {
        self.page.next.is_some()
    }

    fn partition(&mut self, partition: &Partition, most_bytes: usize) -> Result<(), Unreadable> {
        let (tp, view) = (partition.tp, &partition.view);
        let number = tp.partition;
        let start = match self.ask.after {
            Some((after, _)) if number < after => return Ok(()),
            Some((after, offset)) if number == after => offset.saturating_add(1),
            _ => 0,
        };
        let start = start.max(view.log_start());
        let stretch = self.ask.filter.stretch(number, start, view.high_watermark());
        let Some((mut next, end)) = stretch else { return Ok(()) };
        let mut hint = None;
        while next < end && !self.is_over() {
            if self.searched_bytes >= MOST_SEARCHED_BYTES {
                self.page.next = Some(cursor(number, next - 1));
                break;
            }
            let stretch = Stretch::read(view, next, hint, READ_BYTES, most_bytes)?;
            hint = stretch.hint();
            self.searched_bytes += stretch.size_bytes();
            stretch.for_each(|placed| {
                if placed.offset < end {
                    self.take(tp, &placed);
                }
            })?;
            next = stretch.next_offset().unwrap_or(end).max(next + 1);
        }
        Ok(())
    }

    fn take(&mut self, tp: TopicPartition, placed: &Placed<'_>) {
        let Placed { offset, timestamp_ms, record } = *placed;
        let provenance = Provenance::of(record.headers.iter());
        if self.is_over() || !self.ask.filter.matches(offset, timestamp_ms, record, &provenance) {
            return;
        }
        let limit = self.ask.limit.min(MOST_LISTED);
        let is_full = self.page.records.len() >= limit || self.shown_bytes >= MOST_SHOWN_BYTES;
        if is_full {
            let last = self.page.records.last().expect("a full page has records");
            self.page.next = Some(cursor(last.partition, last.offset));
            return;
        }
        let is_redriven = self.redriven.read().contains(tp, offset);
        let letter = shown(tp.partition, placed, &provenance, is_redriven);
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let headers = letter.headers.iter().map(|(name, value)| name.len() + text(value));
        self.shown_bytes +=
            text(&letter.key) + text(&letter.value) + headers.sum::<usize>() + size_of::<Letter>();
        self.page.records.push(letter);
    }
}

fn cursor(partition: i32, offset: i64) -> String {
    format!("{partition}:{offset}")
}

fn shown(
    partition: i32,
    placed: &Placed<'_>,
    provenance: &Provenance<'_>,
    redriven: bool,
) -> Letter {
    let record = placed.record;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let begun = |value: &[u8]| text(&value[..value.len().min(VALUE_SHOWN_BYTES)]);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Letter {
        partition,
        offset: placed.offset,
        timestamp_ms: placed.timestamp_ms,
        origin_topic: owned(provenance.topic),
        origin_partition: provenance.partition,
        origin_offset: provenance.offset,
        group: owned(provenance.group),
        reason: owned(provenance.reason),
        message: owned(provenance.message),
        delivery_count: provenance.delivery_count,
        redrive_count: provenance.redrive_count,
        redriven,
        key: record.key.map(text),
        value: record.value.map(begun),
        value_bytes: record.value.map(<[u8]>::len),
        headers: record.headers.iter().map(|h| (text(h.key), h.value.map(text))).collect(),
    }
}
