//! Micro benches of what every produced and fetched batch passes through: `cargo bench --bench
//! micro [FILTER]`. Shapes are those of the end-to-end benches: 1 MB and 16 KB of records of
//! 1 KB, 1,000 records of 10 B, and a single record of 100 B.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

use klamm::base::ids::{TopicPartition, Uuid};
use klamm::base::settings::{BrokerConfig, DelaySettings, Overrides};
use klamm::delay::rules::DelayRules;
use klamm::log::cache::LogStore;
use klamm::log::dir::Identity;
use klamm::log::partition::PartitionLog;
use klamm::log::read::Wanted;
use klamm::log::recover::OpenHint;
use klamm::log::settings::LogSettings;
use klamm::log::validate::{self, BatchRules, CompressionRule, Moment, validate};
use klamm::store::local::LocalFiles;
use klamm::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records::{Header, Records};

const NOW_MS: i64 = 1_700_000_000_000;

fn main() {
    divan::main();
}

/// A named batch shape.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    records: usize,
    record_bytes: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const SHAPES: [Shape; 4] = [
    Shape { name: "1MB", records: 1_000, record_bytes: 1_024 },
    Shape { name: "16KB", records: 16, record_bytes: 1_024 },
    Shape { name: "1000x10B", records: 1_000, record_bytes: 10 },
    Shape { name: "1x100B", records: 1, record_bytes: 100 },
];

/// A shape in a codec.
#[derive(Clone, Copy)]
struct Packed(Shape, Codec);

impl std::fmt::Display for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.1.name(), self.0)
    }
}

fn packed() -> impl Iterator<Item = Packed> {
    let codecs = Codec::ALL.into_iter().filter(|codec| *codec != Codec::None);
    codecs.flat_map(|codec| SHAPES.map(|shape| Packed(shape, codec)))
}

/// Values that compress about as JSON does.
fn batch(shape: Shape, codec: Codec, headers: usize) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for n in 0..shape.records {
        let mut value = String::new();
        while value.len() < shape.record_bytes {
            value += &format!("{{\"order\":{},\"state\":\"paid\"}},", (n + value.len()) * 7_919);
        }
        let header = Header { key: b"trace-id", value: Some(b"0123456789abcdef") };
        let value = &value.as_bytes()[..shape.record_bytes];
        builder.push(NOW_MS, None, Some(value), vec![header; headers].into_iter());
    }
    builder.build().expect("a batch of ordinary size")
}

fn rules() -> BatchRules {
    BatchRules {
        max_message_bytes: 2 << 20,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: CompressionRule::Producer,
        max_decompressed_bytes: 64 << 20,
        open_compressed: true,
    }
}

fn judge(bencher: Bencher<'_, '_>, batch: Bytes, rules: BatchRules) {
    let bencher = bencher.counter(BytesCount::new(batch.len()));
    bencher.bench(|| validate(black_box(batch.clone()), 9, &rules, NOW_MS).expect("valid"));
}

#[divan::bench(args = SHAPES)]
fn validate_plain(bencher: Bencher<'_, '_>, shape: Shape) {
    judge(bencher, batch(shape, Codec::None, 0), rules());
}

#[divan::bench(args = packed())]
fn validate_packed(bencher: Bencher<'_, '_>, packed: Packed) {
    judge(bencher, batch(packed.0, packed.1, 0), rules());
}

#[divan::bench(args = SHAPES)]
fn validate_packed_unopened(bencher: Bencher<'_, '_>, shape: Shape) {
    let rules = BatchRules { open_compressed: false, ..rules() };
    judge(bencher, batch(shape, Codec::Lz4, 0), rules);
}

/// Judged as produce does it, with delayed delivery.
fn judge_with_delays(bencher: Bencher<'_, '_>, batch: Bytes) {
    let settings = DelaySettings::resolve(&Overrides::new(), &BrokerConfig::default());
    let delay = DelayRules::of(&settings);
    let now = Moment { wall_ms: NOW_MS, release_ms: NOW_MS };
    let bencher = bencher.counter(BytesCount::new(batch.len()));
    bencher.bench(|| {
        validate::judge(black_box(batch.clone()), 9, &rules(), &delay, now).expect("valid")
    });
}

#[divan::bench(args = SHAPES)]
fn judge_plain(bencher: Bencher<'_, '_>, shape: Shape) {
    judge_with_delays(bencher, batch(shape, Codec::None, 0));
}

#[divan::bench(args = [0, 2, 5])]
fn validate_1000_records_with_headers(bencher: Bencher<'_, '_>, headers: usize) {
    judge(bencher, batch(SHAPES[2], Codec::None, headers), rules());
}

