//! Rounds of compaction over whole logs, interrupted at every step, against a table of the latest
//! values.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use rustc_hash::FxHashMap;

use super::kit::*;
use crate::log::cache::LogStore;
use crate::log::compact::CompactError;
use crate::log::compact::map::OffsetMap;
use crate::log::compact::round::{self, Done, Surroundings, Task};
use crate::log::compact::swap::Replacement;
use crate::log::partition::PartitionLog;
use crate::log::read::Wanted;
use crate::log::recover::OpenHint;
use crate::log::settings::LogSettings;
use crate::store::memory::MemoryFiles;
use crate::store::{DirEntry, File, Files, OpenMode};
use crate::wire::batch::{BatchHeader, HEADER_BYTES};
use crate::wire::compression::Codec;
use crate::wire::records;

/// Files of which every state between two changes of a directory is kept.
#[derive(Clone)]
struct Filmed {
    files: MemoryFiles,
    states: Arc<Mutex<Vec<MemoryFiles>>>,
}

impl Filmed {
    fn new(files: &MemoryFiles) -> Self {
        Self { files: files.clone(), states: Arc::default() }
    }

    fn keep(&self) {
        self.states.lock().push(self.files.snapshot());
    }
}

impl Files for Filmed {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.files.open(path, mode)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.files.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.keep();
        self.files.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.keep();
        self.files.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.keep();
        self.files.sync_dir(dir)
    }
}

struct Owner<'a> {
    log: &'a mut PartitionLog,
    /// Batches until the round is told to end.
    patience: usize,
}

impl Surroundings for Owner<'_> {
    fn pace(&mut self, _: usize) -> bool {
        self.patience = self.patience.saturating_sub(1);
        self.patience > 0
    }
    fn swap(&mut self, replacement: Replacement) -> io::Result<bool> {
        self.log.replace(&replacement, NOW_MS)
    }
}

/// One round over all sealed segments.
fn compact(
    log: &mut PartitionLog,
    first_dirty: i64,
    map: OffsetMap,
    patience: usize,
    now_ms: i64,
) -> Result<Option<Done>, CompactError> {
    let segments = log.view().segments();
    let Some(sealed) = segments.len().checked_sub(1).filter(|sealed| *sealed > 0) else {
        return Ok(None);
    };
    let last = |state: &crate::log::producers::ProducerState| {
        Some((state.producer_id, state.batches.last()?.last_offset))
    };
    let last_offsets: FxHashMap<i64, i64> =
        log.producers().to_checkpoint().iter().filter_map(last).collect();
    let settings = log.settings().clone();
    let store = log.store.clone();
    let task = Task {
        store: &store,
        end: segments[sealed].base_offset(),
        first_dirty: first_dirty.max(segments[0].base_offset()),
        last_offsets,
        settings: &settings,
        now_ms,
    };
    let sealed = segments[..sealed].to_vec();
    round::run(&task, sealed, map, &mut Owner { log, patience }).map(Some)
}

fn wide_map() -> OffsetMap {
    OffsetMap::new(1 << 16, 0.9)
}

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 700,
        index_interval_bytes: 200,
        cleanup_delete: false,
        cleanup_compact: true,
        delete_retention_ms: 1_000,
        ..LogSettings::default()
    }
}

/// All records from an offset on: offset, key, value.
fn records_from(log: &PartitionLog, from: i64) -> Vec<(i64, u8, Option<Vec<u8>>)> {
    let (mut offset, mut hint, mut all) = (from, None, Vec::new());
    loop {
        let wanted = Wanted { offset, max_bytes: 500, whole_first_batch: true, hint };
        let slice = log.view().read(wanted).unwrap();
        if slice.is_empty() {
            return all;
        }
        let bytes = bytes_of(&slice);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            let (batch, others) = rest.split_at(header.total_bytes());
            let codec = header.codec().unwrap();
            let body = &batch[HEADER_BYTES..];
            if header.record_count > 0 {
                records::for_each(codec, body, header.record_count, 1 << 20, |record| {
                    let offset = header.base_offset + i64::from(record.offset_delta);
                    let value = record.value.map(<[u8]>::to_vec);
                    all.push((offset, record.key.unwrap()[0], value));
                })
                .unwrap();
            }
            offset = header.last_offset() + 1;
            rest = others;
        }
        hint = slice.next_hint;
    }
}

