//! Committed offsets: commit, fetch, deletion, expiry.
//!
//! Offsets belong to a group of any kind; `rules` asks the kind what it allows. A group of which
//! no offset and no member is left is forgotten at once. Offsets that a transaction has not yet
//! committed would stand beside [`Offsets::by_topic`], by producer, until its marker comes.

mod command;
mod expiry;
mod retries;
mod room;
mod rules;
pub mod stuck;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::{OffsetRecord, OffsetValue, Record};
use super::{Cx, GroupMap, Kind, Timer};
use crate::base::fault::Code;
use crate::base::ids::{TopicPartition, Uuid};
use crate::coord::cluster::TopicInfo;
use crate::coord::machine::Caller;

pub use command::{
    ByTopic, Command, Commit, CommitPartition, Committed, Delete, Fetch, Fetched, Listed, Move,
    Moved, MovedBack, MovesBack, Outcome, Reply,
};
pub use expiry::expire;
use room::Room;
use stuck::Beginnings;

/// The committed offsets of a group.
#[derive(Debug, Default)]
pub struct Offsets {
    /// No topic is here without a partition.
    by_topic: BTreeMap<Arc<str>, BTreeMap<i32, OffsetValue>>,
    beginnings: Beginnings,
}

impl Offsets {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.by_topic.get(topic)?.get(&partition)
    }

    /// By topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &OffsetValue)> {
        let of_topic = |(topic, partitions)| {
            let partitions: &BTreeMap<i32, OffsetValue> = partitions;
            partitions.iter().map(move |(partition, value)| (topic, *partition, value))
        };
        self.by_topic.iter().flat_map(of_topic)
    }

    /// What the group's generations began with.
    #[must_use]
    pub const fn beginnings(&self) -> &Beginnings {
        &self.beginnings
    }

    fn set(&mut self, topic: Arc<str>, partition: i32, value: OffsetValue) {
        self.beginnings.moved(&topic, partition, Some(value.offset));
        self.by_topic.entry(topic).or_default().insert(partition, value);
    }

    fn remove(&mut self, topic: &Arc<str>, partition: i32) {
        self.beginnings.moved(topic, partition, None);
        if let Some(partitions) = self.by_topic.get_mut(&**topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.by_topic.remove(&**topic);
            }
        }
    }
}

/// Decides a command.
pub fn handle(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, command: Command) {
    let reply = match command {
        Command::Commit(request) => commit(groups, cx, request),
        Command::Fetch(request) => {
            let found = fetch(groups, cx, &request);
            if let Ok(found) = &found {
                note_beginnings(groups, cx, &request.group, found);
            }
            Reply::Fetch(found)
        }
        Command::Move(request) => Reply::Move(move_on(groups, cx, request)),
        Command::Delete(request) => Reply::Delete(delete(groups, cx, request)),
        Command::DeleteGroup { group, dry_run } => {
            Reply::DeleteGroup(delete_group(groups, cx, &group, dry_run))
        }
        Command::TopicsDeleted(topics) => {
            forget_topics(groups, cx, &topics);
            Reply::TopicsDeleted
        }
        Command::List => Reply::List(list(groups)),
    };
    cx.effects.reply(caller, reply);
}

/// Partitions that do not exist are refused first and do not touch the group; the others stand or
/// fall together by what the group's kind says, and each by its metadata.
fn commit(groups: &mut GroupMap, cx: &mut Cx<'_>, request: Commit) -> Reply {
    let topics: Vec<_> =
        request.topics.iter().map(|(name, _)| cx.moment.cluster.topic(name)).collect();
    let mut known = Vec::new();
    for ((_, partitions), info) in request.topics.iter().zip(&topics) {
        let Some(info) = info else { continue };
        let numbers = partitions.iter().map(|p| p.partition);
        known.extend(numbers.filter(|n| exists(info, *n)).map(|n| (info.id, n)));
    }
    let admitted = if known.is_empty() { Ok(()) } else { admit(groups, cx, &request, &known) };
    let group = Arc::<str>::from(&*request.group);
    let expires_ms = request.retention_ms.map(|ms| cx.moment.wall_ms.saturating_add(ms));
    if admitted.is_ok() && !request.may_move_back {
        let moved_back = moved_back(groups, &request, &topics);
        if !moved_back.is_empty() {
            return Reply::MovesBack(Box::new(MovesBack { commit: request, moved_back }));
        }
    }
    let mut outcomes = Vec::with_capacity(request.topics.len());
    for ((topic, partitions), info) in request.topics.into_iter().zip(topics) {
        let mut done = Vec::with_capacity(partitions.len());
        for asked in partitions {
            let partition = asked.partition;
            let outcome = match &info {
                Some(info) if exists(info, partition) => {
                    admitted.and_then(|()| fits(cx, &asked.metadata)).map(|()| {
                        let value = OffsetValue {
                            offset: asked.offset,
                            // The record with an expiry has no room for these.
                            leader_epoch: if expires_ms.is_some() {
                                -1
                            } else {
                                asked.leader_epoch
                            },
                            topic_id: if expires_ms.is_some() { Uuid::nil() } else { info.id },
                            metadata: asked.metadata,
                            committed_ms: cx.moment.wall_ms,
                            expires_ms,
                        };
                        let (group, topic) = (Arc::clone(&group), Arc::clone(&topic));
                        let value = Some(value);
                        let record = OffsetRecord { group, topic, partition, value };
                        cx.store(groups, Record::Offset(record));
                    })
                }
                _ => Err(Code::UnknownTopicOrPartition),
            };
            done.push((partition, outcome));
        }
        outcomes.push((topic, done));
    }
    Reply::Commit(outcomes)
}

