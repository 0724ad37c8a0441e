//! Rank 4: owner threads. Each shard owns its partitions' logs by value; connections reach it
//! through a mailbox and read through the shared views.
//!
//! Rejected: a task or a lock per partition (aesthetics: one sync per partition instead of one
//! per round, lock order rules, no value that a simulator can step).

pub mod append;
pub mod checkpointer;
pub mod cleaner;
pub mod committer;
pub mod control;
pub mod coordinator;
pub mod delay;
pub mod failed;
pub mod host;
pub mod hosting;
pub mod identity;
pub mod landing;
pub mod mailbox;
pub mod metadata;
pub mod metrics;
mod own;
mod produce;
pub mod producer_ids;
pub mod registry;
pub mod retry;
pub mod tally;
pub mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

use smallvec::SmallVec;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::coord::group;
use crate::delay::query;
use crate::log::validate::Diverted;
use append::AppendSet;
use control::Control;
use coordinator::Ask;
use delay::DelayShared;
use mailbox::Mailbox;
use registry::{Partition, Registry};
use tally::Refused;
use worker::{Message, Shard};

/// The handle on all shards.
pub struct Shards {
    mailboxes: Vec<Arc<Mailbox<Message>>>,
    registry: Arc<Registry>,
    delay: Arc<DelayShared>,
    /// One share for each request whose copies go with its batches.
    riding: Arc<Semaphore>,
}

/// Requests that copies may go with at the same time, each with a few MiB.
const MOST_RIDING: usize = 32;

impl Shards {
    /// Starts one thread per shard.
    #[must_use]
    pub fn start(
        shards: Vec<Shard>,
        registry: Arc<Registry>,
    ) -> (Arc<Self>, Vec<JoinHandle<Shard>>) {
        let delay = Arc::clone(&shards.first().expect("there is a shard").deps.delay);
        let mut mailboxes = Vec::with_capacity(shards.len());
        let mut threads = Vec::with_capacity(shards.len());
        for shard in shards {
            mailboxes.push(Arc::clone(shard.mailbox()));
            threads.push(worker::spawn(shard));
        }
        delay.connect(mailboxes.clone());
        let riding = Arc::new(Semaphore::new(MOST_RIDING));
        (Arc::new(Self { mailboxes, registry, delay, riding }), threads)
    }

    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What the shards share for delayed delivery.
    #[must_use]
    pub const fn delay(&self) -> &Arc<DelayShared> {
        &self.delay
    }

