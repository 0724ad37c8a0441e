//! What is asked of a shard besides appending.

use std::io;
use std::path::PathBuf;

use tokio::sync::oneshot;

use super::checkpointer::Collected;
use super::registry::TopicRules;
use crate::base::fault::Fault;
use crate::base::ids::TopicPartition;
use crate::log::producers::ProducerState;
use crate::log::settings::LogSettings;

/// What a partition needs to be served.
#[derive(Clone)]
pub struct Opening {
    pub tp: TopicPartition,
    pub topic_name: String,
    pub leader_epoch: i32,
    pub settings: LogSettings,
    pub rules: TopicRules,
}

/// A control message. Its sender is answered when it has been worked off.
pub enum Control {
    /// Creates the partition's directory, or opens it, and serves it.
    Open(Box<Opening>, oneshot::Sender<Result<(), Fault>>),
    /// Stops serving the partition and takes its directory out of sight; answers where it is now,
    /// to be removed.
    Remove(Box<Opening>, oneshot::Sender<io::Result<Option<PathBuf>>>),
    /// Applies changed topic configs.
    Configure(Box<Opening>, oneshot::Sender<()>),
    /// Moves the log start offset up to `before_offset` (-1: the high watermark) and answers it;
    /// the asker makes it durable before it tells anybody.
    DeleteRecords {
        tp: TopicPartition,
        before_offset: i64,
        done: oneshot::Sender<Result<i64, Fault>>,
    },
    /// The idempotent producers of a partition; `None` if it is not here.
    Producers(TopicPartition, oneshot::Sender<Option<Vec<ProducerState>>>),
    /// What changed since the last checkpoint.
    Checkpoint(oneshot::Sender<Collected>),
    /// Closes all logs: nothing is appended any more.
    Close(oneshot::Sender<Collected>),
}