/// What a consumer that reads all of it knows in the end.
fn table(log: &PartitionLog) -> BTreeMap<u8, (i64, Vec<u8>)> {
    let mut table = BTreeMap::new();
    for (offset, key, value) in records_from(log, log.view().log_start()) {
        match value {
            Some(value) => drop(table.insert(key, (offset, value))),
            None => drop(table.remove(&key)),
        }
    }
    table
}

#[derive(Clone, Debug)]
enum Do {
    Append {
        codec: usize,
        records: Vec<(u8, Option<u8>)>,
        producer: Option<i64>,
    },
    /// With room for so many keys, ended after so many batches, so many seconds after the last.
    Compact {
        keys: usize,
        patience: usize,
        later_s: i64,
    },
    Restart,
    Crash,
}

fn any_step() -> impl Strategy<Value = Do> {
    let record = (b'a'..b'f', prop::option::weighted(0.8, any::<u8>()));
    let append = (0..5_usize, prop::collection::vec(record, 1..4), prop::option::of(1..4_i64));
    prop_oneof![
        10 => append.prop_map(|(codec, records, producer)| Do::Append { codec, records, producer }),
        3 => (1..12_usize, prop_oneof![Just(usize::MAX), 1..40_usize], 0..2_i64)
            .prop_map(|(keys, patience, later_s)| Do::Compact { keys, patience, later_s }),
        1 => Just(Do::Restart),
        1 => Just(Do::Crash),
    ]
}

#[derive(Default)]
struct Model {
    table: BTreeMap<u8, (i64, Vec<u8>)>,
    end: i64,
    /// Next sequence and last batch of each producer.
    producers: BTreeMap<i64, (i32, Batch, i64)>,
    cleaned_to: i64,
    now_ms: i64,
}

impl Model {
    fn append(
        &mut self,
        rig: &mut Rig,
        codec: usize,
        records: &[(u8, Option<u8>)],
        by: Option<i64>,
    ) {
        // Values long enough that a few batches fill a segment.
        let long = |(key, value): &(u8, Option<u8>)| (*key, value.map(|byte| vec![byte; 60]));
        let records: Vec<(u8, Option<Vec<u8>>)> = records.iter().map(long).collect();
        let mut batch = Batch::keyed(&records).packed(Codec::ALL[codec]);
        if let Some(id) = by {
            let sequence = self.producers.get(&id).map_or(0, |(next, ..)| *next);
            batch = batch.from(id, 0, sequence);
            let next = sequence + i32::try_from(records.len()).unwrap();
            self.producers.insert(id, (next, batch.clone(), self.end));
        }
        let appended = rig.publish(&batch);
        assert_eq!(appended.base_offset, self.end);
        for (key, value) in records {
            match value {
                Some(value) => drop(self.table.insert(key, (self.end, value))),
                None => drop(self.table.remove(&key)),
            }
            self.end += 1;
        }
    }

    /// What must hold however the log came to be.
    fn check(&self, rig: &mut Rig) {
        rig.show_all();
        assert_eq!(table(&rig.log), self.table);
        assert_eq!((rig.view().log_start(), rig.view().log_end()), (0, self.end));
        for (_, batch, base_offset) in self.producers.values() {
            let again = rig.append(batch);
            assert!(again.duplicate && again.base_offset == *base_offset);
        }
    }

    fn compact(&mut self, rig: &mut Rig, keys: usize, patience: usize) {
        // 24 bytes a key, and one slot must stay empty.
        let map = OffsetMap::new(24 * (keys + 1), 1.0);
        let films = Filmed::new(&rig.files);
        rig.log.store = LogStore::new(Arc::new(films.clone()), 16);
        let done = match compact(&mut rig.log, self.cleaned_to, map, patience, self.now_ms) {
            Ok(done) => done,
            Err(CompactError::Interrupted) => None,
            Err(error) => panic!("{error}"),
        };
        for files in films.states.lock().iter() {
            let settings = rig.log.settings().clone();
            let mut crashed = Rig::open_in(9, files, settings, OpenHint::default());
            assert_eq!((crashed.report.cut, crashed.report.lost_from), (None, None));
            self.check(&mut crashed);
        }
        if let Some(done) = done {
            assert!(done.cleaned_to > self.cleaned_to || !done.is_partial);
            self.cleaned_to = done.cleaned_to;
            self.check_clean(rig);
        }
    }

