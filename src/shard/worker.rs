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

use rustc_hash::FxHashMap;

use super::append::AppendSet;
use super::committer::{CommitterHandle, Completion, Submission};
use super::control::Control;
use super::coordinator::{Ask, Host, Hosting};
use super::delay::{Delay, DelayHost, DelayShared};
use super::failed::Failed;
use super::hosting::Hints;
use super::landing::Landing;
use super::mailbox::Mailbox;
use super::own::OwnLogs;
use super::registry::{Partition, Registry};
use super::retry::copy::CopyAsk;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::metrics::Metrics;
use crate::base::settings::Durability;
use crate::coord::group::{GROUPS_TOPIC, Groups};
use crate::delay::copies::Maker;
use crate::log::cache::LogStore;
use crate::log::commit::CommitError;
use crate::log::error::LogError;
use crate::log::partition::PartitionLog;

/// What a shard is asked.
pub enum Message {
    Append(AppendSet),
    Coordinate(Box<Ask<Groups>>),
    Copies(Box<CopyAsk>),
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
    pub delay: Arc<DelayShared>,
}

pub(super) struct Hosted {
    pub(super) log: PartitionLog,
    pub(super) partition: Arc<Partition>,
    /// Log or journal was appended to, opened or trimmed since the last checkpoint.
    pub(super) changed: bool,
    /// From the first delayed record on.
    pub(super) delay: Option<Box<Delay>>,
}

/// How long a shard waits for the committer before it looks for a checkpoint's question.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// The owner of some partitions.
pub struct Shard {
    pub(super) mailbox: Arc<Mailbox<Message>>,
    pub(super) index: usize,
    pub(super) deps: ShardDeps,
    pub(super) hosted: FxHashMap<TopicPartition, Hosted>,
    /// Partitions that are no longer hosted, for the next checkpoint.
    pub(super) removed: Vec<TopicPartition>,
    pub(super) committer: Option<CommitterHandle<Landing>>,
    /// Batches of this round, on their way to the committer.
    pub(super) round: Vec<Submission<Landing>>,
    /// The group coordinators of its partitions of the offsets topic.
    pub(super) groups: Option<Host<Groups>>,
    pub(super) delays: DelayHost,
    pub(super) next_retention: Duration,
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
        let mailbox = Arc::default();
        Self {
            delays: DelayHost::new(&mailbox),
            mailbox,
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
        self.delays.landed();
        for message in messages.drain(..) {
            match message {
                Message::Append(set) => self.append_all(set),
                Message::Coordinate(ask) => {
                    self.with_groups(|groups, logs| groups.handle(*ask, logs));
                }
                Message::Copies(ask) => self.do_copies(*ask),
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
        self.release_due();
        self.submit_round();
        self.seal_due();
        self.housekeep();
    }

    pub(super) fn with_groups(&mut self, act: impl FnOnce(&mut Host<Groups>, &mut OwnLogs<'_>)) {
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

    fn control(&mut self, control: Control) {
        // A receiver that is gone has lost interest; the work counts all the same.
        match control {
            Control::Open(opening, done) => {
                let opened = self.open_existing(&opening, Hints::default());
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
            Control::Delays(tp, ask, done) => self.answer_delays(tp, &ask, done),
            Control::Compactable(done) => {
                let _ = done.send(self.compactable());
            }
            Control::Replace(tp, replacement, done) => {
                let _ = done.send(self.replace(tp, &replacement));
            }
            Control::Sealed(done) => self.sealed(*done),
            Control::CancelElsewhere(tp, errand) => self.cancel_from_elsewhere(tp, errand),
            Control::WouldAccept(tp, batch, done) => {
                let _ = done.send(self.would_accept(tp, batch));
            }
            Control::Buried(tp, tickets, done) => self.buried(tp, &tickets, done),
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

    /// How long the shard may wait for a message.
    fn until_due(&self) -> Duration {
        let wake_at = self.groups.as_ref().and_then(Host::wake_at).unwrap_or(Duration::MAX);
        let wait = wake_at.min(self.next_retention).saturating_sub(self.deps.env.monotonic());
        match self.delays.next_due_ms() {
            Some(due_ms) => wait.min(self.deps.delay.until(due_ms)),
            None => wait,
        }
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
            if let Some(delay) = &mut hosted.delay {
                delay.trim_copies(|maker, source| copied_from(&self.deps.registry, maker, source));
            }
            match hosted.log.retain(now_ms) {
                Ok(deleted) => hosted.changed |= !deleted.is_empty(),
                Err(error) => report(&hosted.partition, &error, "retention has to wait"),
            }
            if let Some(delay) = &mut hosted.delay {
                delay.journal_retain(now_ms);
            }
        }
    }
}

/// The offset below which no copy of a source's record is asked for again.
fn copied_from(registry: &Registry, maker: &Maker, source: TopicPartition) -> Option<i64> {
    let Some(source) = registry.get(source) else {
        return registry.is_gone(source.topic_id).then_some(i64::MAX);
    };
    match maker {
        // What is in runs may be older than the journal's start.
        Maker::Expired => None,
        Maker::Nack(_) | Maker::Redrive(_) => Some(source.view.log_start()),
    }
}

pub(super) fn report(partition: &Partition, error: &io::Error, what: &str) {
    let (topic, index) = (&partition.topic_name, partition.tp.partition);
    tracing::warn!(topic, partition = index, %error, "{what}");
}

fn storage_fault(error: &LogError) -> Fault {
    Fault::with(Code::KafkaStorageError, error.to_string())
}
