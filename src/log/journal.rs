//! The delay journal of a partition, which is a partition log of its own: where it lies, and with
//! what settings.
//!
//! Log and journal are opened one by one; then rows of the commit log are put back in their order,
//! with [`PartitionLog::level`] before each; then [`super::pairs::cut`] is asked, and both are
//! opened again if it says so; then [`PartitionLog::level`] and [`PartitionLog::merge_producers`],
//! before the first checkpoint of both. A log without its journal must not be served: it would
//! give tickets out again.
//!
//! Nothing in it ages: its owner deletes what the runs hold, by [`PartitionLog::delete_records`]
//! up to an offset below which all is durable elsewhere, and [`PartitionLog::retain`]. Times in
//! it are the broker's own, of acceptance. A format of its own was rejected: recovery, checkpoint,
//! torn tails and rows of the commit log are those of every log, and proven there.
//!
//! [`PartitionLog::level`]: super::partition::PartitionLog::level
//! [`PartitionLog::merge_producers`]: super::partition::PartitionLog::merge_producers
//! [`PartitionLog::delete_records`]: super::partition::PartitionLog::delete_records
//! [`PartitionLog::retain`]: super::partition::PartitionLog::retain

use super::dir::Identity;
use super::settings::LogSettings;

/// The directory of what a partition has delayed, in the partition's own.
pub const DELAY_DIR: &str = "delay";
/// The journal's directory in [`DELAY_DIR`].
const JOURNAL_DIR: &str = "journal";
/// Index entries of a journal are for its replay alone, which reads on.
const INDEX_INTERVAL_BYTES: u32 = 1 << 20;

/// The journal of a partition: the same topic, a partition index that no client can name, and a
/// directory in the partition's.
#[must_use]
pub fn identity(partition: &Identity) -> Identity {
    Identity {
        tp: partition.tp.journal(),
        topic_name: partition.topic_name.clone(),
        dir: partition.dir.join(DELAY_DIR).join(JOURNAL_DIR),
    }
}

/// The settings of a journal whose segments are rolled at `segment_bytes`, beside those of its
/// partition.
#[must_use]
pub fn settings(partition: &LogSettings, segment_bytes: u32) -> LogSettings {
    LogSettings {
        segment_bytes,
        segment_ms: i64::MAX,
        index_interval_bytes: INDEX_INTERVAL_BYTES,
        retention_ms: -1,
        retention_bytes: -1,
        file_delete_delay_ms: 0,
        cleanup_delete: false,
        cleanup_compact: false,
        log_append_time: true,
        producer_expiry_ms: partition.producer_expiry_ms,
        max_producers: partition.max_producers,
        ..LogSettings::default()
    }
}
