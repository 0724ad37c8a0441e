//! The caller's side of nacks: which copies a batch's nacks ask for.
//!
//! A connection's thread looks through the batch that it has judged, reads what the nacks mean
//! through the partition's view, and judges each failure, so that the shard gets copies that are
//! ready to be appended. A bounded part of them goes with the request's batches; what is more, and
//! what goes to a partition of another shard, is made before the batch is handed over, if its shard
//! would take that: it is asked for again, and known, if the nack does not get that far.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::copy::{NewCopy, Riding};
use super::failed::{Cause, Failed};
use super::outbox::{MOST_RIDING_BYTES, Outbox};
use super::place::{Wanted, is_named};
use super::reader::{Stretch, Unreadable};
use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::headers;
use crate::base::ids::TopicPartition;
use crate::base::role::RoleKind;
use crate::base::settings::RetrySettings;
use crate::catalog::{Catalog, Topic};
use crate::coord::group::roster::Known;
use crate::delay::command::{self, Command, Due, refused};
use crate::delay::copies::{Maker, Origin};
use crate::delay::decide::parse;
use crate::delay::nack::Nack;
use crate::log::validate::Judged;
use crate::log::validate::divert::What;
use crate::retry::policy::{self, Verdict, Wish};
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::shard::registry::Partition;
use crate::shard::tally::Refused;
use crate::wire::owned::OwnedRecord;
use crate::wire::records::Header;

/// Bytes of the log that are read at a time, but for a batch that is larger.
const READ_BYTES: u64 = 128 << 10;
/// How long a topic may take to be made.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// What is needed to know what a nack asks for.
#[derive(Clone, Copy)]
pub struct Nacks<'a> {
    pub env: &'a Env,
    pub shards: &'a Shards,
    pub metadata: &'a Metadata,
    pub steward: &'a Steward,
    pub defaults: &'a Defaults,
}

/// What the batches of one request have taken of the room for copies.
#[derive(Default)]
pub struct Share {
    bytes: usize,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

/// A nack and its place in the batch.
struct Asked<'b> {
    index: i32,
    nack: Nack<'b>,
}

impl Nacks<'_> {
    /// Whether a batch has any.
    #[must_use]
    pub fn are_in(batch: &Judged) -> bool {
        let entries = batch.diverted.as_ref().map_or(&[][..], |diverted| &diverted.entries);
        entries.iter().any(|entry| entry.what == What::Nack)
    }

    /// The copies that go with a batch, and with it are made or not. Blocks on the disk, on what
    /// has to be made before, and on topics that have to be created.
    ///
    /// # Errors
    /// INVALID_RECORD for a nack that asks for what can't be; whatever else is retriable.
    pub fn copies(
        &self,
        share: &mut Share,
        partition: &Partition,
        judged: &Judged,
    ) -> Result<Riding, Refused> {
        let Some(diverted) = &judged.diverted else { return Ok(Riding::default()) };
        let now_ms = self.env.wall_ms();
        let mut asked = asked(partition, judged, now_ms)?;
        asked.sort_by_key(|asked| asked.nack.offset);
        let catalog = Arc::clone(&self.metadata.catalog());
        let topic = catalog.topic_by_id(partition.tp.topic_id);
        let topic = topic.ok_or_else(|| Fault::new(Code::UnknownTopicOrPartition))?;
        if let Some(first) = asked.first()
            && is_named(&catalog, self.defaults, topic)
        {
            let group = first.nack.group.as_bytes();
            let header = Header { key: headers::NACK_GROUP.as_bytes(), value: Some(group) };
            let why = "configs name the topic for dead letters, of which there are no retries";
            return Err(invalid(first.index, refused(header, why)));
        }
        for asked in &asked {
            self.check(partition, topic, asked)?;
        }
        let room = match &share.room {
            Some(room) => Arc::clone(room),
            None => Arc::clone(share.room.insert(Arc::new(self.room()?))),
        };
        let room_bytes = MOST_RIDING_BYTES.saturating_sub(share.bytes);
        let mut batch = Batch {
            nacks: *self,
            partition,
            topic,
            catalog: &catalog,
            now_ms,
            groups: Vec::new(),
            outbox: Outbox::new(self.shards, partition, diverted, room_bytes),
            fault: None,
        };
        batch.make(&asked)?;
        let (sets, bytes) = batch.outbox.into_riding()?;
        share.bytes += bytes;
        Ok(Riding { sets, room: Some(room) })
    }

    fn check(
        &self,
        partition: &Partition,
        topic: &Topic,
        asked: &Asked<'_>,
    ) -> Result<(), Refused> {
        let Nack { group, offset, .. } = asked.nack;
        let refuse = |name, value: &str, why: &dyn std::fmt::Display| {
            let header = Header { key: str::as_bytes(name), value: Some(value.as_bytes()) };
            Err(invalid(asked.index, refused(header, why)))
        };
        if let Some(role) = &topic.role
            && role.retries_of().is_none_or(|retried| **retried != *group)
        {
            let why = format!("the topic holds {role}; it takes no nack of this group");
            return refuse(headers::NACK_GROUP, group, &why);
        }
        match self.steward.knows(group) {
            Known::Yes => {}
            Known::No => {
                let why = "no such group is known: it has neither members nor committed offsets";
                return refuse(headers::NACK_GROUP, group, &why);
            }
            Known::Loading => {
                let why = "the groups are not loaded yet; to be sent again";
                return Err(Fault::with(Code::KafkaStorageError, why).into());
            }
        }
        let visible_end = partition.view.high_watermark();
        if offset >= visible_end {
            let why = format!("the partition's visible end is {visible_end}");
            return refuse(headers::NACK_OFFSET, &offset.to_string(), &why);
        }
        Ok(())
    }
}

