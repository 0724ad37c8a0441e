//! A log and its journal: one space of offsets, holes, pairs.

use std::sync::Arc;

use bytes::Bytes;

use super::kit::*;
use crate::log::cache::{FileKind, LogStore};
use crate::log::error::{AppendError, ReadError, ReplayError};
use crate::log::journal;
use crate::log::pairs;
use crate::log::partition::{Appended, PartitionLog};
use crate::log::recover::{OpenHint, RecoveryReport};
use crate::log::scan::Flaw;
use crate::log::settings::LogSettings;
use crate::log::validate::ValidBatch;
use crate::store::Files;
use crate::store::memory::MemoryFiles;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};

/// A partition's two logs over files in memory.
struct Both {
    log: Rig,
    journal: PartitionLog,
    reports: [RecoveryReport; 2],
}

fn journal_of(
    files: &MemoryFiles,
    log: &LogSettings,
    hint: OpenHint,
) -> (PartitionLog, RecoveryReport) {
    let store = LogStore::new(Arc::new(files.clone()), 64);
    let (identity, settings) = (journal::identity(&identity()), journal::settings(log, 4096));
    PartitionLog::open(&store, identity, settings, hint, 0, NOW_MS).unwrap()
}

impl Both {
    fn new(settings: LogSettings) -> Self {
        Self::open(&MemoryFiles::new(), settings, [OpenHint::default(), OpenHint::default()])
    }

    /// As the owner opens both, without a commit log.
    fn open(files: &MemoryFiles, settings: LogSettings, hints: [OpenHint; 2]) -> Self {
        let open = |limit: Option<i64>| {
            let [log, journal] = hints.clone().map(|hint| OpenHint { limit, ..hint });
            let log = Rig::open(files, settings.clone(), log);
            let (journal, report) = journal_of(files, &settings, journal);
            let reports = [log.report.clone(), report];
            Self { log, journal, reports }
        };
        let mut both = open(None);
        let limit = pairs::cut(both.log.log.tail(), both.journal.tail());
        if limit.is_some() {
            both = open(limit);
        }
        both.log.log.level(&mut both.journal);
        both.log.log.merge_producers(&both.journal);
        both.log.show_all();
        both.journal.view().advance(&both.journal.end());
        both
    }

    /// As after a crash in which every write survived.
    fn crash(self, hints: [OpenHint; 2]) -> Self {
        let settings = self.log.log.settings().clone();
        Self::open(&self.log.files.snapshot(), settings, hints)
    }

    /// What a retry is told, or else what the batch got.
    fn live(&mut self, batch: &Batch) -> Appended {
        let appended = self.log.publish(batch);
        self.log.log.level(&mut self.journal);
        appended
    }

    fn delayed(&mut self, batch: &Batch) -> Appended {
        let mut judged = batch.judged();
        if let Some(first) = self.log.log.judge(judged.header()).unwrap() {
            return first;
        }
        let appended = self.journal.append_judged(&mut judged, NOW_MS).unwrap();
        self.journal.view().advance(&appended.end);
        self.log.log.note_elsewhere(judged.header(), NOW_MS);
        self.log.log.level(&mut self.journal);
        appended
    }

    /// A batch in two parts; the second spans the whole range.
    fn pair(&mut self, live: &Batch, delayed: &Batch) -> Result<Appended, AppendError> {
        let [mut live, mut delayed] = halves(live, delayed);
        let log = &mut self.log.log;
        if let Some(first) = log.judge(delayed.header())? {
            return Ok(first);
        }
        log.ready(&live)?;
        self.journal.ready(&delayed)?;
        let first = log.append_judged(&mut live, NOW_MS)?;
        let second = self.journal.append_judged(&mut delayed, NOW_MS)?;
        assert_eq!(first.base_offset, second.base_offset);
        log.note_elsewhere(delayed.header(), NOW_MS);
        log.level(&mut self.journal);
        log.view().advance(&first.end);
        self.journal.view().advance(&second.end);
        Ok(first)
    }

    fn ends(&self) -> (i64, i64) {
        (self.log.log.end().offset, self.journal.end().offset)
    }

    fn checkpoint(&mut self) -> [OpenHint; 2] {
        [&mut self.log.log, &mut self.journal].map(|log| {
            let (checkpoint, work) = log.checkpoint().unwrap();
            work.run(&self.log.files).unwrap();
            OpenHint {
                recovery_point: checkpoint.recovery_point,
                log_start: checkpoint.log_start,
                producers: checkpoint.producers,
                ..OpenHint::default()
            }
        })
    }
}

