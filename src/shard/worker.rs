//! One shard: the only owner of its partitions' logs, stepped by its thread.
//!
//! A round is: take everything from the mailbox, append it all, let the coordinators decide what
//! is due, hand the round's batches to the committer. File calls may block here, because nobody but this shard's own partitions waits
//! for them, and no lock is held meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::smallvec;

use super::append::{Acks, Append, AppendSet};
use super::checkpointer::Collected;
use super::committer::{CommitterHandle, Completion, Submission, Submitted};
use super::control::{Compactable, Control, Opening};
use super::coordinator::{Ask, Host, Hosting};
use super::failed::Failed;
use super::landing::{Landing, Parked};
use super::mailbox::Mailbox;
use super::own::OwnLogs;
use super::registry::{Partition, Registry};
use super::tally::{Accepted, Ack, AppendResult, Refused};
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::metrics::Metrics;
use crate::base::settings::Durability;
use crate::coord::group::{GROUPS_TOPIC, Groups};
use crate::log::cache::LogStore;
use crate::log::commit::{CommitError, ReplayedRow, Row};
use crate::log::compact::swap::Replacement;
use crate::log::dir::{self, Identity};
use crate::log::error::{AppendError, LogError, ReplayError};
use crate::log::partition::{Appended, PartitionLog, Replayed};
use crate::log::recover::{OpenHint, RecoveryReport};
use crate::log::validate::ValidBatch;

/// What a shard is asked.
pub enum Message {
    Append(AppendSet),
    Coordinate(Box<Ask<Groups>>),
    Control(Control),
}

/// What every shard works with.
#[derive(Clone)]
pub struct ShardDeps {
    pub env: Env,
    pub metrics: Arc<Metrics>,
    pub store: LogStore,
    pub data_dir: PathBuf,
    pub registry: Arc<Registry>,
    pub durability: Durability,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// From this size on a batch may be made durable in its segment instead of in the commit log.
    pub bulk_bytes: usize,
    pub failed: Failed,
}

pub(super) struct Hosted {
    pub(super) log: PartitionLog,
    pub(super) partition: Arc<Partition>,
    /// Appended to, opened or trimmed since the last checkpoint.
    pub(super) changed: bool,
}

/// How long a shard waits for the committer before it looks for a checkpoint's question.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// The owner of some partitions.
pub struct Shard {
    mailbox: Arc<Mailbox<Message>>,
    index: usize,
    deps: ShardDeps,
    hosted: FxHashMap<TopicPartition, Hosted>,
    /// Partitions that are no longer hosted, for the next checkpoint.
    removed: Vec<TopicPartition>,
    committer: Option<CommitterHandle<Landing>>,
    /// Batches of this round, on their way to the committer.
    round: Vec<Submission<Landing>>,
    /// The group coordinators of its partitions of the offsets topic.
    groups: Option<Host<Groups>>,
    next_retention: Duration,
}

/// Starts a shard's thread. It ends when the mailbox is closed and empty, and gives the shard
/// back to be closed.
pub(super) fn spawn(mut shard: Shard) -> JoinHandle<Shard> {
    let name = format!("shard-{}", shard.index);
    let mailbox = Arc::clone(&shard.mailbox);
    let run = move || {
        let mut messages = Vec::new();
        loop {
            let open = mailbox.drain(&mut messages, shard.until_due());
            if messages.is_empty() && !open {
                return shard;
            }
            shard.step(&mut messages);
        }
    };
    std::thread::Builder::new().name(name).spawn(run).expect("the system starts a thread")
}

impl Shard {
    #[must_use]
    pub fn new(index: usize, deps: ShardDeps) -> Self {
        let next_retention = deps.env.monotonic() + deps.retention_check_interval;
        Self {
            mailbox: Arc::default(),
            index,
            deps,
            hosted: FxHashMap::default(),
            removed: Vec::new(),
            committer: None,
            round: Vec::new(),
            groups: None,
            next_retention,
        }
    }

    /// Gives the shard its committer; before that only [`Durability::PageCache`] can append.
    pub fn commit_through(&mut self, committer: CommitterHandle<Landing>) {
        self.committer = Some(committer);
    }

    /// Makes the shard the coordinator of the groups of its partitions of the offsets topic, those
    /// that are open and those that will be.
    pub fn coordinate_groups(&mut self, hosting: Hosting<Groups>) {
        let mut groups = Host::new(hosting);
        let partitions = self.hosted.values().map(|hosted| &hosted.partition);
        for partition in partitions.filter(|partition| partition.topic_name == GROUPS_TOPIC) {
            groups.add(partition.tp);
        }
        self.groups = Some(groups);
    }

