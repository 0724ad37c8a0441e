//! Batches, logs and readers for the tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{TopicPartition, Uuid};
use crate::log::cache::LogStore;
use crate::log::dir::Identity;
use crate::log::error::ReadError;
use crate::log::partition::{Appended, PartitionLog};
use crate::log::read::{ReadHint, Slice, Wanted};
use crate::log::recover::{OpenHint, RecoveryReport};
use crate::log::settings::LogSettings;
use crate::log::validate::{BatchRules, CompressionRule, ValidBatch, validate};
use crate::log::view::PartitionView;
use crate::store::Files;
use crate::store::memory::MemoryFiles;
use crate::wire::batch::{BatchHeader, TimestampType};
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;

pub const TOPIC: Uuid = Uuid::from_u128(0x6b6c_616d_6d00_0000_0000_0000_0000_0001);
pub const NOW_MS: i64 = 1_800_000_000_000;

/// A batch as a producer would send it, judged.
#[derive(Clone)]
pub struct Batch {
    /// Time, key, value.
    records: Vec<(i64, Vec<u8>, Option<Vec<u8>>)>,
    producer: Option<(i64, i16, i32)>,
    codec: Codec,
    append_time: bool,
}

impl Batch {
    /// `count` records of one time, `bytes` each.
    pub fn of(count: usize, bytes: usize, timestamp_ms: i64) -> Self {
        let value = |n: usize| Some(vec![b'a' + (n % 26) as u8; bytes]);
        let records = (0..count).map(|n| (timestamp_ms, b"key".to_vec(), value(n))).collect();
        Self { records, producer: None, codec: Codec::None, append_time: false }
    }

    /// One record per time.
    pub fn at(times: &[i64]) -> Self {
        let record = |time: &i64| (*time, b"key".to_vec(), Some(b"value".to_vec()));
        Self { records: times.iter().map(record).collect(), ..Self::of(0, 0, 0) }
    }

    /// Keys with their values, or without one.
    pub fn keyed(records: &[(u8, Option<Vec<u8>>)]) -> Self {
        let record = |(key, value): &(u8, Option<Vec<u8>>)| (NOW_MS, vec![*key], value.clone());
        Self { records: records.iter().map(record).collect(), ..Self::of(0, 0, 0) }
    }

    /// All records of this time.
    pub fn dated(mut self, timestamp_ms: i64) -> Self {
        self.records.iter_mut().for_each(|record| record.0 = timestamp_ms);
        self
    }

    pub fn from(mut self, producer_id: i64, epoch: i16, sequence: i32) -> Self {
        self.producer = Some((producer_id, epoch, sequence));
        self
    }

    pub fn packed(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub fn stamped_at_append(mut self) -> Self {
        self.append_time = true;
        self
    }

    pub fn bytes(&self) -> Bytes {
        let mut builder = BatchBuilder::new(self.codec, None);
        if let Some((id, epoch, sequence)) = self.producer {
            builder = builder.producer(id, epoch, sequence);
        }
        for (timestamp_ms, key, value) in &self.records {
            builder.push(*timestamp_ms, Some(key), value.as_deref(), std::iter::empty());
        }
        builder.build().unwrap()
    }

    pub fn judged(&self) -> ValidBatch {
        let rules = BatchRules {
            max_message_bytes: 64 << 20,
            segment_bytes: 1 << 30,
            compacted: false,
            timestamp_type: if self.append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            compression: CompressionRule::Producer,
            max_decompressed_bytes: 64 << 20,
            open_compressed: true,
        };
        validate(self.bytes(), 9, &rules, NOW_MS).unwrap()
    }
}

pub fn identity() -> Identity {
    Identity::below(Path::new("/data"), "orders", TopicPartition::new(TOPIC, 0))
}

pub fn path(name: &str) -> PathBuf {
    identity().dir.join(name)
}

pub fn small_segments() -> LogSettings {
    LogSettings { segment_bytes: 4096, index_interval_bytes: 256, ..LogSettings::default() }
}

/// A log over files in memory.
pub struct Rig {
    pub files: MemoryFiles,
    pub log: PartitionLog,
    pub report: RecoveryReport,
}

impl Rig {
    pub fn new(settings: LogSettings) -> Self {
        Self::open(&MemoryFiles::new(), settings, OpenHint::default())
    }