    /// Below where a round ended no key is there twice.
    fn check_clean(&self, rig: &Rig) {
        let mut seen = BTreeMap::new();
        for (offset, key, _) in records_from(&rig.log, 0) {
            if offset < self.cleaned_to {
                assert_eq!(seen.insert(key, offset), None, "key {key} at {offset} again");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_life_of_a_log_loses_a_latest_value(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut rig = Rig::new(settings());
        let mut model = Model { now_ms: NOW_MS, ..Model::default() };
        for step in steps {
            match step {
                Do::Append { codec, records, producer } => {
                    model.append(&mut rig, codec, &records, producer);
                }
                Do::Compact { keys, patience, later_s } => {
                    model.now_ms += later_s * 1_000;
                    model.compact(&mut rig, keys, patience);
                }
                Do::Restart => rig = rig.restart(),
                Do::Crash => rig = rig.crash(OpenHint::default()),
            }
            model.check(&mut rig);
        }
    }
}

/// A log with several sealed segments in which few keys come again and again.
fn busy(settings: LogSettings) -> Rig {
    let mut rig = Rig::new(settings);
    for n in 0..40_u8 {
        rig.publish(&Batch::keyed(&[(b'a' + n % 4, Some(vec![n; 100])), (b'z', Some(vec![n]))]));
    }
    rig
}

#[test]
fn a_round_leaves_one_record_a_key_and_merges_what_is_left() {
    let mut rig = busy(settings());
    let before = rig.view().segments().len();
    let done = compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS).unwrap().unwrap();
    assert!(before > 8 && !done.is_partial);
    let segments = rig.view().segments();
    assert!(segments.len() <= before);
    // Sizes are judged before the round, so that the second one merges.
    compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS).unwrap();
    assert!(rig.view().segments().len() < before / 2);
    let cleaned: Vec<_> =
        records_from(&rig.log, 0).into_iter().filter(|r| r.0 < done.cleaned_to).collect();
    assert_eq!(cleaned.len(), 5);
    assert_eq!(rig.view().log_end(), 80);
}

#[test]
fn a_reader_that_holds_a_replaced_segment_can_finish() {
    let mut rig = busy(settings());
    let before = table(&rig.log);
    let slice = rig.read(3, 300).unwrap();
    let bytes = bytes_of(&slice);
    let segments = rig.view().segments();
    // Not one file is open when the names change hands.
    rig.log.store = LogStore::new(Arc::new(rig.files.clone()), 8);
    compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS).unwrap();
    assert_eq!(bytes_of(&slice), bytes);
    for segment in &segments[..segments.len() - 1] {
        assert_eq!(segment.file().unwrap().len_bytes().unwrap(), segment.size_bytes());
        let past = segment.position_before(segment.base_offset() + 3).unwrap();
        assert!(past < segment.size_bytes());
    }
    // The hint is of a file that has lost its place.
    let wanted = Wanted {
        offset: rig.batches(&slice).last().unwrap().1 + 1,
        max_bytes: 300,
        whole_first_batch: true,
        hint: slice.next_hint,
    };
    assert!(!headers(&rig.view().read(wanted).unwrap()).is_empty());
    assert_eq!(table(&rig.log), before);
}

#[test]
fn a_log_that_has_changed_meanwhile_refuses_the_swap() {
    struct Changing<'a>(&'a mut PartitionLog, usize);
    impl Surroundings for Changing<'_> {
        fn pace(&mut self, _: usize) -> bool {
            true
        }
        fn swap(&mut self, replacement: Replacement) -> io::Result<bool> {
            self.1 += 1;
            let end = self.0.view().high_watermark();
            self.0.delete_records(end - 1).unwrap();
            self.0.retain(NOW_MS)?;
            self.0.replace(&replacement, NOW_MS)
        }
    }
    let mut rig = busy(settings());
    let segments = rig.view().segments();
    let (sealed, store) = (segments.len() - 1, rig.log.store.clone());
    let settings = rig.log.settings().clone();
    let task = Task {
        store: &store,
        end: segments[sealed].base_offset(),
        first_dirty: 0,
        last_offsets: FxHashMap::default(),
        settings: &settings,
        now_ms: NOW_MS,
    };
    let mut owner = Changing(&mut rig.log, 0);
    let outcome = round::run(&task, segments[..sealed].to_vec(), wide_map(), &mut owner);
    assert!(matches!(outcome, Err(CompactError::Interrupted)) && owner.1 == 1);
    let names = rig.files.list(&identity().dir).unwrap();
    assert!(names.iter().all(|entry| !entry.name.contains(".cleaned")), "{names:?}");
    assert_eq!(records_from(&rig.log, rig.view().log_start()).last().unwrap().0, 79);
}

