//! What is asked of a shard besides appending.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::checkpointer::Collected;
use super::delay::elsewhere::Errand;
use super::delay::sealer::Done;
use super::registry::{Partition, TopicRules};
use super::tally::Refused;
use crate::base::fault::Fault;
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::role::Role;
use crate::delay::query::{Answer, Ask};
use crate::log::compact::swap::Replacement;
use crate::log::producers::ProducerState;
use crate::log::settings::LogSettings;
use crate::log::validate::Diverted;

/// What a partition needs to be served.
#[derive(Clone)]
pub struct Opening {
    pub tp: TopicPartition,
    pub topic_name: String,
    /// The topic whose partitions its own lie beside; see [`crate::shard::place`].
    pub placed_as: Uuid,
    /// What the topic is for another one.
    pub role: Option<Arc<Role>>,
    pub leader_epoch: i32,
    pub settings: LogSettings,
    pub rules: TopicRules,
    /// Most milliseconds by which the partition rolls earlier than `settings` say.
    pub segment_jitter_ms: i64,
}

impl Opening {
    /// The same for one of the topic's partitions. Its roll by time comes earlier by an amount of
    /// its own, so that the partitions of a topic do not all roll at once.
    #[must_use]
    pub fn of(&self, tp: TopicPartition) -> Self {
        let mut opening = Self { tp, ..self.clone() };
        let earlier = own_share(tp, opening.segment_jitter_ms);
        opening.settings.segment_ms = opening.settings.segment_ms.saturating_sub(earlier).max(1);
        opening
    }
}

/// A number from 0 to `most` that is a partition's own: topic ids are random, partitions spread
/// evenly from there.
fn own_share(tp: TopicPartition, most: i64) -> i64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let (topic, _) = tp.topic_id.as_u64_pair();
    let partition = u64::from(tp.partition.unsigned_abs());
    let spread = topic.wrapping_add(partition.wrapping_mul(GOLDEN));
    // The upper half of the product is below its second factor, and that fits.
    let share = (u128::from(spread) * (u128::from(most.unsigned_abs()) + 1)) >> 64;
    i64::try_from(share).unwrap_or(most)
}

/// A partition as compaction sees it.
pub struct Compactable {
    pub partition: Arc<Partition>,
    pub settings: LogSettings,
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
    /// What an operator asks about a partition's delayed records.
    Delays(TopicPartition, Ask, oneshot::Sender<Answer>),
    /// Stops coordinating: whoever waits for a coordinator is told, and so is who asks later.
    Resign,
    /// The partitions whose topics are to be compacted, with their last segments sealed where
    /// that is due.
    Compactable(oneshot::Sender<Vec<Compactable>>),
    /// Puts a compacted segment in place; `false` if the log has changed too much for it.
    Replace(TopicPartition, Replacement, oneshot::Sender<io::Result<bool>>),
    /// A job on a partition's runs is done.
    Sealed(Box<Done>),
    /// Takes out what commands in another partition of the topic mean, if it waits in this one.
    CancelElsewhere(TopicPartition, Errand),
    /// Expired records of a partition, by ticket, have their dead letters, or could not get them.
    Buried(TopicPartition, Vec<i64>, bool),
    /// Whether a batch with nacks would be taken; `false` if it has been.
    WouldAccept(TopicPartition, Box<Diverted>, oneshot::Sender<Result<bool, Refused>>),
    /// What changed since the last checkpoint.
    Checkpoint(oneshot::Sender<Collected>),
    /// Closes all logs: nothing is appended any more.
    Close(oneshot::Sender<Collected>),
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn shares_spread_over_the_whole_range() {
        let share = |partition, most| {
            own_share(TopicPartition::new(Uuid::from_u128(u128::MAX / 3), partition), most)
        };
        let shares: Vec<i64> = (0..100).map(|partition| share(partition, 999)).collect();
        assert!(shares.iter().all(|share| (0..=999).contains(share)));
        for quarter in [0..250, 250..500, 500..750, 750..1000] {
            assert!(shares.iter().filter(|share| quarter.contains(*share)).count() > 10);
        }
        assert_eq!(share(7, 0), 0);
        assert!((0..=i64::MAX).contains(&share(7, i64::MAX)));
    }
}