impl Nacks<'_> {
    /// Evenly from -1 to 1.
    fn dice(&self) -> f64 {
        // 53 bits are all that the type holds.
        let evenly = (self.env.random_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        evenly.mul_add(2.0, -1.0)
    }

    /// Waits for a share of the room for copies.
    fn room(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let room = Arc::clone(self.shards.riding());
        if let Ok(share) = Arc::clone(&room).try_acquire_owned() {
            return Ok(share);
        }
        let share =
            Handle::current().block_on(async { timeout(MOST_WAIT, room.acquire_owned()).await });
        let too_many = || Fault::with(Code::KafkaStorageError, "too many failures at a time");
        share.ok().and_then(Result::ok).ok_or_else(too_many)
    }

    fn ensure(&self, wanted: &Wanted) -> Result<Arc<Topic>, Fault> {
        let ensured = wanted.ensure(self.env, self.metadata, self.steward);
        let ensured = Handle::current().block_on(async { timeout(MOST_WAIT, ensured).await });
        ensured.unwrap_or_else(|_| Err(Code::RequestTimedOut.into())).map_err(again)
    }
}

/// As a producer is told: nothing is stored, and it may come again.
fn again(fault: Fault) -> Fault {
    Fault::with(Code::KafkaStorageError, format!("a copy has no topic to go to: {fault}"))
}

/// The nacks of a batch, in order.
fn asked<'b>(
    partition: &Partition,
    judged: &'b Judged,
    now_ms: i64,
) -> Result<Vec<Asked<'b>>, Refused> {
    let Some(diverted) = &judged.diverted else { return Ok(Vec::new()) };
    let rules = partition.rules.load();
    let nacks = diverted.entries.iter().filter(|entry| entry.what == What::Nack);
    let read = |entry| {
        let record = parse(diverted.record(entry)).map_err(|error| error.to_string())?;
        match command::read(&record, &rules.delay, now_ms)? {
            Some(Command::Nack(nack)) => Ok(nack),
            _ => Err("it was a nack when it was judged".to_owned()),
        }
    };
    nacks
        .map(|entry| match read(entry) {
            Ok(nack) => Ok(Asked { index: entry.delta, nack }),
            Err(message) => Err(invalid(entry.delta, message)),
        })
        .collect()
}

fn invalid(index: i32, message: String) -> Refused {
    let fault = Fault::with(Code::InvalidRecord, format!("record {index}: {message}"));
    Refused { records: vec![(index, message)], ..Refused::from(fault) }
}

/// A batch whose copies are made.
struct Batch<'a> {
    nacks: Nacks<'a>,
    partition: &'a Partition,
    topic: &'a Topic,
    catalog: &'a Catalog,
    now_ms: i64,
    groups: Vec<Group>,
    outbox: Outbox<'a>,
    /// The first: nothing is made after it.
    fault: Option<Refused>,
}

/// What all nacks of a group have in common.
struct Group {
    name: Arc<str>,
    settings: RetrySettings,
    /// Once a copy has gone there.
    retries: Option<TopicPartition>,
    dead_letters: Option<TopicPartition>,
}