#[divan::bench(args = [0, 2, 5])]
fn judge_1000_records_with_headers(bencher: Bencher<'_, '_>, headers: usize) {
    judge_with_delays(bencher, batch(SHAPES[2], Codec::None, headers));
}

/// A batch of which each so many-th record is delayed.
fn delayed(shape: Shape, each: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    let value = vec![b'v'; shape.record_bytes];
    let headers = [
        Header { key: b"trace-id", value: Some(b"0123456789abcdef") },
        Header { key: b"klamm.delay", value: Some(b"30m") },
    ];
    for n in 0..shape.records {
        let headers = if n % each == 0 { &headers[..] } else { &headers[..1] };
        builder.push(NOW_MS, None, Some(&value), headers.iter().copied());
    }
    builder.build().expect("a batch of ordinary size")
}

#[divan::bench(args = SHAPES)]
fn judge_wholly_delayed(bencher: Bencher<'_, '_>, shape: Shape) {
    judge_with_delays(bencher, delayed(shape, 1));
}

#[divan::bench(args = SHAPES)]
fn judge_half_delayed(bencher: Bencher<'_, '_>, shape: Shape) {
    judge_with_delays(bencher, delayed(shape, 2));
}

#[divan::bench(args = [0, 2])]
fn hop_1000_records(bencher: Bencher<'_, '_>, headers: usize) {
    let batch = batch(SHAPES[2], Codec::None, headers);
    let header = BatchHeader::parse(&batch).expect("built above");
    bencher.counter(ItemsCount::new(1_000_usize)).bench(|| {
        let records = Records::new(black_box(&batch[HEADER_BYTES..]), header.record_count);
        records.flatten().fold(0, |sum, record| sum + record.timestamp_delta_ms)
    });
}

#[divan::bench(args = SHAPES)]
fn crc(bencher: Bencher<'_, '_>, shape: Shape) {
    let batch = batch(shape, Codec::None, 0);
    let bencher = bencher.counter(BytesCount::new(batch.len()));
    bencher.bench(|| klamm::wire::crc::crc32c(black_box(&batch)));
}

#[divan::bench(args = [None, Some(NOW_MS + 1)])]
fn stamp_1mb(bencher: Bencher<'_, '_>, append_time_ms: Option<i64>) {
    let mut batch = validate(batch(SHAPES[0], Codec::None, 0), 9, &rules(), NOW_MS).expect("valid");
    let mut offset = 0;
    bencher.bench_local(|| {
        offset += 1_000;
        batch.stamp(black_box(offset), 3, append_time_ms.map(|now_ms| now_ms + offset));
    });
}

/// An empty log in a directory of the machine's own file system, with small segments, so that
/// rolling is part of what is measured.
fn log(dir: &Path) -> PartitionLog {
    let identity = Identity::below(dir, "bench", TopicPartition::new(Uuid::from_u128(1), 0));
    let store = LogStore::new(Arc::new(LocalFiles), 64);
    let settings = LogSettings { segment_bytes: 64 << 20, ..LogSettings::default() };
    let opened = PartitionLog::open(&store, identity, settings, OpenHint::default(), 0, NOW_MS);
    opened.expect("a new log opens").0
}

#[divan::bench(args = SHAPES, sample_count = 50, sample_size = 10)]
fn append(bencher: Bencher<'_, '_>, shape: Shape) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let mut log = log(dir.path());
    let mut batch = validate(batch(shape, Codec::None, 0), 9, &rules(), NOW_MS).expect("valid");
    let bencher = bencher.counter(BytesCount::new(batch.size_bytes()));
    bencher.bench_local(|| {
        let appended = log.append(&mut batch, NOW_MS).expect("the disk has room");
        log.view().advance(&appended.end);
    });
}

/// Where a fetch finds its bytes: following the last one, and anywhere.
#[divan::bench(args = [true, false])]
fn locate_in_10000_batches(bencher: Bencher<'_, '_>, in_order: bool) {
    const BATCHES: i64 = 10_000;
    let dir = tempfile::tempdir().expect("a scratch directory");
    let mut log = log(dir.path());
    let mut batch = validate(batch(SHAPES[1], Codec::None, 0), 9, &rules(), NOW_MS).expect("valid");
    for _ in 0..BATCHES {
        let appended = log.append(&mut batch, NOW_MS).expect("the disk has room");
        log.view().advance(&appended.end);
    }
    let (mut turn, mut hint) = (0, None);
    bencher.bench_local(|| {
        turn = (turn + if in_order { 1 } else { 7_919 }) % BATCHES;
        let wanted = Wanted { offset: turn * 16, max_bytes: 16_384, whole_first_batch: true, hint };
        let slice = log.view().read(wanted).expect("the offset is in the log");
        hint = if in_order { slice.next_hint } else { None };
        slice.len
    });
}
