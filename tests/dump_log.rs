//! Kafka's own `kafka-dump-log` reads what the partition log writes: batches, both indexes,
//! producer snapshots and the epoch file, after rolls, restarts, a crash, a cut and compaction.
//!
//! Needs Java and Kafka's jars, which `compat/peers/kafka` fetches.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use klamm::base::ids::{TopicPartition, Uuid};
use klamm::log::cache::LogStore;
use klamm::log::compact::map::OffsetMap;
use klamm::log::compact::round::{self, Surroundings, Task};
use klamm::log::compact::swap::Replacement;
use klamm::log::dir::Identity;
use klamm::log::partition::PartitionLog;
use klamm::log::recover::OpenHint;
use klamm::log::settings::LogSettings;
use klamm::log::validate::{BatchRules, CompressionRule, ValidBatch, validate};
use klamm::store::local::LocalFiles;
use klamm::wire::batch::TimestampType;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;

const NOW_MS: i64 = 1_800_000_000_000;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// The `n`th batch: codecs, sizes and producers vary, times wander back and forth.
fn batch(n: i32, timestamp_type: TimestampType) -> ValidBatch {
    let codec = CODECS[n as usize % CODECS.len()];
    let count = n % 7 + 1;
    let mut builder = BatchBuilder::new(codec, None);
    if n % 3 == 0 {
        builder = builder.producer(2_000 + i64::from(n), 0, i32::MAX - 2);
    }
    for record in 0..count {
        let time = NOW_MS + i64::from(n * 10 - record * 30);
        let value = vec![b'a' + (record % 26) as u8; 100 + (n * 37 % 900) as usize];
        builder.push(time, Some(b"key"), Some(&value), std::iter::empty());
    }
    let batch = builder.build().expect("the test directory works");
    validate(batch, 9, &rules(timestamp_type), NOW_MS).unwrap()
}

fn rules(timestamp_type: TimestampType) -> BatchRules {
    BatchRules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 20,
        compacted: false,
        timestamp_type,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        compression: CompressionRule::Producer,
        max_decompressed_bytes: 1 << 20,
        open_compressed: true,
    }
}

struct Written {
    log: PartitionLog,
    store: LogStore,
    identity: Identity,
}

impl Written {
    fn new(data_dir: &Path) -> Self {
        let store = LogStore::new(Arc::new(LocalFiles), 64);
        let tp = TopicPartition::new(Uuid::from_u128(7), 0);
        let identity = Identity::below(data_dir, "orders", tp);
        let log = Self::open(&store, &identity, OpenHint::default(), 0);
        Self { log, store, identity }
    }

    fn open(store: &LogStore, identity: &Identity, hint: OpenHint, epoch: i32) -> PartitionLog {
        let settings = LogSettings {
            segment_bytes: 9_000,
            index_interval_bytes: 512,
            ..LogSettings::default()
        };
        let opened = PartitionLog::open(store, identity.clone(), settings, hint, epoch, NOW_MS)
            .expect("the test directory works");
        opened.0
    }

    fn append(&mut self, batches: std::ops::Range<i32>, timestamp_type: TimestampType) {
        for n in batches {
            let now_ms = NOW_MS + i64::from(n * 10);
            let appended = self
                .log
                .append(&mut batch(n, timestamp_type), now_ms)
                .expect("the test directory works");
            self.log.view().advance(&appended.end);
        }
    }

    fn restart(self, epoch: i32) -> Self {
        let Self { log, store, identity } = self;
        let (checkpoint, work) = log.close().expect("the test directory works");
        work.run(&LocalFiles).expect("the test directory works");
        let hint = OpenHint {
            recovery_point: checkpoint.recovery_point,
            log_start: checkpoint.log_start,
            producers: checkpoint.producers,
            clean: true,
            limit: None,
        };
        let log = Self::open(&store, &identity, hint, epoch);
        Self { log, store, identity }
    }

    fn crash(self, epoch: i32) -> Self {
        let Self { log, store, identity } = self;
        drop(log);
        let log = Self::open(&store, &identity, OpenHint::default(), epoch);
        log.view().advance(&log.end());
        Self { log, store, identity }
    }
}

struct Owner<'a>(&'a mut PartitionLog);

impl Surroundings for Owner<'_> {
    fn pace(&mut self, _: usize) -> bool {
        true
    }

    fn swap(&mut self, replacement: Replacement) -> std::io::Result<bool> {
        self.0.replace(&replacement, NOW_MS)
    }
}

/// A batch of a compacted topic: keys come round, every third of them without a value.
fn keyed_batch(n: i32) -> ValidBatch {
    let codec = CODECS[n as usize % CODECS.len()];
    let mut builder = BatchBuilder::new(codec, None);
    if n % 2 == 0 {
        builder = builder.producer(3_000 + i64::from(n % 8), 0, n / 8 * 3);
    }
    for record in 0..3 {
        let key = format!("key-{}", (n * 3 + record) % 11);
        let value = [b'a'; 100];
        let value = ((n + record) % 3 > 0).then_some(&value[..]);
        let time = NOW_MS + i64::from(n * 10 + record);
        builder.push(time, Some(key.as_bytes()), value, std::iter::empty());
    }
    let rules = BatchRules { compacted: true, ..rules(TimestampType::CreateTime) };
    validate(builder.build().expect("a small batch"), 9, &rules, NOW_MS).unwrap()
}