fn halves(live: &Batch, delayed: &Batch) -> [ValidBatch; 2] {
    [live, delayed].map(|batch| {
        let mut judged = batch.judged();
        judged.set_paired(true);
        judged
    })
}

fn one() -> Batch {
    Batch::of(1, 100, NOW_MS)
}

fn names(log: &PartitionLog) -> Vec<i64> {
    log.view().segments().iter().map(|segment| segment.base_offset()).collect()
}

#[test]
fn a_log_and_its_journal_never_give_an_offset_twice() {
    let mut both = Both::new(LogSettings::default());
    let bases = [
        both.live(&Batch::of(2, 10, NOW_MS)).base_offset,
        both.delayed(&Batch::of(3, 10, NOW_MS)).base_offset,
        both.live(&one()).base_offset,
        both.delayed(&one()).base_offset,
    ];
    assert_eq!((bases, both.ends()), ([0, 2, 5, 6], (6, 7)));
    let mut both = both.crash([OpenHint::default(), OpenHint::default()]);
    assert_eq!((both.log.log.next_offset(), both.journal.next_offset()), (7, 7));
    assert_eq!(both.live(&one()).base_offset, 7);
}

#[test]
fn the_visible_end_is_what_consumers_see_and_a_hole_is_read_over() {
    let mut both = Both::new(LogSettings::default());
    both.delayed(&Batch::of(3, 10, NOW_MS));
    both.live(&Batch::of(2, 10, NOW_MS));
    both.delayed(&Batch::of(4, 10, NOW_MS));
    both.live(&one());
    both.delayed(&Batch::of(5, 10, NOW_MS));
    let view = both.log.view();
    assert_eq!((view.log_start(), view.high_watermark(), view.log_end()), (0, 10, 15));
    let next = |offset| {
        let slice = both.log.read(offset, 1).unwrap();
        both.log.batches(&slice).first().copied()
    };
    for (offset, expected) in [(0, (3, 4)), (2, (3, 4)), (4, (3, 4)), (5, (9, 9)), (9, (9, 9))] {
        assert_eq!(next(offset), Some(expected), "{offset}");
    }
    for offset in 10..=15 {
        assert_eq!(next(offset), None, "{offset} waits");
    }
    for offset in [-1, 16] {
        assert!(matches!(both.log.read(offset, 1), Err(ReadError::OutOfRange { .. })));
    }
    assert_eq!(both.log.read_on(0, 1), [(3, 4), (9, 9)]);
    assert_eq!(view.offset_for_time(NOW_MS).unwrap().unwrap().offset, 3);
    assert_eq!(view.offset_of_max_timestamp().unwrap().unwrap().offset, 3);
    assert_eq!(view.offset_for_time(NOW_MS + 1).unwrap(), None);
}

#[test]
fn a_reader_that_waits_beside_a_hole_goes_on_behind_it() {
    let mut both = Both::new(LogSettings::default());
    both.live(&one());
    let tail = both.log.read(1, 100).unwrap();
    both.delayed(&Batch::of(7, 10, NOW_MS));
    both.live(&one());
    for hint in [tail.next_hint, None] {
        let wanted =
            crate::log::read::Wanted { offset: 1, max_bytes: 100, whole_first_batch: true, hint };
        let slice = both.log.view().read(wanted).unwrap();
        assert_eq!(both.log.batches(&slice), [(8, 8)]);
    }
}

#[test]
fn segments_beside_holes_are_seamless_and_survive_a_crash_whole() {
    let mut both = Both::new(small_segments());
    let mut expected = Vec::new();
    for n in 0..120 {
        if n % 3 == 0 {
            both.delayed(&Batch::of(5, 100, NOW_MS));
        }
        let appended = both.live(&Batch::of(2, 100, NOW_MS));
        expected.push((appended.base_offset, appended.last_offset));
    }
    let named = names(&both.log.log);
    assert!(named.len() > 5 && names(&both.journal).len() > 5);
    let ends: Vec<i64> = expected.iter().map(|batch| batch.1 + 1).collect();
    for name in &named[1..] {
        assert!(ends.contains(name), "{name} is where the segment before ends");
    }
    let both = both.crash([OpenHint::default(), OpenHint::default()]);
    assert_eq!([both.reports[0].cut, both.reports[1].cut], [None, None]);
    assert_eq!(names(&both.log.log), named);
    for max_bytes in [1, 3_000, 1 << 20] {
        assert_eq!(both.log.read_on(0, max_bytes), expected);
    }
    for offset in 0..both.log.view().high_watermark() {
        let slice = both.log.read(offset, 1).unwrap();
        let found = both.log.batches(&slice)[0];
        assert_eq!(Some(&found), expected.iter().find(|batch| batch.1 >= offset), "{offset}");
    }
}