    /// Works off one round of messages, then what is due by the clock.
    pub fn step(&mut self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            match message {
                Message::Append(set) => self.append_all(set),
                Message::Coordinate(ask) => {
                    self.with_groups(|groups, logs| groups.handle(*ask, logs));
                }
                // What a control message sees or undoes must come after the batches before it.
                Message::Control(control) => {
                    self.with_groups(|groups, logs| groups.flush(logs));
                    self.submit_round();
                    self.control(control);
                }
            }
        }
        self.with_groups(|groups, logs| groups.round(logs));
        self.submit_round();
        self.housekeep();
    }

    fn with_groups(&mut self, act: impl FnOnce(&mut Host<Groups>, &mut OwnLogs<'_>)) {
        let Self { deps, hosted, round, groups, .. } = self;
        if let Some(groups) = groups {
            act(groups, &mut OwnLogs { deps, hosted, round });
        }
    }

    /// Hands the round over, waiting while the committer has too much. It may wait for room in
    /// the commit log, which a checkpoint makes, which asks this shard: so that question is
    /// answered meanwhile. It may be answered ahead of batches that are not appended yet.
    fn submit_round(&mut self) {
        let Some(committer) = self.committer.clone() else { return };
        if self.round.is_empty() {
            return;
        }
        if self.deps.failed.is_set() {
            let error = Arc::new(io::Error::other("the data directory has failed"));
            let error = CommitError::Failed(error);
            return self.round.drain(..).for_each(|one| one.completion.complete(Err(&error)));
        }
        while !committer.wait_for_room(ROOM_WAIT) {
            for message in self.mailbox.take_urgent() {
                if let Message::Control(control) = message {
                    self.control(control);
                }
            }
        }
        committer.submit(self.round.drain(..));
    }

    /// Where messages for this shard go.
    pub(super) fn mailbox(&self) -> &Arc<Mailbox<Message>> {
        &self.mailbox
    }

    fn append_all(&mut self, set: AppendSet) {
        for append in set.appends {
            let ack = Ack::new(Arc::clone(&set.tally), append.slot);
            self.append(append, set.acks, ack);
        }
    }

    fn append(&mut self, mut append: Append, acks: Acks, ack: Ack) {
        let Some(hosted) = self.hosted.get_mut(&append.partition) else {
            return ack.complete(Err(Fault::new(Code::NotLeaderOrFollower).into()));
        };
        let appended = match append_to(&self.deps, hosted, &mut append.batch) {
            Ok(appended) => appended,
            Err(error) => {
                let refused = Refused::from(Fault::from(error));
                return ack.complete(Err(refused.by_log(hosted.log.view().log_start())));
            }
        };
        let result: AppendResult = Ok(Accepted {
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
        });
        if !appended.duplicate {
            let header = append.batch.header();
            self.deps.metrics.produce_bytes.add(append.batch.size_bytes() as u64);
            self.deps.metrics.produce_records.add(u64::from(header.record_count.unsigned_abs()));
        }
        if self.deps.durability == Durability::PageCache {
            hosted.partition.view.advance(&appended.end);
            return ack.complete(result);
        }
        let parked = match acks {
            Acks::All => Parked::Produced(ack, result),
            Acks::Leader | Acks::None => {
                ack.complete(result);
                Parked::Nothing
            }
        };
        self.round.push(submission(&self.deps, hosted, &append.batch, appended, parked));
    }

    fn control(&mut self, control: Control) {
        // A receiver that is gone has lost interest; the work counts all the same.
        match control {
            Control::Open(opening, done) => {
                let opened = self.open_existing(&opening, OpenHint::default());
                let _ = done.send(opened.map(drop).map_err(|error| storage_fault(&error)));
            }
            Control::Remove(opening, done) => {
                let _ = done.send(self.remove(&opening));
            }
            Control::Configure(opening, done) => {
                self.configure(*opening);
                let _ = done.send(());
            }
            Control::DeleteRecords { tp, before_offset, done } => {
                let _ = done.send(self.delete_records(tp, before_offset));
            }
            Control::Producers(tp, done) => {
                let hosted = self.hosted.get(&tp);
                let _ = done.send(hosted.map(|h| h.log.producers().to_checkpoint()));
            }
            Control::Compactable(done) => {
                let _ = done.send(self.compactable());
            }
            Control::Replace(tp, replacement, done) => {
                let _ = done.send(self.replace(tp, &replacement));
            }
            Control::Checkpoint(done) => {
                let _ = done.send(self.checkpoint());
            }
            Control::Resign => self.with_groups(|groups, _| groups.close()),
            Control::Close(done) => {
                self.with_groups(|groups, _| groups.close());
                let _ = done.send(self.close());
            }
        }
    }

    /// Opens a partition's log, or begins an empty one, and serves it: readers and producers find
    /// it from now on.
    ///
    /// # Errors
    /// The partition is not served; no other is affected.
    pub fn open_existing(
        &mut self,
        opening: &Opening,
        hint: OpenHint,
    ) -> Result<RecoveryReport, LogError> {
        if self.hosted.contains_key(&opening.tp) {
            return Ok(RecoveryReport::default());
        }
        let (log, report) = PartitionLog::open(
            &self.deps.store,
            Identity::below(&self.deps.data_dir, &opening.topic_name, opening.tp),
            opening.settings.clone(),
            hint,
            opening.leader_epoch,
            self.deps.env.wall_ms(),
        )?;
        let partition = Arc::new(Partition {
            tp: opening.tp,
            topic_name: opening.topic_name.clone(),
            shard: self.index,
            view: Arc::clone(log.view()),
            rules: ArcSwap::from_pointee(opening.rules),
        });
        self.deps.registry.insert(Arc::clone(&partition));
        self.hosted.insert(opening.tp, Hosted { log, partition, changed: true });
        if opening.topic_name == GROUPS_TOPIC {
            self.with_groups(|groups, _| groups.add(opening.tp));
        }
        Ok(report)
    }

    /// Puts a row of the commit log back. `None` if its partition is not served, `false` if the
    /// row is there already.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn replay(&mut self, row: &ReplayedRow) -> Result<Option<bool>, ReplayError> {
        if let Some(batch) = &row.batch {
            return self.put_back(row.tp, batch);
        }
        // The batch was synced in its segment before its row was written.
        let Some(hosted) = self.hosted.get(&row.tp) else { return Ok(None) };
        let (log_end, base_offset) = (hosted.log.view().log_end(), row.base_offset);
        match base_offset < log_end {
            true => Ok(Some(false)),
            false => Err(ReplayError::Gap { log_end, base_offset }),
        }
    }

    /// As [`Shard::replay`], of a batch alone.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn put_back(
        &mut self,
        tp: TopicPartition,
        batch: &Bytes,
    ) -> Result<Option<bool>, ReplayError> {
        let now_ms = self.deps.env.wall_ms();
        let Some(hosted) = self.hosted.get_mut(&tp) else { return Ok(None) };
        hosted.changed = true;
        Ok(Some(hosted.log.append_replayed(batch, now_ms)? == Replayed::Appended))
    }

    /// Makes everything that recovery found visible, once it is durable.
    pub fn show_all(&self) {
        for hosted in self.hosted.values() {
            hosted.partition.view.advance(&hosted.log.end());
        }
    }

    fn remove(&mut self, opening: &Opening) -> io::Result<Option<PathBuf>> {
        if let Some(partition) = self.deps.registry.remove(opening.tp) {
            partition.view.close();
        }
        if self.hosted.remove(&opening.tp).is_some() {
            self.removed.push(opening.tp);
            self.with_groups(|groups, _| groups.remove(opening.tp));
        }
        let identity = Identity::below(&self.deps.data_dir, &opening.topic_name, opening.tp);
        dir::mark_deleted(self.deps.store.files(), &identity, self.deps.env.random_uuid())
    }

    fn configure(&mut self, opening: Opening) {
        let Some(hosted) = self.hosted.get_mut(&opening.tp) else { return };
        hosted.log.apply_settings(opening.settings);
        hosted.partition.rules.store(Arc::new(opening.rules));
    }

    fn delete_records(&mut self, tp: TopicPartition, before_offset: i64) -> Result<i64, Fault> {
        let hosted = self.hosted.get_mut(&tp).ok_or(Code::NotLeaderOrFollower)?;
        hosted.changed = true;
        hosted
            .log
            .delete_records(before_offset)
            .map_err(|error| Fault::with(Code::OffsetOutOfRange, error.to_string()))
    }

    fn compactable(&mut self) -> Vec<Compactable> {
        let now_ms = self.deps.env.wall_ms();
        let mut found = Vec::new();
        for hosted in self.hosted.values_mut().filter(|h| h.log.settings().cleanup_compact) {
            match hosted.log.roll_for_compaction(now_ms) {
                Ok(rolled) => hosted.changed |= rolled,
                Err(error) => report(&hosted.partition, &error, "compaction has to wait"),
            }
            found.push(Compactable {
                partition: Arc::clone(&hosted.partition),
                settings: hosted.log.settings().clone(),
            });
        }
        found
    }

    fn replace(&mut self, tp: TopicPartition, replacement: &Replacement) -> io::Result<bool> {
        let now_ms = self.deps.env.wall_ms();
        let Some(hosted) = self.hosted.get_mut(&tp) else { return Ok(false) };
        hosted.changed = true;
        hosted.log.replace(replacement, now_ms)
    }

    /// What changed since the last checkpoint.
    pub fn checkpoint(&mut self) -> Collected {
        let mut collected = Collected::default();
        collected.removed.append(&mut self.removed);
        for hosted in self.hosted.values_mut().filter(|hosted| hosted.changed) {
            match hosted.log.checkpoint() {
                Some((checkpoint, work)) => {
                    hosted.changed = false;
                    collected.changed.push(checkpoint);
                    collected.dirty.merge(work);
                }
                // Staged batches wait; what lies before them is synced all the same.
                None => collected.dirty.merge(hosted.log.take_sync_work()),
            }
        }
        collected
    }

    /// Ends writing to all logs and gives their last checkpoint.
    fn close(&mut self) -> Collected {
        let mut collected = Collected::default();
        collected.removed.append(&mut self.removed);
        for (_, hosted) in self.hosted.drain() {
            match hosted.log.close() {
                Ok((checkpoint, work)) => {
                    collected.changed.push(checkpoint);
                    collected.dirty.merge(work);
                }
                Err(error) => report(&hosted.partition, &error, "the log is not closed cleanly"),
            }
        }
        collected
    }

    /// How long the shard may wait for a message.
    fn until_due(&self) -> Duration {
        let wake_at = self.groups.as_ref().and_then(Host::wake_at).unwrap_or(Duration::MAX);
        wake_at.min(self.next_retention).saturating_sub(self.deps.env.monotonic())
    }

    /// Deletes what retention lets go, forgets old producers, rolls segments that are due.
    fn housekeep(&mut self) {
        let now = self.deps.env.monotonic();
        if now < self.next_retention {
            return;
        }
        self.next_retention = now + self.deps.retention_check_interval;
        let now_ms = self.deps.env.wall_ms();
        for hosted in self.hosted.values_mut() {
            match hosted.log.retain(now_ms) {
                Ok(deleted) => hosted.changed |= !deleted.is_empty(),
                Err(error) => report(&hosted.partition, &error, "retention has to wait"),
            }
        }
    }
}

