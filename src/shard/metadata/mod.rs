//! The metadata worker: the only writer of the catalog and of everything else in the metadata
//! store. Readers take snapshots and never wait for it.
//!
//! A command is decided on the newest catalog, written durably, carried out by the
//! [`PartitionHost`], published, and answered, in this order: whoever sees a topic can use it, and
//! no answer tells of what a crash can undo. What has gathered in the queue is one transaction.
//! Rejected: a lock around the catalog, which would be held across a sync of the store.

mod store;
#[cfg(test)]
mod tests;
mod worker;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::{io, thread};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::oneshot;

use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::catalog::{Catalog, Change, Command, Policy, Topic, decide};
pub use store::Store;
use worker::{Message, Worker};

/// Requests that wait for the worker. Each holds a request that the server has admitted, so their
/// bytes are bounded by the server.
const QUEUED_MESSAGES: usize = 1024;

/// New partitions of topics that are opened together or not at all.
pub type Opening = Vec<(Arc<Topic>, Range<i32>)>;

/// Where partitions live: carries out what was decided. Called on the worker's thread; may block.
pub trait PartitionHost: Send {
    /// Creates these partitions and serves them. One outcome per opening; on an error none of its
    /// partitions is served, and no files remain.
    fn open(&self, catalog: &Catalog, openings: &[Opening]) -> Vec<Result<(), Fault>>;
    /// Stops serving a topic and removes its files, also of a topic deleted before a crash.
    ///
    /// # Errors
    /// If files may be left; the topic is tried again at the next start.
    fn remove(&self, topic: &Topic) -> Result<(), Fault>;
    /// Topics are deleted: what is kept about them elsewhere goes too. Returns when that is
    /// durable, before a topic of the same name can be created.
    fn forget(&self, topics: &[Arc<Topic>]);
    /// Applies a topic's changed configs.
    fn configure(&self, catalog: &Catalog, topic: &Topic);
    /// Applies changed dynamic broker configs, to all topics that inherit them.
    fn reconfigure(&self, catalog: &Catalog);
}

/// The handle on the catalog and its worker, shared by everybody who asks for metadata.
pub struct Metadata {
    catalog: Arc<ArcSwap<Catalog>>,
    policy: Policy,
    queue: SyncSender<Message>,
}

impl Metadata {
    /// Starts the worker over an opened store whose partitions the host serves already. The
    /// thread ends when all handles are dropped, or with an error when the store has failed:
    /// after that nothing is changed any more, and the broker must stop. `failed` is told so at
    /// once, on the worker's thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        store: Store,
        policy: Policy,
        host: impl PartitionHost + 'static,
        failed: impl FnOnce(&str) + Send + 'static,
    ) -> io::Result<(Arc<Self>, JoinHandle<io::Result<()>>)> {
        let catalog = store.snapshots();
        let (queue, messages) = sync_channel(QUEUED_MESSAGES);
        let worker = Worker::new(store, policy.clone(), host);
        let run = move || {
            worker.run(&messages).inspect_err(|error| failed(&format!("meta.redb: {error}")))
        };
        let thread = thread::Builder::new().name("metadata".to_owned()).spawn(run)?;
        Ok((Arc::new(Self { catalog, policy, queue }), thread))
    }

    /// The catalog now. Cheap; hold it no longer than one request's first stage.
    pub fn catalog(&self) -> Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// Where every new catalog is published, for those who only read.
    #[must_use]
    pub fn snapshots(&self) -> Arc<ArcSwap<Catalog>> {
        Arc::clone(&self.catalog)
    }

    /// Judges a command against the catalog now, without carrying it out.
    ///
    /// # Errors
    /// As [`decide`].
    pub fn check(&self, command: &Command) -> Result<Change, Fault> {
        decide(&self.catalog.load(), &self.policy, command)
    }

    /// Carries out commands in order, each by itself; one outcome per command.
    pub fn submit(&self, commands: Vec<Command>) -> Pending<Vec<Result<Change, Fault>>> {
        self.send(|answer| Message::Commands { commands, outcomes: Vec::new(), answer })
    }

    /// Makes log start offsets durable. They never go back.
    pub fn move_log_starts(&self, starts: Vec<(TopicPartition, i64)>) -> Pending<()> {
        self.send(|answer| Message::LogStarts { starts, answer })
    }

    fn send<T>(&self, message: impl FnOnce(Answer<T>) -> Message) -> Pending<T> {
        let (answer, pending) = oneshot::channel();
        let refused = match self.queue.try_send(message(answer)) {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => {
                let message = format!("{QUEUED_MESSAGES} metadata requests are waiting already.");
                Some(Fault::with(Code::RequestTimedOut, message))
            }
            Err(TrySendError::Disconnected(_)) => Some(stopped()),
        };
        Pending { answer: pending, refused }
    }
}

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// An answer of the worker that is on its way.
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<T, Fault>>,
    refused: Option<Fault>,
}

impl<T> Pending<T> {
    /// # Errors
    /// REQUEST_TIMED_OUT if too much is waiting, KAFKA_STORAGE_ERROR if the store failed: then
    /// the thing may or may not have happened.
    pub async fn wait(self) -> Result<T, Fault> {
        match self.refused {
            Some(fault) => Err(fault),
            None => self.answer.await.unwrap_or_else(|_| Err(stopped())),
        }
    }
}

fn stopped() -> Fault {
    Fault::with(Code::KafkaStorageError, "The metadata store has failed or the broker stops.")
}