#[test]
fn the_lost_end_of_a_segment_is_not_taken_for_a_hole() {
    let mut both = Both::new(small_segments());
    for _ in 0..40 {
        both.delayed(&one());
        both.live(&Batch::of(2, 100, NOW_MS));
    }
    let named = names(&both.log.log);
    let files = both.log.files.snapshot();
    let lost = path(&format!("{:020}.log", named[1]));
    let mut bytes = files.read(&lost).unwrap();
    bytes.truncate(bytes.len() - 1);
    files.put(&lost, bytes);
    let again = Both::open(&files, small_segments(), [OpenHint::default(), OpenHint::default()]);
    assert_eq!(again.reports[1].cut.map(|cut| cut.why), Some(Flaw::Uncommitted));
    let end = again.log.log.end().offset;
    assert!((named[1]..named[2]).contains(&end));
    // What the journal has behind it goes too.
    let next_offset = again.log.log.next_offset();
    assert!(again.journal.end().offset <= next_offset && next_offset < named[2]);
}

#[test]
fn a_hole_that_no_segment_spans_lies_between_two() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&one());
    for behind in [3 << 30, 7 << 30] {
        rig.log.set_floor(behind);
        assert_eq!(rig.publish(&one()).base_offset, behind);
    }
    assert_eq!(names(&rig.log), [0, 3 << 30, 7 << 30]);
    let expected = [(0, 0), (3 << 30, 3 << 30), (7 << 30, 7 << 30)];
    assert_eq!(rig.read_on(0, 1), expected);
    assert_eq!(rig.read_on(5 << 30, 1), expected[2..]);
    let rig = rig.crash(OpenHint::default());
    rig.show_all();
    assert_eq!((rig.report.cut, rig.log.end().offset), (None, (7 << 30) + 1));
    assert_eq!(rig.read_on(1, 1 << 20), expected[1..]);
}

#[test]
fn a_segment_behind_such_a_hole_that_was_never_written_is_not_the_end() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&one());
    rig.files.put(&path(&format!("{:020}.log", 3_i64 << 30)), Vec::new());
    let mut rig = rig.crash(OpenHint::default());
    assert_eq!((rig.log.end().offset, names(&rig.log)), (1, vec![0]));
    assert_eq!(rig.publish(&one()).base_offset, 1);
}

#[test]
fn an_empty_segment_is_left_when_the_hole_behind_it_grows_too_wide() {
    let mut both = Both::new(LogSettings::default());
    both.live(&one());
    assert!(both.log.log.seal().unwrap());
    assert!(!both.log.log.seal().unwrap());
    both.log.log.set_floor(3 << 30);
    assert_eq!(both.log.publish(&one()).base_offset, 3 << 30);
    let rig = both.log.crash(OpenHint::default());
    rig.show_all();
    assert_eq!((rig.report.cut, names(&rig.log)), (None, vec![0, 1, 3 << 30]));
    assert_eq!(rig.read_on(0, 1), [(0, 0), (3 << 30, 3 << 30)]);
}

#[test]
fn deletion_up_to_the_end_beside_a_hole_leaves_a_caught_up_consumer_in() {
    let mut both = Both::new(LogSettings { retention_ms: 1_000, ..LogSettings::default() });
    both.live(&Batch::of(3, 100, NOW_MS));
    both.delayed(&Batch::of(4, 100, NOW_MS));
    let log = &mut both.log.log;
    assert!(log.delete_records(4).is_err());
    assert_eq!(log.delete_records(-1).unwrap(), 3);
    assert_eq!(log.retain(NOW_MS + 5_000).unwrap().len(), 1);
    let view = Arc::clone(log.view());
    assert_eq!((view.log_start(), view.high_watermark(), view.log_end()), (3, 3, 7));
    assert!(both.log.read(3, 100).unwrap().is_empty());
    let both = both.crash([OpenHint::default(), OpenHint::default()]);
    let view = both.log.view();
    assert_eq!((view.log_start(), view.high_watermark(), view.log_end()), (3, 3, 7));
}

