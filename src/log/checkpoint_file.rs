//! The data directory's `checkpoint` file: from where recovery has to look.
//!
//! Everything below a partition's recovery point is on stable storage in its segments, and every
//! commit up to the mark is. One file for all partitions, replaced whole by rename: Kafka keeps
//! two files per directory and one per partition and producer snapshot, of which a crash leaves
//! a mixture. The next file's blocks are reserved as soon as one is written, so that a full disk
//! does not keep the commit log from being freed.
//!
//! Version 1, little-endian:
//!
//! ```text
//!  0 u32 magic 0x50434c4b ("KLCP")   4 u32 CRC-32C of 8..end
//!  8 u16 version = 1                10 u16 flags: bit 0 = clean, nothing was appended since
//! 12 u32 partitions                 16 u64 run, 24 u64 sequence: the commit log's mark
//! 32 per partition, 40 bytes:
//!     0 16 topic id     16 i32 partition     20 u32 producers
//!    24 i64 recovery point                   32 i64 log start offset
//!    then per producer, 20 bytes:
//!     0 i64 producer id  8 i16 epoch         10 u16 batches    12 i64 last seen, ms
//!    then per batch, 32 bytes:
//!     0 i32 first sequence                    4 i32 last sequence
//!     8 i64 base offset 16 i64 last offset   24 i64 timestamp, ms
//! ```

use std::io::{self, IoSlice};
use std::path::Path;

use bytes::{Buf, BufMut};
use smallvec::SmallVec;

use super::checkpoint::PartitionCheckpoint;
use super::commit::Mark;
use super::producers::{BATCHES_PER_PRODUCER, BatchTrace, ProducerState};
use crate::base::crash_point;
use crate::base::ids::{TopicPartition, Uuid};
use crate::store::{Files, OpenMode, Resize};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "checkpoint";
const NEXT_NAME: &str = "checkpoint.tmp";
const MAGIC: u32 = u32::from_le_bytes(*b"KLCP");
const VERSION: u16 = 1;
const CLEAN: u16 = 1;
const HEAD_BYTES: usize = 32;
const PARTITION_BYTES: usize = 40;
const PRODUCER_BYTES: usize = 20;
const BATCH_BYTES: usize = 32;

/// All that recovery starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Commits after this one may be missing in the segments.
    pub mark: Mark,
    /// The broker stopped after this; no segment has anything beyond its recovery point.
    pub clean: bool,
    pub partitions: Vec<PartitionCheckpoint>,
}

/// Why a checkpoint is not believed. Recovery then looks at everything.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("checkpoint: {0}")]
    Io(#[from] io::Error),
    #[error("checkpoint: format version {0}, this is {VERSION}")]
    Version(u16),
    #[error("checkpoint: damaged")]
    Damaged,
}