/// Where a commit takes the group back.
fn moved_back(groups: &GroupMap, request: &Commit, topics: &[Option<TopicInfo>]) -> Vec<MovedBack> {
    let Some(group) = groups.get(&request.group) else { return Vec::new() };
    let mut moved_back = Vec::new();
    for ((_, partitions), info) in request.topics.iter().zip(topics) {
        let Some(info) = info else { continue };
        let is_back = |asked: &&CommitPartition| {
            let committed = group.offsets.get(&info.name, asked.partition);
            let of_this =
                |value: &&OffsetValue| value.topic_id.is_nil() || value.topic_id == info.id;
            committed.filter(of_this).is_some_and(|value| asked.offset < value.offset)
        };
        moved_back.extend(partitions.iter().filter(is_back).map(|asked| MovedBack {
            tp: TopicPartition::new(info.id, asked.partition),
            offset: asked.offset,
        }));
    }
    moved_back
}

fn exists(topic: &TopicInfo, partition: i32) -> bool {
    (0..topic.partitions).contains(&partition)
}

/// Whether the group takes the commit. One that is not there yet is made by it, if the committer
/// does not claim to be a member. Each partition is stored with the group's id, so that a request
/// could ask for a multiple of its own size.
fn admit(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    request: &Commit,
    partitions: &[(Uuid, i32)],
) -> Result<(), Code> {
    let mut room = Room::default();
    let partitions_of = |(topic, of): &(Arc<str>, Vec<CommitPartition>)| {
        of.iter().all(|p| room.take(&request.group, topic, p.metadata.len()))
    };
    if !request.topics.iter().all(partitions_of) {
        return Err(Code::InvalidCommitOffsetSize);
    }
    match groups.get_mut(&request.group) {
        Some(group) => rules::check_commit(group, cx, request, partitions),
        None if request.generation < 0 => Ok(()),
        // The group's kind is not known; clients since v9 understand that of both.
        None if request.knows_epochs => Err(Code::GroupIdNotFound),
        None => Err(Code::IllegalGeneration),
    }
}

/// As Kafka does, `offset.metadata.max.bytes` counts UTF-16 units, which are never more than bytes.
fn fits(cx: &Cx<'_>, metadata: &str) -> Result<(), Code> {
    let most = cx.settings.offset_metadata_max_bytes;
    if metadata.len() <= most || metadata.encode_utf16().count() <= most {
        Ok(())
    } else {
        Err(Code::OffsetMetadataTooLarge)
    }
}

/// A group that is not there has no offsets, which is no error. A partition is told of once,
/// however often it is named: its metadata may be long.
fn fetch(groups: &GroupMap, cx: &Cx<'_>, request: &Fetch) -> Result<ByTopic<Fetched>, Code> {
    let group = groups.get(&request.group);
    if let Some(Kind::Consumer(consumer)) = group.map(|group| &group.kind) {
        consumer.check_fetch(request.member_id.as_deref(), request.member_epoch)?;
    }
    let offsets = group.map(|group| &group.offsets);
    let Some(topics) = &request.topics else {
        let mut found = offsets.map(|offsets| all(offsets, cx)).unwrap_or_default();
        retries::complete(&mut found, &request.group, cx);
        return Ok(found);
    };
    let mut named = BTreeSet::new();
    let of_topic = |(topic, partitions): &(Arc<str>, Vec<i32>)| {
        let is_gone = is_gone(cx, topic);
        let info = cx.moment.cluster.topic(topic);
        let once = partitions.iter().filter(|n| named.insert((Arc::clone(topic), **n)));
        let found = once.map(|partition| {
            let value = offsets.and_then(|offsets| offsets.get(topic, *partition));
            let mut found = fetched(*partition, value.filter(|value| !is_gone(value)));
            if found.committed.is_none() {
                found.committed = retries::given(info.as_ref(), &request.group, *partition);
            }
            found
        });
        (Arc::clone(topic), found.collect())
    };
    Ok(topics.iter().map(of_topic).collect())
}