#[test]
#[ignore = "needs Java and Kafka's jars; run with --ignored"]
fn kafka_dump_log_verifies_a_compacted_log() {
    let scratch = tempfile::tempdir().expect("the test directory works");
    let mut written = Written::new(scratch.path());
    for n in 0..200 {
        let appended = written.log.append(&mut keyed_batch(n), NOW_MS).expect("in order");
        written.log.view().advance(&appended.end);
    }
    let segments = written.log.view().segments();
    let sealed = segments.len() - 1;
    let settings = written.log.settings().clone();
    let producers = written.log.producers().to_checkpoint().into_iter();
    let last_offset = |state: klamm::log::producers::ProducerState| {
        Some((state.producer_id, state.batches.last()?.last_offset))
    };
    let task = Task {
        store: &written.store,
        end: segments[sealed].base_offset(),
        first_dirty: 0,
        last_offsets: producers.filter_map(last_offset).collect(),
        settings: &settings,
        now_ms: NOW_MS,
    };
    let taking_part = segments[..sealed].to_vec();
    let map = OffsetMap::new(1 << 16, 0.9);
    let done = round::run(&task, taking_part, map, &mut Owner(&mut written.log));
    assert!(done.expect("the test directory works").removed_records > 400);
    let written = written.restart(1);
    let dir = &written.identity.dir;

    let logs = files(dir, ".log");
    let text = dump(&["--deep-iteration", "--print-data-log"], &logs);
    assert!(text.contains("deleteHorizonMs: OptionalLong[") && text.contains("count: 0"), "{text}");
    assert!(!text.contains("isvalid: false"), "{text}");
    let all: Vec<PathBuf> = [files(dir, ".index"), files(dir, ".timeindex")].concat();
    let text = dump(&["--index-sanity-check"], &all);
    // What is left of a segment may be too little for an entry of the offset index.
    let sane = text.matches("passed sanity check").count() + text.matches("is empty").count();
    assert_eq!(sane, all.len(), "{text}");
    for flags in [&["--verify-index-only"][..], &[]] {
        let text = dump(flags, &all);
        for complaint in ["Mismatches", "mismatch", "out of order", "not found"] {
            assert!(!text.contains(complaint), "{text}");
        }
    }
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the test directory works")
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.to_string_lossy().ends_with(suffix));
    paths.sort();
    paths
}

fn dump(flags: &[&str], paths: &[PathBuf]) -> String {
    let list: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let kafka = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/peers/kafka");
    let output = Command::new(kafka)
        .args(["tool", "DumpLogSegments", "--files", &list.join(",")])
        .args(flags)
        .output()
        .expect("the test directory works");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn verify_indexes(all: &[PathBuf]) {
    let text = dump(&["--index-sanity-check"], all);
    assert_eq!(text.matches("passed sanity check").count(), all.len(), "{text}");
    for flags in [&["--verify-index-only"][..], &[]] {
        let text = dump(flags, all);
        for complaint in ["Mismatches", "mismatch", "out of order", "not found"] {
            assert!(!text.contains(complaint), "{text}");
        }
    }
}

/// A log beside a delay journal: offsets skip what that has, and halves of pairs carry a bit that
/// Kafka does not know.
#[test]
#[ignore = "needs Java and Kafka's jars; run with --ignored"]
fn kafka_dump_log_takes_holes_and_pairs() {
    let scratch = tempfile::tempdir().expect("the test directory works");
    let mut written = Written::new(scratch.path());
    for n in 0..120 {
        written.log.set_floor(written.log.end().offset + i64::from(n % 5 * 1_000));
        let mut batch = batch(n, TimestampType::CreateTime);
        batch.set_paired(n % 4 == 0);
        written.log.append(&mut batch, NOW_MS).expect("the test directory works");
    }
    let written = written.crash(1).restart(2);
    let dir = &written.identity.dir;
    let logs = files(dir, ".log");
    let text = dump(&["--deep-iteration"], &logs);
    let valid = text.matches("isvalid: true").count();
    assert_eq!((valid, text.matches("isvalid: false").count()), (120, 0), "{text}");
    verify_indexes(&[files(dir, ".index"), files(dir, ".timeindex")].concat());
}

#[test]
#[ignore = "needs Java and Kafka's jars; run with --ignored"]
fn kafka_dump_log_verifies_all_files() {
    let scratch = tempfile::tempdir().expect("the test directory works");
    let mut written = Written::new(scratch.path());
    written.append(0..150, TimestampType::CreateTime);
    let mut written = written.restart(1);
    written.append(150..260, TimestampType::LogAppendTime);
    let mut written = written.crash(2);
    written.append(260..300, TimestampType::CreateTime);
    let written = written.restart(3);
    let dir = &written.identity.dir;

    let (logs, indexes, times) =
        (files(dir, ".log"), files(dir, ".index"), files(dir, ".timeindex"));
    assert!(logs.len() > 3 && indexes.len() == logs.len() && times.len() == logs.len());
    let text = dump(&["--deep-iteration"], &logs);
    let valid = text.matches("isvalid: true").count();
    assert_eq!((valid, text.matches("isvalid: false").count()), (300, 0), "{text}");
    assert!(!text.contains("Non-consecutive"), "{text}");
    verify_indexes(&indexes.iter().chain(&times).cloned().collect::<Vec<_>>());
    let text = dump(&[], &files(dir, ".snapshot"));
    assert!(text.contains("producerId: 2297"), "{text}");
    let epochs = std::fs::read_to_string(dir.join("leader-epoch-checkpoint"))
        .expect("the test directory works");
    assert_eq!(epochs.lines().count(), 5, "{epochs}");
}