    pub fn open(files: &MemoryFiles, settings: LogSettings, hint: OpenHint) -> Self {
        Self::open_in(0, files, settings, hint)
    }

    /// In a broker's life with that leader epoch.
    pub fn open_in(
        leader_epoch: i32,
        files: &MemoryFiles,
        settings: LogSettings,
        hint: OpenHint,
    ) -> Self {
        files.create_dir(Path::new("/data")).unwrap();
        let store = LogStore::new(Arc::new(files.clone()), 64);
        let (log, report) =
            PartitionLog::open(&store, identity(), settings, hint, leader_epoch, NOW_MS).unwrap();
        Self { files: files.clone(), log, report }
    }

    /// As after a crash in which every write survived.
    pub fn crash(self, hint: OpenHint) -> Self {
        let settings = self.log.settings().clone();
        Self::open_in(self.view().leader_epoch() + 1, &self.files.snapshot(), settings, hint)
    }

    /// As after a clean stop.
    pub fn restart(self) -> Self {
        let settings = self.log.settings().clone();
        let leader_epoch = self.view().leader_epoch() + 1;
        let (checkpoint, work) = self.log.close().unwrap();
        work.run(&self.files).unwrap();
        let hint = OpenHint {
            recovery_point: checkpoint.recovery_point,
            log_start: checkpoint.log_start,
            producers: checkpoint.producers,
            clean: true,
            limit: None,
        };
        Self::open_in(leader_epoch, &self.files, settings, hint)
    }

    pub fn append(&mut self, batch: &Batch) -> Appended {
        self.log.append(&mut batch.judged(), NOW_MS).unwrap()
    }

    /// Appends and makes visible.
    pub fn publish(&mut self, batch: &Batch) -> Appended {
        let appended = self.append(batch);
        self.log.view().advance(&appended.end);
        appended
    }

    pub fn show_all(&self) {
        self.log.view().advance(&self.log.end());
    }

    pub fn view(&self) -> &Arc<PartitionView> {
        self.log.view()
    }

    pub fn read(&self, offset: i64, max_bytes: u64) -> Result<Slice, ReadError> {
        self.view().read(Wanted { offset, max_bytes, whole_first_batch: true, hint: None })
    }

    /// Base and last offsets of the batches in a slice.
    pub fn batches(&self, slice: &Slice) -> Vec<(i64, i64)> {
        headers(slice).iter().map(|header| (header.base_offset, header.last_offset())).collect()
    }

    /// Reads from an offset to the end, in pieces, each with the hint of the one before.
    pub fn read_on(&self, from: i64, max_bytes: u64) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = Vec::new();
        let (mut offset, mut hint) = (from, None::<ReadHint>);
        loop {
            let wanted = Wanted { offset, max_bytes, whole_first_batch: true, hint };
            let slice = self.view().read(wanted).unwrap();
            if slice.is_empty() {
                return all;
            }
            all.extend(self.batches(&slice));
            offset = all.last().unwrap().1 + 1;
            hint = slice.next_hint;
        }
    }
}

pub fn bytes_of(slice: &Slice) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(slice.len).unwrap()];
    if let Some(file) = &slice.file {
        assert_eq!(file.read_at(&mut bytes, slice.position).unwrap(), bytes.len());
    }
    bytes
}

/// The headers of a slice, which must be whole batches.
pub fn headers(slice: &Slice) -> Vec<BatchHeader> {
    let bytes = bytes_of(slice);
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).unwrap();
        rest = &rest[header.total_bytes()..];
        found.push(header);
    }
    found
}