/// Notes what a generation of a group with members begins with, where there is more to read.
fn note_beginnings(groups: &mut GroupMap, cx: &Cx<'_>, id: &str, found: &ByTopic<Fetched>) {
    let Some(group) = groups.get_mut(id) else { return };
    let Some(generation) = rules::generation(group) else { return };
    for (topic, partitions) in found {
        let Some(info) = cx.moment.cluster.topic(topic) else { continue };
        for fetched in partitions {
            let Some(Committed { offset, .. }) = fetched.committed else { continue };
            let end = cx.moment.cluster.visible_end(info.id, fetched.partition);
            if end.is_some_and(|end| offset < end) {
                let beginnings = &mut group.offsets.beginnings;
                beginnings.note(topic, fetched.partition, offset, generation, cx.moment.wall_ms);
            }
        }
    }
}

/// Moves a committed offset that is still where the operator saw it, of a group without members.
/// It may be one that the group never committed: the beginning of its retry topic.
fn move_on(groups: &mut GroupMap, cx: &mut Cx<'_>, request: Move) -> Result<Moved, Code> {
    let Move { group: id, topic, partition, from, to } = request;
    let group = groups.get(&id);
    let info = cx.moment.cluster.topic(&topic);
    let Some(info) = info.filter(|info| exists(info, partition)) else {
        return Ok(Moved::Elsewhere);
    };
    let value = group.and_then(|group| group.offsets.get(&topic, partition));
    let given = || retries::given(Some(&info), &id, partition).map(|given| given.offset);
    let offset = value.map(|value| value.offset).or_else(given);
    if offset.is_none() && group.is_none() {
        return Err(Code::GroupIdNotFound);
    }
    if offset != Some(from) {
        return Ok(Moved::Elsewhere);
    }
    if group.is_some_and(|group| !rules::is_empty(group)) {
        return Ok(Moved::NotYet);
    }
    let value = OffsetValue {
        offset: to,
        leader_epoch: -1,
        topic_id: info.id,
        metadata: "".into(),
        committed_ms: cx.moment.wall_ms,
        expires_ms: None,
    };
    let record = OffsetRecord { group: id.into(), topic, partition, value: Some(value) };
    cx.store(groups, Record::Offset(record));
    Ok(Moved::Done)
}

fn all(offsets: &Offsets, cx: &Cx<'_>) -> ByTopic<Fetched> {
    let of_topic = |(topic, partitions): (&Arc<str>, &BTreeMap<i32, OffsetValue>)| {
        let is_gone = is_gone(cx, topic);
        let there = partitions.iter().filter(|(_, value)| !is_gone(value));
        let found: Vec<_> = there.map(|(n, value)| fetched(*n, Some(value))).collect();
        (!found.is_empty()).then(|| (Arc::clone(topic), found))
    };
    offsets.by_topic.iter().filter_map(of_topic).collect()
}

/// Whether an offset was committed in a topic that is no more, though one of this name may be.
fn is_gone(cx: &Cx<'_>, topic: &str) -> impl Fn(&OffsetValue) -> bool + use<> {
    let lives = cx.moment.cluster.topic(topic).map(|topic| topic.id);
    move |value| !value.topic_id.is_nil() && Some(value.topic_id) != lives
}

fn fetched(partition: i32, value: Option<&OffsetValue>) -> Fetched {
    let committed = value.map(|value| Committed {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.clone(),
    });
    Fetched { partition, committed }
}

fn delete(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    request: Delete,
) -> Result<ByTopic<Outcome>, Code> {
    if request.group.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    let group = groups.get(&request.group).ok_or(Code::GroupIdNotFound)?;
    rules::check_delete(group)?;
    let reads = rules::reads(group);
    let id = Arc::clone(&group.id);
    let mut gone = BTreeSet::new();
    let mut outcomes = Vec::with_capacity(request.topics.len());
    for (topic, partitions) in request.topics {
        let info = cx.moment.cluster.topic(&topic);
        let read = reads.topic(&topic);
        let mut done = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let outcome = match &info {
                Some(info) if exists(info, partition) && read => Err(Code::GroupSubscribedToTopic),
                Some(info) if exists(info, partition) => Ok(()),
                _ => Err(Code::UnknownTopicOrPartition),
            };
            if outcome.is_ok() && group.offsets.get(&topic, partition).is_some() {
                gone.insert((Arc::clone(&topic), partition));
            }
            done.push((partition, outcome));
        }
        outcomes.push((topic, done));
    }
    if !request.dry_run {
        let gone = gone.iter().map(|(topic, partition)| tombstone(&id, topic, *partition));
        store_all(groups, cx, gone.collect());
    }
    Ok(outcomes)
}