    /// The room for copies that go with batches.
    pub(crate) const fn riding(&self) -> &Arc<Semaphore> {
        &self.riding
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Hands a request's batches to the shards that own their partitions. Never waits: what is in
    /// the mailboxes is bounded by the bytes that the server admits.
    pub fn append(&self, set: AppendSet) {
        let owner = |tp| self.registry.get(tp).map(|p| p.shard);
        if let [only] = &set.appends[..] {
            let shard = owner(only.partition);
            return self.send_appends(shard, set);
        }
        let mut parts: SmallVec<[(Option<usize>, AppendSet); 4]> = SmallVec::new();
        for append in set.appends {
            let shard = owner(append.partition);
            match parts.iter_mut().find(|(s, _)| *s == shard) {
                Some((_, part)) => part.push(append),
                None => {
                    let mut part = AppendSet::new(Arc::clone(&set.tally), set.acks);
                    part.push(append);
                    parts.push((shard, part));
                }
            }
        }
        for (shard, part) in parts {
            self.send_appends(shard, part);
        }
    }

    fn send_appends(&self, shard: Option<usize>, set: AppendSet) {
        if set.appends.is_empty() {
            return;
        }
        let unsent = match shard {
            Some(shard) => self.mailboxes[shard].send(Message::Append(set)).err(),
            None => Some(Message::Append(set)),
        };
        // The partition or the broker went away between look-up and here: the client asks again.
        if let Some(Message::Append(set)) = unsent {
            for append in set.appends {
                let refused = Refused::from(Fault::new(Code::NotLeaderOrFollower));
                set.tally.complete(append.slot as usize, Err(refused));
            }
        }
    }

    /// Asks a partition's shard whether it would take a batch with nacks: `false` if it has it.
    pub(crate) fn would_accept(
        &self,
        partition: &Partition,
        batch: Diverted,
    ) -> oneshot::Receiver<Result<bool, Refused>> {
        let (tp, batch) = (partition.tp, Box::new(batch));
        self.control(partition.shard, |done| Control::WouldAccept(tp, batch, done))
    }

    /// Asks the group coordinator of a partition, and gives the receiver of its answer, which
    /// fails only when the shard has stopped. Never waits, as [`Shards::append`].
    ///
    /// # Errors
    /// NOT_COORDINATOR if the partition is not served here.
    pub fn coordinate(
        &self,
        tp: TopicPartition,
        command: group::Command,
    ) -> Result<oneshot::Receiver<Result<group::Reply, Fault>>, Fault> {
        let partition = self.registry.get(tp).ok_or(Code::NotCoordinator)?;
        let (answer, reply) = oneshot::channel();
        let ask = Message::Coordinate(Box::new(Ask { tp, command, answer }));
        // A closed mailbox drops the message and with it the sender, which the receiver sees.
        let _ = self.mailboxes[partition.shard].send(ask);
        Ok(reply)
    }

    /// Asks about a partition's delayed records, and gives the receiver of the answer, which fails
    /// if the partition is not here.
    #[must_use]
    pub fn ask_delays(
        &self,
        tp: TopicPartition,
        ask: query::Ask,
    ) -> oneshot::Receiver<query::Answer> {
        let (answer, reply) = oneshot::channel();
        if let Some(partition) = self.registry.get(tp) {
            let ask = Message::Control(Control::Delays(tp, ask, answer));
            // A closed mailbox drops the message and with it the sender, which the receiver sees.
            let _ = self.mailboxes[partition.shard].send(ask);
        }
        reply
    }

    /// Tells a partition's shard what became of expired records, by ticket.
    pub(crate) fn buried(&self, tp: TopicPartition, tickets: Vec<i64>, done: bool) {
        if let Some(partition) = self.registry.get(tp) {
            let buried = Message::Control(Control::Buried(tp, tickets, done));
            // A closed mailbox has nobody behind it who waits.
            let _ = self.mailboxes[partition.shard].send(buried);
        }
    }

    /// Sends a control message and gives the receiver of its answer, which fails only when the
    /// shard has stopped.
    pub fn control<T>(
        &self,
        shard: usize,
        message: impl FnOnce(oneshot::Sender<T>) -> Control,
    ) -> oneshot::Receiver<T> {
        let (tx, rx) = oneshot::channel();
        // A closed mailbox drops the message and with it the sender, which the receiver sees.
        let _ = self.mailboxes[shard].send(Message::Control(message(tx)));
        rx
    }

    /// As [`Shards::control`], ahead of the batches that wait in the mailbox.
    pub fn control_urgently<T>(
        &self,
        shard: usize,
        message: impl FnOnce(oneshot::Sender<T>) -> Control,
    ) -> oneshot::Receiver<T> {
        let (tx, rx) = oneshot::channel();
        let _ = self.mailboxes[shard].send_urgent(Message::Control(message(tx)));
        rx
    }

    /// The shard of a partition: partition n of a topic and all that belongs to it (its delay
    /// journal, its retry and dead-letter partitions) share one, so `topic_id` is the source
    /// topic's.
    #[must_use]
    pub fn place(&self, topic_id: Uuid, partition: i32) -> usize {
        place(topic_id, partition, self.count())
    }

    /// Stops coordinating, so that no client's request waits for others while the broker stops.
    pub fn resign(&self) {
        for mailbox in &self.mailboxes {
            // A closed mailbox has nobody behind it who waits.
            let _ = mailbox.send(Message::Control(Control::Resign));
        }
    }

    /// No more messages; the shards' threads end when they have worked off what they have.
    pub fn close(&self) {
        for mailbox in &self.mailboxes {
            mailbox.close();
        }
    }
}

/// See [`Shards::place`]. A journal is placed as its partition.
#[must_use]
pub fn place(topic_id: Uuid, partition: i32, shards: usize) -> usize {
    let source = TopicPartition::new(topic_id, partition).source().partition;
    let (high, low) = topic_id.as_u64_pair();
    let spread = (high ^ low).wrapping_add(u64::from(source.unsigned_abs()));
    usize::try_from(spread % shards as u64).expect("a remainder of a usize fits one")
}
