//! One seeded run: several lives of a small broker over one disk, each ended by a power cut, a
//! killed process or a clean stop, and judged after each recovery.
//!
//! A life does what shard, committer and checkpointer do, in their order, on one thread: appends go
//! to a partition's log, to its delay journal, or as a pair to both, and then to the commit log;
//! acknowledgements follow the commit; checkpoints sync, write, release. [`Planted`] makes one of
//! these steps wrong, to see that the judge notices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Faults, SimDisk};
use super::ledger::{Broken, Found, Ledger, RecoveredLog};
use super::random::Random;
use super::world::life::Life;
use crate::base::ids::{TopicPartition, Uuid};
use crate::log::commit::CommitSettings;
use crate::log::dir::Identity;
use crate::log::journal;
use crate::log::settings::LogSettings;
use crate::log::validate::{BatchRules, CompressionRule, ValidBatch, validate};
use crate::wire::batch::TimestampType;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;

mod compaction;
mod life;
mod recovery;

/// A bug put in on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    None,
    /// Syncs and direct writes leave everything in the cache.
    SkipSync,
    /// Batches are acknowledged when they are in the segment.
    AckBeforeDurable,
    /// Recovery forgets a log's last segment, whose offsets are then given out again.
    ReuseOffset,
    /// Replay leaves out a commit's last row.
    LoseRow,
    /// Replay appends a row that is there already.
    DoubleRow,
    /// Recovery cuts one whole batch too many off a log.
    CutTooMuch,
    /// Recovery does not look for halves of pairs.
    KeepHalves,
    /// After recovery a log does not know how far its journal has come, nor the reverse.
    ForgetFloor,
    /// After recovery a log does not know the producers of its journal.
    ForgetProducers,
}

/// What a run did, for the comparison of two and for knowing that it did anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub acked: u64,
    pub retried: u64,
    pub pairs: u64,
    /// Recoveries that cut at half a pair.
    pub halves: u64,
    pub recoveries: u64,
    pub replayed: u64,
    pub cut_bytes: u64,
    pub checkpoints: u64,
    pub deleted_segments: u64,
    pub compactions: u64,
    pub compacted_records: u64,
    pub disk_steps: u64,
    /// Everything that was found after every recovery, folded into one number.
    pub digest: u64,
}

pub(super) const PARTITIONS: usize = 3;
/// Each partition's log, and behind them each one's journal.
pub(super) const LOGS: usize = 2 * PARTITIONS;
/// This one is compacted.
pub(super) const COMPACTED: usize = 2;
/// Keys of its records.
const KEYS: u64 = 5;
const LIVES: u64 = 5;
const NOW_MS: i64 = 1_800_000_000_000;

/// What outlives the broker's lives.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) random: Random,
    pub(super) planted: Planted,
    pub(super) ledger: Ledger,
    pub(super) producers: Vec<Producer>,
    /// As the metadata store, or for a journal its manifest, keeps them.
    pub(super) log_starts: [i64; LOGS],
    pub(super) now_ms: i64,
    pub(super) life: i32,
    pub(super) next_group: u64,
    pub(super) tally: Tally,
}

/// A client with idempotence on: it sends again what was not acknowledged, in order.
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) partition: usize,
    pub(super) sequence: i32,
    pub(super) unacked: Vec<Unacked>,
}

/// What a producer sends at once: to the log, to the journal, or a part to each.
#[derive(Clone, Copy)]
pub(super) struct Unacked {
    pub(super) sequence: i32,
    pub(super) live: Option<Part>,
    /// Beside a live part it spans the whole range.
    pub(super) delayed: Option<Part>,
}

#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) id: u64,
    pub(super) records: i64,
    pub(super) bytes: usize,
}

/// Runs one seed to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, planted: Planted) -> Result<Tally, Broken> {
    let mut world = World::new(seed, planted);
    for life in 0..LIVES {
        world.life = i32::try_from(life).unwrap_or(i32::MAX);
        world.live()?;
    }
    world.random = Random::new(seed);
    world.recover_undisturbed()?;
    world.tally.acked = world.ledger.acked() as u64;
    world.tally.disk_steps = world.disk.steps();
    Ok(world.tally)
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let producer = |n: usize| Producer {
            id: 1_000 + n as i64,
            partition: n % PARTITIONS,
            sequence: 0,
            unacked: Vec::new(),
        };
        Self {
            disk: SimDisk::new(random.next()),
            random,
            planted,
            ledger: Ledger::default(),
            producers: (0..2 * PARTITIONS).map(producer).collect(),
            log_starts: [0; LOGS],
            now_ms: NOW_MS,
            life: 0,
            next_group: 0,
            tally: Tally::default(),
        }
    }

    /// One life: recovery, work, an end. Crashes may come in any of it.
    fn live(&mut self) -> Result<(), Broken> {
        let fuse = self.random.below(500) + 1;
        self.disk.crash_in(fuse);
        let faults = Faults {
            full_one_in: if self.random.one_in(4) { 30 } else { 0 },
            sync_fails_one_in: if self.random.one_in(6) { 40 } else { 0 },
            syncs_lie: self.planted == Planted::SkipSync,
        };
        self.disk.set_faults(faults);
        let stopped_cleanly = match self.recover()? {
            None => false,
            Some(mut life) => {
                let steps = self.random.below(150);
                let alive = (0..steps).try_for_each(|_| life.step(self));
                match alive {
                    Ok(()) if self.random.one_in(3) => life.stop(self).is_ok(),
                    Ok(()) | Err(Ended::Down) => false,
                    Err(Ended::Broken(broken)) => return Err(broken),
                }
            }
        };
        // A clean stop may be followed by a power cut all the same.
        let cut = !stopped_cleanly || self.random.coin();
        self.disk =
            if cut && self.random.coin() { self.disk.power_cut() } else { self.disk.process_end() };
        Ok(())
    }

    /// Recovers on a disk that works, which has to succeed.
    fn recover_undisturbed(&mut self) -> Result<(), Broken> {
        if self.recover()?.is_none() {
            return Err(Broken::Recovery("it failed on a disk that works".to_owned()));
        }
        Ok(())
    }

    /// Opens everything, judges it, and is ready to serve; `None` if the disk failed on the way.
    fn recover(&mut self) -> Result<Option<Life>, Broken> {
        match recovery::run(self) {
            Ok(life) => {
                let logs: Result<Vec<RecoveredLog>, _> = life.logs.iter().map(life::look).collect();
                let logs = match logs {
                    Ok(logs) => logs,
                    Err(_) if self.disk.has_crashed() => return Ok(None),
                    Err(error) => return Err(Broken::Unreadable(error.to_string())),
                };
                self.ledger.judge_recovered(&logs)?;
                self.note(&logs);
                Ok(Some(life))
            }
            Err(Ended::Down) => Ok(None),
            Err(Ended::Broken(broken)) => Err(broken),
        }
    }

    fn note(&mut self, logs: &[RecoveredLog]) {
        self.tally.recoveries += 1;
        for found in logs.iter().flat_map(|log| &log.found) {
            let mut mixed =
                Random::new(self.tally.digest ^ found.id << 32 ^ found.base_offset.unsigned_abs());
            self.tally.digest = mixed.next();
        }
    }
}