impl Batch<'_> {
    /// Makes the copies of nacks that are sorted by offset; each stretch of the log is read once.
    fn make(&mut self, asked: &[Asked<'_>]) -> Result<(), Refused> {
        let mut left = asked;
        while let (Some(first), None) = (left.first(), &self.fault) {
            let stretch = self.read(first.nack.offset)?;
            let read = stretch.for_each(|placed| {
                left = self.gone(left, placed.offset);
                let is_meant = |asked: &Asked<'_>| asked.nack.offset == placed.offset;
                while let Some((asked, others)) = left.split_first().filter(|(a, _)| is_meant(a)) {
                    let record = OwnedRecord::of(placed.record, placed.timestamp_ms);
                    self.one(asked, Some(record));
                    left = others;
                }
            });
            read.map_err(|error| unreadable(&error))?;
            left = self.gone(left, stretch.next_offset().unwrap_or(i64::MAX));
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    fn read(&self, from: i64) -> Result<Stretch, Fault> {
        let most_inflated = self.nacks.defaults.max_decompressed_bytes;
        let view = &self.partition.view;
        Stretch::read(view, from, None, READ_BYTES, most_inflated)
            .map_err(|error| unreadable(&error))
    }

    /// Passes nacks below an offset: what they mean is in the log no more.
    fn gone<'n, 'b>(&mut self, asked: &'n [Asked<'b>], below: i64) -> &'n [Asked<'b>] {
        let passed = asked.partition_point(|asked| asked.nack.offset < below);
        let (gone, left) = asked.split_at(passed);
        gone.iter().for_each(|asked| self.one(asked, None));
        left
    }

    fn one(&mut self, asked: &Asked<'_>, record: Option<OwnedRecord>) {
        if self.fault.is_none() {
            self.fault = self.copy(&asked.nack, record).err();
        }
    }

    fn copy(&mut self, nack: &Nack<'_>, record: Option<OwnedRecord>) -> Result<(), Refused> {
        let (tp, now_ms) = (self.partition.tp, self.now_ms);
        let mut failed = Failed::at(self.topic, tp.partition, nack.offset, record);
        failed.override_headers(nack.rules.iter());
        let group = self.group(nack.group);
        let Group { name, settings, .. } = &self.groups[group];
        let wish = Wish { delay_ms: nack.delay_ms, dead: nack.dead };
        let verdict = match failed.hopeless() {
            Some(reason) => Verdict::Dead(reason),
            None => {
                let dice = self.nacks.dice();
                policy::verdict(settings, &failed.own_rules(), wish, failed.attempts(), dice)
            }
        };
        let origin = Origin { maker: Maker::Nack(Arc::clone(name)), tp, offset: nack.offset };
        let (kind, copy) = match verdict {
            Verdict::Retry { after_ms, attempt } => {
                let record = failed.into_retry(attempt, now_ms);
                let due = Due::After(after_ms);
                (RoleKind::Retry, NewCopy { origin, due, plain: false, record })
            }
            Verdict::Dead(reason) => {
                let cause = Cause {
                    reason,
                    group: Some(nack.group),
                    message: nack.reason,
                    exception_class: nack.error,
                    deliveries: 1,
                    now_ms,
                };
                let record = failed.into_letter(&cause, settings.dead_letter_has_record);
                (RoleKind::Dlq, NewCopy { origin, due: Due::After(0), plain: true, record })
            }
        };
        let (dest, also) = self.destination(group, kind)?;
        self.outbox.push(dest, also, copy)
    }

    /// The number of a group, which has one from its first nack on.
    fn group(&mut self, name: &str) -> usize {
        if let Some(known) = self.groups.iter().position(|group| *group.name == *name) {
            return known;
        }
        let settings = self.nacks.defaults.retries(self.catalog, name);
        self.groups.push(Group { name: name.into(), settings, retries: None, dead_letters: None });
        self.groups.len() - 1
    }

    /// Where a copy goes, and where else one would be as good.
    fn destination(
        &mut self,
        group: usize,
        kind: RoleKind,
    ) -> Result<(TopicPartition, Option<TopicPartition>), Fault> {
        let other = match kind {
            RoleKind::Retry => RoleKind::Dlq,
            RoleKind::Dlq => RoleKind::Retry,
        };
        let dest = self.place(group, kind)?;
        Ok((dest, self.known_place(group, other)))
    }

    fn place(&mut self, group: usize, kind: RoleKind) -> Result<TopicPartition, Fault> {
        if let Some(known) = self.known_place(group, kind) {
            return Ok(known);
        }
        let topic = self.nacks.ensure(&self.wanted(group, kind))?;
        Ok(self.partition_of(&topic))
    }

    fn known_place(&mut self, group: usize, kind: RoleKind) -> Option<TopicPartition> {
        let cached = |group: &Group| match kind {
            RoleKind::Retry => group.retries,
            RoleKind::Dlq => group.dead_letters,
        };
        if let Some(known) = cached(&self.groups[group]) {
            return Some(known);
        }
        let catalog = self.nacks.metadata.catalog();
        let place = self.partition_of(self.wanted(group, kind).find(&catalog)?);
        let group = &mut self.groups[group];
        match kind {
            RoleKind::Retry => group.retries = Some(place),
            RoleKind::Dlq => group.dead_letters = Some(place),
        }
        Some(place)
    }

    fn wanted(&self, group: usize, kind: RoleKind) -> Wanted {
        let Group { name, settings, .. } = &self.groups[group];
        Wanted::of(kind, Some(name), settings, self.topic)
    }

    /// Copies keep their partition where the topic has as many as the source.
    fn partition_of(&self, topic: &Topic) -> TopicPartition {
        TopicPartition::new(topic.id, self.partition.tp.partition % topic.partitions)
    }
}

fn unreadable(error: &Unreadable) -> Fault {
    Fault::with(Code::KafkaStorageError, error.to_string())
}