/// Appends to a log's segment. A directory that has failed takes nothing more.
pub(super) fn append_to(
    deps: &ShardDeps,
    hosted: &mut Hosted,
    batch: &mut ValidBatch,
) -> Result<Appended, AppendError> {
    if deps.failed.is_set() {
        return Err(AppendError::Failed(io::Error::other("the data directory has failed")));
    }
    hosted.changed = true;
    let appended = hosted.log.append(batch, deps.env.wall_ms());
    if let Err(AppendError::Failed(error)) = &appended {
        let Partition { topic_name, tp, .. } = &*hosted.partition;
        deps.failed.set(&format!("writing to {topic_name}-{}: {error}", tp.partition));
    }
    appended
}

/// What makes a written batch durable. A retry brings no batch: its answer waits until everything
/// before it is durable, the first try included.
pub(super) fn submission(
    deps: &ShardDeps,
    hosted: &mut Hosted,
    batch: &ValidBatch,
    appended: Appended,
    parked: Parked,
) -> Submission<Landing> {
    let view = Arc::clone(&hosted.partition.view);
    let mut batches = smallvec![];
    if !appended.duplicate {
        let bulk = batch.size_bytes() >= deps.bulk_bytes;
        let segment = if bulk { hosted.log.syncable_segment() } else { Ok(None) };
        let segment = segment.unwrap_or_else(|error| {
            // A failed sync is final, whatever a later one says.
            deps.failed.set(&format!("syncing a new segment's name: {error}"));
            None
        });
        let row = Row {
            tp: hosted.partition.tp,
            header: *batch.header_bytes(),
            records: batch.records().clone(),
            in_segment: false,
        };
        batches.push(Submitted { row, segment });
    }
    Submission { batches, completion: Landing { view, end: appended.end, parked } }
}

fn report(partition: &Partition, error: &io::Error, what: &str) {
    let (topic, index) = (&partition.topic_name, partition.tp.partition);
    tracing::warn!(topic, partition = index, %error, "{what}");
}

fn storage_fault(error: &LogError) -> Fault {
    Fault::with(Code::KafkaStorageError, error.to_string())
}