/// Why a life ends early.
pub(super) enum Ended {
    /// The power is out, or the disk failed for good.
    Down,
    Broken(Broken),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Down
    }
}

pub(super) fn data_dir() -> &'static Path {
    Path::new("/data")
}

pub(super) fn commit_dir() -> PathBuf {
    data_dir().join("commit")
}

/// A log's identity by its number.
pub(super) fn tp(log: usize) -> TopicPartition {
    let partition = i32::try_from(log % PARTITIONS).expect("there are three");
    let partition = TopicPartition::new(Uuid::from_u128(0x51), partition);
    if log < PARTITIONS { partition } else { partition.journal() }
}

pub(super) fn log_of(tp: TopicPartition) -> usize {
    let partition = usize::try_from(tp.source().partition).expect("a source is not negative");
    if tp.is_journal() { partition + PARTITIONS } else { partition }
}

pub(super) fn identity(log: usize) -> Identity {
    let identity = Identity::below(data_dir(), "sim", tp(log % PARTITIONS));
    if log < PARTITIONS { identity } else { journal::identity(&identity) }
}

pub(super) fn log_settings(log: usize) -> LogSettings {
    let settings = LogSettings {
        segment_bytes: if log == COMPACTED { 2_500 } else { 6_000 },
        index_interval_bytes: 500,
        retention_bytes: 30_000,
        file_delete_delay_ms: 1_000,
        cleanup_compact: log == COMPACTED,
        ..LogSettings::default()
    };
    if log < PARTITIONS { settings } else { journal::settings(&settings, 6_000) }
}

pub(super) fn commit_settings() -> CommitSettings {
    CommitSettings { file_bytes: 32 << 10, max_bytes: 128 << 10, durable: true }
}

/// The key of a batch's records, where they have one.
pub(super) const fn key(id: u64, log: usize) -> Option<u64> {
    if log == COMPACTED { Some(id % KEYS) } else { None }
}

/// A batch that carries its id in every record.
pub(super) fn batch(part: Part, log: usize, producer: Option<(i64, i32)>) -> ValidBatch {
    let Part { id, records, bytes } = part;
    let mut builder = BatchBuilder::new(Codec::None, None);
    if let Some((producer_id, sequence)) = producer {
        builder = builder.producer(producer_id, 0, sequence);
    }
    let mut value = id.to_be_bytes().to_vec();
    value.resize(8 + bytes, b'.');
    let key = key(id, log).map(u64::to_be_bytes);
    let key = key.as_ref().map(<[u8; 8]>::as_slice);
    for _ in 0..records {
        builder.push(NOW_MS, key, Some(&value), std::iter::empty());
    }
    let rules = BatchRules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 20,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        compression: CompressionRule::Producer,
        max_decompressed_bytes: 1 << 20,
        open_compressed: false,
    };
    let bytes = builder.build().expect("a small batch can be built");
    validate(bytes, 9, &rules, NOW_MS).expect("what the builder makes is valid")
}

/// Log starts as a map, as checkpoints have partitions.
pub(super) type ByPartition<T> = BTreeMap<TopicPartition, T>;

/// The disk as the log's store wants it.
pub(super) fn shared(disk: &SimDisk) -> Arc<dyn crate::store::Files> {
    Arc::new(disk.clone())
}

/// Batches of a log, read through its view as consumers do, and where they end. Those that
/// compaction has emptied are passed over.
pub(super) fn found(bytes: &[u8]) -> (Vec<Found>, Option<i64>) {
    use crate::wire::batch::{BatchHeader, HEADER_BYTES};
    use crate::wire::records::Records;
    let mut rest = bytes;
    let mut all = Vec::new();
    let mut end = None;
    while let Ok(header) = BatchHeader::parse(rest) {
        end = Some(header.last_offset() + 1);
        let body = &rest[HEADER_BYTES..header.total_bytes()];
        let first = Records::new(body, header.record_count).next();
        let value = first.and_then(Result::ok).and_then(|record| record.value);
        let id = value
            .and_then(|value| value.first_chunk())
            .map_or(u64::MAX, |id| u64::from_be_bytes(*id));
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        if header.record_count > 0 {
            all.push(Found { id, base_offset, last_offset });
        }
        rest = &rest[header.total_bytes()..];
    }
    (all, end)
}