#[test]
fn an_epoch_ends_where_the_next_one_starts_tickets_included() {
    let mut both = Both::new(LogSettings::default());
    both.live(&one());
    both.delayed(&Batch::of(4, 10, NOW_MS));
    let ask = |both: &Both, epoch| both.log.view().end_offset_for_epoch(epoch);
    assert_eq!(ask(&both, 0), (0, 5));
    both.log.log.set_leader_epoch(1);
    assert_eq!((ask(&both, 0), ask(&both, 1)), ((0, 5), (1, 5)));
    both.live(&one());
    both.delayed(&one());
    assert_eq!((ask(&both, 0), ask(&both, 1)), ((0, 5), (1, 7)));
}

#[test]
fn half_a_pair_is_cut_and_with_it_all_that_lies_behind_in_both() {
    let nothing = || [OpenHint::default(), OpenHint::default()];
    for missing in 0..2 {
        let mut both = Both::new(LogSettings::default());
        both.pair(&one(), &Batch::of(2, 10, NOW_MS)).unwrap();
        let ends = both.ends();
        let [mut live, mut delayed] = halves(&one(), &Batch::of(3, 10, NOW_MS));
        if missing == 1 {
            both.log.log.append_judged(&mut live, NOW_MS).unwrap();
        } else {
            both.journal.append_judged(&mut delayed, NOW_MS).unwrap();
        }
        let holds_half = if missing == 1 { &mut both.log.log } else { &mut both.journal };
        assert!(holds_half.checkpoint().is_none());
        both.log.log.level(&mut both.journal);
        assert_eq!(both.log.log.checkpoint().is_none(), missing == 1);
        both.live(&one());
        both.delayed(&one());
        let both = both.crash(nothing());
        assert_eq!(both.ends(), ends);
        for report in &both.reports {
            assert_eq!(report.cut.map(|cut| cut.why), Some(Flaw::Uncommitted));
        }
        let mut both = both.crash(nothing());
        assert_eq!((both.ends(), both.reports[0].cut), (ends, None));
        assert_eq!(both.pair(&one(), &one()).unwrap().base_offset, 2);
    }
}

#[test]
fn half_a_pair_below_the_recovery_point_of_the_other_is_no_half() {
    let mut both = Both::new(LogSettings::default());
    both.pair(&one(), &one()).unwrap();
    let [log, journal] = both.checkpoint();
    both.live(&one());
    for hints in [[log, OpenHint::default()], [OpenHint::default(), journal]] {
        let files = both.log.files.snapshot();
        let again = Both::open(&files, LogSettings::default(), hints);
        assert_eq!((again.ends(), again.reports[0].cut), (both.ends(), None));
    }
}

#[test]
fn a_full_disk_refuses_a_pair_whole() {
    let mut both = Both::new(LogSettings::default());
    both.pair(&one(), &one()).unwrap();
    let ends = both.ends();
    let (small, large) = (Batch::of(1, 100, NOW_MS), Batch::of(1, 5_000, NOW_MS));
    both.log.files.set_room_bytes(Some(1_000));
    assert!(matches!(both.pair(&small, &large), Err(AppendError::Storage(_))));
    assert!(matches!(both.pair(&large, &small), Err(AppendError::Storage(_))));
    assert_eq!(both.ends(), ends);
    both.log.files.set_room_bytes(None);
    assert_eq!(both.pair(&small, &large).unwrap().base_offset, 1);
    let again = both.crash([OpenHint::default(), OpenHint::default()]);
    assert_eq!((again.ends(), again.reports[0].cut), ((2, 2), None));
}

#[test]
fn a_retry_is_known_wherever_the_first_went_and_after_a_crash() {
    let sent = |n: i32, count: usize| Batch::of(count, 50, NOW_MS).from(7, 0, 3 * n);
    let send = |both: &mut Both, n: i32| match n % 3 {
        0 => both.live(&sent(n, 3)),
        1 => both.delayed(&sent(n, 3)),
        _ => both.pair(&sent(n, 1), &sent(n, 3)).unwrap(),
    };
    let mut both = Both::new(LogSettings::default());
    let mut hints = [OpenHint::default(), OpenHint::default()];
    for n in 0..7 {
        let first = send(&mut both, n);
        assert_eq!((first.base_offset, first.duplicate), (3 * i64::from(n), false));
        if n == 3 {
            hints = both.checkpoint();
        }
    }
    let again = both.log.files.snapshot();
    let settings = both.log.log.settings().clone();
    for mut both in [
        Both::open(&again, settings.clone(), hints),
        Both::open(&again, settings, [OpenHint::default(), OpenHint::default()]),
        both,
    ] {
        for n in 2..7 {
            let retry = send(&mut both, n);
            assert_eq!((retry.base_offset, retry.duplicate), (3 * i64::from(n), true), "{n}");
        }
        assert_eq!(both.log.log.next_offset(), 21);
        assert_eq!(send(&mut both, 7).base_offset, 21);
    }
}