/// Offsets go first, so that a log cut between the two never shows offsets without their group's
/// end. What is too much for one decision is left to the next try, which the code asks for.
fn delete_group(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    id: &str,
    dry_run: bool,
) -> Result<(), Code> {
    let group = groups.get(id).ok_or(Code::GroupIdNotFound)?;
    let mut end = rules::tombstones(group)?;
    if dry_run {
        return Ok(());
    }
    let mut room = Room::default();
    let offsets = group.offsets.iter().take_while(|(topic, ..)| room.take(id, topic, 0));
    let mut gone: Vec<_> = offsets.map(|(topic, n, _)| tombstone(&group.id, topic, n)).collect();
    let is_all = gone.len() == group.offsets.iter().count();
    if is_all {
        gone.append(&mut end);
    }
    store_all(groups, cx, gone);
    groups.prune(id);
    if is_all { Ok(()) } else { Err(Code::CoordinatorLoadInProgress) }
}

/// A topic of the same name that is created later begins without offsets. What is too much for one
/// decision is left to the sweep.
fn forget_topics(groups: &mut GroupMap, cx: &mut Cx<'_>, topics: &[TopicInfo]) {
    let mut gone = Vec::new();
    let mut room = Room::default();
    for group in groups.iter() {
        for topic in topics {
            let of_it = |id: Uuid| id.is_nil() || id == topic.id;
            let offsets = group.offsets.by_topic.get(&topic.name).into_iter().flatten();
            let offsets = offsets.filter(|(_, value)| of_it(value.topic_id));
            let offsets = offsets.take_while(|_| room.take(&group.id, &topic.name, 0));
            gone.extend(
                offsets.map(|(partition, _)| tombstone(&group.id, &topic.name, *partition)),
            );
        }
    }
    store_all(groups, cx, gone);
    if room.is_used_up() {
        cx.timers.set(Timer::ExpireOffsets, cx.moment.now);
    }
}

fn list(groups: &GroupMap) -> Vec<Listed> {
    let with_offsets = groups.iter().filter(|group| !group.offsets.is_empty());
    let listed = with_offsets.map(|group| {
        let of_topic = |(topic, partitions): (&Arc<str>, &BTreeMap<i32, OffsetValue>)| {
            let offsets = partitions.iter().map(|(partition, value)| (*partition, value.offset));
            (Arc::clone(topic), offsets.collect())
        };
        let topics = group.offsets.by_topic.iter().map(of_topic).collect();
        Listed { group: Arc::clone(&group.id), topics }
    });
    listed.collect()
}

fn tombstone(group: &Arc<str>, topic: &Arc<str>, partition: i32) -> Record {
    let (group, topic) = (Arc::clone(group), Arc::clone(topic));
    Record::Offset(OffsetRecord { group, topic, partition, value: None })
}

fn store_all(groups: &mut GroupMap, cx: &mut Cx<'_>, records: Vec<Record>) {
    for record in records {
        cx.store(groups, record);
    }
}

/// Takes in what is stored.
pub fn replay(groups: &mut GroupMap, record: OffsetRecord) {
    let OffsetRecord { group, topic, partition, value } = record;
    if let Some(value) = value {
        groups.entry(&group).offsets.set(topic, partition, value);
    } else if let Some(known) = groups.get_mut(&group) {
        known.offsets.remove(&topic, partition);
        groups.prune(&group);
    }
}

/// Sets the clock of expiry. Of deleted groups the log may still tell. What happened while nobody
/// listened can wait for it: offsets of a topic that was deleted meanwhile are not told of.
pub fn resume(groups: &mut GroupMap, cx: &mut Cx<'_>) {
    groups.prune_all();
    cx.timers.set(Timer::ExpireOffsets, cx.moment.now + cx.settings.offsets_retention_check);
}

/// Invariants.
///
/// # Errors
/// The one that does not hold.
pub fn check(groups: &GroupMap) -> Result<(), String> {
    for group in groups.iter() {
        if let Some((topic, _)) = group.offsets.by_topic.iter().find(|(_, p)| p.is_empty()) {
            return Err(format!("{}: {topic} stands without a partition", group.id));
        }
    }
    Ok(())
}