/// Reads the checkpoint of a data directory; `None` if it has none.
///
/// # Errors
/// See [`CheckpointError`].
pub fn read(files: &dyn Files, data_dir: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    let file = match files.open(&data_dir.join(FILE_NAME), OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let len = usize::try_from(file.len_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    decode(&bytes[..read]).map(Some)
}

/// Replaces the checkpoint of a data directory, durably.
///
/// # Errors
/// The disk's own; the old checkpoint then still stands.
pub fn write<'a>(
    files: &dyn Files,
    data_dir: &Path,
    mark: Mark,
    clean: bool,
    partitions: impl ExactSizeIterator<Item = &'a PartitionCheckpoint>,
) -> io::Result<()> {
    let bytes = encode(mark, clean, partitions);
    let next = data_dir.join(NEXT_NAME);
    let file = files.open(&next, OpenMode::Write)?;
    file.write_at(&[IoSlice::new(&bytes)], 0)?;
    file.resize(Resize::Cut(bytes.len() as u64))?;
    file.sync()?;
    crash_point::pass("checkpoint-rename");
    files.rename(&next, &data_dir.join(FILE_NAME))?;
    files.sync_dir(data_dir)?;
    let following = files.open(&next, OpenMode::Write)?;
    // Best effort: without it a full disk delays the next checkpoint.
    drop(following.resize(Resize::Reserve(2 * bytes.len() as u64)));
    Ok(())
}

fn encode<'a>(
    mark: Mark,
    clean: bool,
    partitions: impl ExactSizeIterator<Item = &'a PartitionCheckpoint>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 2 * PARTITION_BYTES * partitions.len());
    bytes.put_u32_le(MAGIC);
    bytes.put_u32_le(0);
    bytes.put_u16_le(VERSION);
    bytes.put_u16_le(if clean { CLEAN } else { 0 });
    bytes.put_u32_le(count(partitions.len()));
    bytes.put_u64_le(mark.run);
    bytes.put_u64_le(mark.sequence);
    for partition in partitions {
        bytes.put_slice(partition.tp.topic_id.as_bytes());
        bytes.put_i32_le(partition.tp.partition);
        bytes.put_u32_le(count(partition.producers.len()));
        bytes.put_i64_le(partition.recovery_point);
        bytes.put_i64_le(partition.log_start);
        for producer in &partition.producers {
            encode_producer(producer, &mut bytes);
        }
    }
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn encode_producer(producer: &ProducerState, bytes: &mut Vec<u8>) {
    bytes.put_i64_le(producer.producer_id);
    bytes.put_i16_le(producer.epoch);
    bytes.put_u16_le(u16::try_from(producer.batches.len()).expect("a producer has five at most"));
    bytes.put_i64_le(producer.last_seen_ms);
    for batch in &producer.batches {
        bytes.put_i32_le(batch.first_sequence);
        bytes.put_i32_le(batch.last_sequence);
        bytes.put_i64_le(batch.base_offset);
        bytes.put_i64_le(batch.last_offset);
        bytes.put_i64_le(batch.timestamp_ms);
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("partitions and producers are capped far below this")
}

fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    if bytes.len() < HEAD_BYTES {
        return Err(CheckpointError::Damaged);
    }
    let mut rest = bytes;
    let (magic, crc) = (rest.get_u32_le(), rest.get_u32_le());
    if magic != MAGIC || crc32c::crc32c(rest) != crc {
        return Err(CheckpointError::Damaged);
    }
    let (version, flags) = (rest.get_u16_le(), rest.get_u16_le());
    if version != VERSION {
        return Err(CheckpointError::Version(version));
    }
    let partitions = rest.get_u32_le();
    let mark = Mark { run: rest.get_u64_le(), sequence: rest.get_u64_le() };
    let partitions = (0..partitions).map(|_| decode_partition(&mut rest));
    let partitions = partitions.collect::<Option<_>>().ok_or(CheckpointError::Damaged)?;
    if !rest.is_empty() {
        return Err(CheckpointError::Damaged);
    }
    Ok(Checkpoint { mark, clean: flags & CLEAN != 0, partitions })
}

fn decode_partition(rest: &mut &[u8]) -> Option<PartitionCheckpoint> {
    if rest.len() < PARTITION_BYTES {
        return None;
    }
    let mut topic_id = [0; 16];
    rest.copy_to_slice(&mut topic_id);
    let tp = TopicPartition::new(Uuid::from_bytes(topic_id), rest.get_i32_le());
    let producers = rest.get_u32_le();
    let (recovery_point, log_start) = (rest.get_i64_le(), rest.get_i64_le());
    let producers = (0..producers).map(|_| decode_producer(rest)).collect::<Option<_>>()?;
    Some(PartitionCheckpoint { tp, recovery_point, log_start, producers })
}

fn decode_producer(rest: &mut &[u8]) -> Option<ProducerState> {
    if rest.len() < PRODUCER_BYTES {
        return None;
    }
    let (producer_id, epoch) = (rest.get_i64_le(), rest.get_i16_le());
    let batches = usize::from(rest.get_u16_le());
    let last_seen_ms = rest.get_i64_le();
    if batches > BATCHES_PER_PRODUCER || rest.len() < batches * BATCH_BYTES {
        return None;
    }
    let batch = |_| BatchTrace {
        first_sequence: rest.get_i32_le(),
        last_sequence: rest.get_i32_le(),
        base_offset: rest.get_i64_le(),
        last_offset: rest.get_i64_le(),
        timestamp_ms: rest.get_i64_le(),
    };
    let batches: SmallVec<_> = (0..batches).map(batch).collect();
    Some(ProducerState { producer_id, epoch, last_seen_ms, batches })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::memory::MemoryFiles;

    fn any_batch() -> impl Strategy<Value = BatchTrace> {
        (any::<(i32, i32)>(), any::<(i64, i64)>(), any::<i64>()).prop_map(
            |((first_sequence, last_sequence), (base_offset, last_offset), timestamp_ms)| {
                BatchTrace { first_sequence, last_sequence, base_offset, last_offset, timestamp_ms }
            },
        )
    }

    fn any_producer() -> impl Strategy<Value = ProducerState> {
        let batches = prop::collection::vec(any_batch(), 0..=BATCHES_PER_PRODUCER);
        (any::<i64>(), any::<i16>(), any::<i64>(), batches).prop_map(
            |(producer_id, epoch, last_seen_ms, batches)| ProducerState {
                producer_id,
                epoch,
                last_seen_ms,
                batches: batches.into(),
            },
        )
    }

    fn any_partition() -> impl Strategy<Value = PartitionCheckpoint> {
        let producers = prop::collection::vec(any_producer(), 0..4);
        (any::<u128>(), any::<i32>(), any::<(i64, i64)>(), producers).prop_map(
            |(topic_id, partition, (recovery_point, log_start), producers)| {
                let tp = TopicPartition::new(Uuid::from_u128(topic_id), partition);
                PartitionCheckpoint { tp, recovery_point, log_start, producers }
            },
        )
    }

    fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
        let partitions = prop::collection::vec(any_partition(), 0..6);
        (any::<(u64, u64)>(), any::<bool>(), partitions).prop_map(
            |((run, sequence), clean, partitions)| Checkpoint {
                mark: Mark { run, sequence },
                clean,
                partitions,
            },
        )
    }

    fn encoded(checkpoint: &Checkpoint) -> Vec<u8> {
        encode(checkpoint.mark, checkpoint.clean, checkpoint.partitions.iter())
    }

    fn written(files: &MemoryFiles, checkpoint: &Checkpoint) {
        let Checkpoint { mark, clean, partitions } = checkpoint;
        write(files, Path::new("/data"), *mark, *clean, partitions.iter()).unwrap();
    }

    fn empty(sequence: u64) -> Checkpoint {
        Checkpoint { mark: Mark { run: 1, sequence }, clean: false, partitions: Vec::new() }
    }

    proptest! {
        #[test]
        fn checkpoints_round_trip(first in any_checkpoint(), second in any_checkpoint()) {
            let files = MemoryFiles::new();
            let dir = Path::new("/data");
            files.create_dir(dir).unwrap();
            prop_assert!(read(&files, dir).unwrap().is_none());
            for checkpoint in [first, second] {
                written(&files, &checkpoint);
                prop_assert_eq!(read(&files, dir).unwrap().unwrap(), checkpoint);
            }
        }

        #[test]
        fn a_changed_or_cut_file_is_not_believed(
            checkpoint in any_checkpoint(),
            at in any::<prop::sample::Index>(),
            mask in 1..=255_u8,
        ) {
            let whole = encoded(&checkpoint);
            let at = at.index(whole.len());
            let mut changed = whole.clone();
            changed[at] ^= mask;
            prop_assert!(decode(&changed).is_err());
            prop_assert!(decode(&whole[..at]).is_err());
        }

        #[test]
        fn no_bytes_make_the_parser_panic_or_reserve(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if bytes.len() >= HEAD_BYTES {
                bytes[..12].copy_from_slice(&encoded(&empty(0))[..12]);
                let crc = crc32c::crc32c(&bytes[8..]);
                bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            }
            drop(decode(&bytes));
        }
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_one() {
        let files = MemoryFiles::new();
        let dir = Path::new("/data");
        files.create_dir(dir).unwrap();
        written(&files, &empty(1));
        files.put(&dir.join(NEXT_NAME), vec![9; 5_000]);
        assert_eq!(read(&files, dir).unwrap().unwrap(), empty(1));
        written(&files, &empty(2));
        assert_eq!(read(&files, dir).unwrap().unwrap(), empty(2));
    }
}