#[test]
fn damage_ends_the_round_and_changes_nothing() {
    let mut rig = busy(settings());
    let segments = rig.view().segments();
    let path = segments[1].paths()[0].clone();
    let mut bytes = rig.files.read(&path).unwrap();
    bytes[90] ^= 1;
    rig.files.put(&path, bytes);
    let outcome = compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS);
    let base = segments[1].base_offset();
    assert!(matches!(outcome, Err(CompactError::Damaged { segment, .. }) if segment == base));
    assert!(Arc::ptr_eq(&rig.view().segments()[0], &segments[0]));
}

#[test]
fn what_waits_too_long_for_compaction_is_sealed() {
    let mut rig = busy(LogSettings { max_compaction_lag_ms: 5_000, ..settings() });
    let before = rig.view().segments().len();
    assert!(!rig.log.roll_for_compaction(NOW_MS + 5_000).unwrap());
    assert!(rig.log.roll_for_compaction(NOW_MS + 5_001).unwrap());
    assert_eq!(rig.view().segments().len(), before + 1);
    assert!(
        !rig.log.roll_for_compaction(NOW_MS + 90_000).unwrap(),
        "an empty one waits for nothing"
    );
}

#[test]
fn times_and_deletions_work_on_what_is_left() {
    let mut rig = Rig::new(settings());
    let timed = |n: i64, key: u8| Batch::keyed(&[(key, Some(vec![0; 150]))]).dated(NOW_MS + n);
    // The newest record of all is superseded by an older one, in the last batch of a segment.
    for (n, key) in [(1, b'a'), (2, b'b'), (9, b'c'), (3, b'd'), (4, b'c'), (5, b'e'), (6, b'f')] {
        rig.publish(&timed(n, key));
    }
    assert!(rig.view().segments()[1].base_offset() == 3, "three batches fill a segment");
    assert_eq!(rig.view().offset_of_max_timestamp().unwrap().unwrap().offset, 2);
    compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS).unwrap();
    assert_eq!(rig.view().offset_of_max_timestamp().unwrap().unwrap().offset, 6);
    let at = |n: i64| rig.view().offset_for_time(NOW_MS + n).unwrap().map(|found| found.offset);
    assert_eq!([at(1), at(3), at(6), at(7)], [Some(0), Some(3), Some(6), None]);
    // A fetch into the hole begins with the batch that covers it.
    assert_eq!(rig.batches(&rig.read(2, 1).unwrap()), [(2, 2)]);
    assert_eq!(rig.log.delete_records(4).unwrap(), 4);
    assert_eq!(rig.log.retain(NOW_MS).unwrap().len(), 1);
    assert_eq!(records_from(&rig.log, 4).iter().map(|r| r.0).collect::<Vec<_>>(), [4, 5, 6]);
}

#[test]
fn retention_by_time_goes_on_where_compaction_has_been() {
    let both = LogSettings { cleanup_delete: true, retention_ms: 1_000, ..settings() };
    let mut rig = busy(both);
    compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS).unwrap();
    assert_eq!(rig.log.retain(NOW_MS + 1_000).unwrap(), []);
    assert!(!rig.log.retain(NOW_MS + 1_001).unwrap().is_empty());
    assert_eq!((rig.view().log_start(), rig.view().log_end()), (80, 80));
}

/// Files of which no directory can be synced.
struct Unsyncable(MemoryFiles);

impl Files for Unsyncable {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.0.open(path, mode)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_failed_sync_is_told_from_other_failures_and_nothing_is_swapped_in() {
    let mut rig = busy(settings());
    let before = rig.view().segments();
    rig.log.store = LogStore::new(Arc::new(Unsyncable(rig.files.clone())), 8);
    let outcome = compact(&mut rig.log, 0, wide_map(), usize::MAX, NOW_MS);
    assert!(matches!(outcome, Err(CompactError::Sync(_))));
    assert!(Arc::ptr_eq(&rig.view().segments()[0], &before[0]));
}