/// The batches of a log, as the commit log has them.
fn rows(log: &PartitionLog) -> Vec<(BatchHeader, Bytes)> {
    let segment = Arc::clone(&log.view().segments()[0]);
    let mut bytes = vec![0; usize::try_from(segment.size_bytes()).unwrap()];
    log.read_at(segment.base_offset(), 0, &mut bytes).unwrap();
    let mut rest = Bytes::from(bytes);
    let mut rows = Vec::new();
    while let Ok(header) = BatchHeader::parse(&rest) {
        rows.push((header, rest.split_to(header.total_bytes())));
    }
    rows
}

#[test]
fn the_commit_log_puts_both_back_in_its_order_and_sees_what_is_missing() {
    let mut both = Both::new(LogSettings::default());
    both.live(&one());
    both.delayed(&Batch::of(4, 50, NOW_MS));
    both.pair(&Batch::of(2, 50, NOW_MS), &Batch::of(3, 50, NOW_MS)).unwrap();
    both.delayed(&one());
    both.live(&one());
    let mut all: Vec<(bool, BatchHeader, Bytes)> = Vec::new();
    for (header, row) in rows(&both.log.log) {
        all.push((false, header, row));
    }
    for (header, row) in rows(&both.journal) {
        all.push((true, header, row));
    }
    all.sort_by_key(|(delayed, header, _)| (header.base_offset, *delayed));
    let mut again = Both::new(LogSettings::default());
    let put_back = |again: &mut Both, (delayed, _, row): &(bool, BatchHeader, Bytes)| {
        again.log.log.level(&mut again.journal);
        let log = if *delayed { &mut again.journal } else { &mut again.log.log };
        log.append_replayed(row, NOW_MS)
    };
    let gap = put_back(&mut again, &all[2]);
    assert!(matches!(gap, Err(ReplayError::Gap { log_end: 0, base_offset: 5 })));
    for row in all.iter().chain(&all) {
        put_back(&mut again, row).unwrap();
    }
    assert_eq!(again.ends(), both.ends());
    assert_eq!(pairs::cut(again.log.log.tail(), again.journal.tail()), None);
    let log = path("00000000000000000000.log");
    assert_eq!(again.log.files.read(&log).unwrap(), both.log.files.read(&log).unwrap());
}

#[test]
fn records_of_a_journal_are_read_by_their_place() {
    let mut both = Both::new(LogSettings::default());
    let appended: Vec<Appended> = (0..60).map(|_| both.delayed(&one())).collect();
    assert!(names(&both.journal).len() > 1);
    let size = one().bytes().len();
    for appended in &appended {
        let segment = appended.end.segment().unwrap().base_offset();
        let position = appended.end.position - size as u64;
        let mut header = [0; HEADER_BYTES];
        both.journal.read_at(segment, position, &mut header).unwrap();
        assert_eq!(BatchHeader::parse(&header).unwrap().base_offset, appended.base_offset);
    }
    let end = both.journal.end();
    let segment = end.segment().unwrap().base_offset();
    assert!(both.journal.read_at(segment, end.position, &mut [0; 8]).is_err());
    assert!(both.journal.read_at(segment + 1, 0, &mut [0; 8]).is_err());
}

#[test]
fn a_journal_goes_segment_by_segment_and_keeps_its_end() {
    let mut both = Both::new(LogSettings::default());
    for _ in 0..60 {
        both.delayed(&one());
    }
    assert!(both.journal.seal().unwrap());
    assert_eq!(both.journal.retain(NOW_MS + (1 << 40)).unwrap(), []);
    both.journal.delete_records(60).unwrap();
    assert!(both.journal.retain(NOW_MS).unwrap().len() > 1);
    assert_eq!(names(&both.journal), [60]);
    both.journal.retain(NOW_MS).unwrap();
    let dir = journal::identity(&identity()).dir;
    let logs = both.log.files.list(&dir).unwrap();
    let is_log = |name: &str| name.contains(".log");
    assert_eq!(logs.iter().filter(|entry| is_log(&entry.name)).count(), 1);
    assert!(both.journal.view().segments()[0].path(FileKind::Log).starts_with(&dir));
    let mut both = both.crash([OpenHint::default(), OpenHint::default()]);
    assert_eq!((both.ends(), both.delayed(&one()).base_offset), ((0, 60), 60));
}
