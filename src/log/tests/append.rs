//! Appending and reading back.

use std::io::ErrorKind;
use std::path::Path;

use super::kit::*;
use crate::log::error::{AppendError, ReadError};
use crate::log::producers::SequenceError;
use crate::log::read::Wanted;
use crate::log::settings::LogSettings;
use crate::store::Files;
use crate::wire::batch::BatchHeader;
use crate::wire::compression::Codec;

#[test]
fn nothing_is_on_disk_before_the_first_append() {
    let mut rig = Rig::new(LogSettings::default());
    assert_eq!(rig.files.list(Path::new("/data")).unwrap(), []);
    assert!(rig.read(0, 100).unwrap().is_empty());
    rig.append(&Batch::of(1, 10, NOW_MS));
    let names: Vec<String> =
        rig.files.list(&identity().dir).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["00000000000000000000.log", "partition.metadata"]);
}

#[test]
fn offsets_follow_and_stored_bytes_are_those_of_the_wire() {
    let mut rig = Rig::new(LogSettings::default());
    rig.log.set_leader_epoch(5);
    let batches = [Batch::of(3, 10, NOW_MS), Batch::of(2, 90, NOW_MS).packed(Codec::Lz4)];
    let first = rig.publish(&batches[0]);
    assert_eq!((first.base_offset, first.last_offset, first.log_append_time_ms), (0, 2, -1));
    let second = rig.publish(&batches[1]);
    assert_eq!((second.base_offset, second.last_offset), (3, 4));
    let stored = bytes_of(&rig.read(0, 10_000).unwrap());
    let mut expected = Vec::new();
    for (batch, base_offset) in batches.iter().zip([0, 3]) {
        let bytes = batch.bytes();
        let header = BatchHeader::parse(&bytes).unwrap();
        expected.extend(BatchHeader { base_offset, leader_epoch: 5, ..header }.write());
        expected.extend_from_slice(&bytes[61..]);
    }
    assert_eq!(stored, expected);
}

#[test]
fn what_is_not_advanced_over_is_not_seen() {
    let mut rig = Rig::new(LogSettings::default());
    let first = rig.append(&Batch::of(2, 10, NOW_MS));
    let second = rig.append(&Batch::of(3, 10, NOW_MS));
    assert!(rig.read(0, 1000).unwrap().is_empty());
    rig.view().advance(&first.end);
    let slice = rig.read(0, 1000).unwrap();
    assert_eq!(rig.batches(&slice), [(0, 1)]);
    assert!(rig.read(3, 1000).unwrap().is_empty());
    rig.view().advance(&second.end);
    // An older end changes nothing.
    rig.view().advance(&first.end);
    assert_eq!((rig.view().high_watermark(), rig.view().log_end()), (5, 5));
    assert_eq!(rig.read_on(0, 1000), [(0, 1), (2, 4)]);
}

#[test]
fn a_read_begins_with_the_batch_of_its_offset_and_ends_at_a_batchs_edge() {
    let mut rig = Rig::new(LogSettings { index_interval_bytes: 256, ..LogSettings::default() });
    let all: Vec<(i64, i64)> = (0..200)
        .map(|_| rig.publish(&Batch::of(3, 20, NOW_MS)))
        .map(|appended| (appended.base_offset, appended.last_offset))
        .collect();
    let batch_bytes = rig.view().size_bytes() / 200;
    for offset in [0, 1, 2, 3, 100, 301, 599] {
        for max_bytes in [0, 1, batch_bytes, batch_bytes + 1, 1_000, 3_000, 1 << 30] {
            let slice = rig.read(offset, max_bytes).unwrap();
            let got = rig.batches(&slice);
            let from = usize::try_from(offset / 3).unwrap();
            assert_eq!(got, all[from..from + got.len()], "{offset} {max_bytes}");
            assert!(slice.len <= max_bytes.max(batch_bytes));
            let least = (max_bytes / batch_bytes).max(1).min(200 - from as u64);
            assert!(got.len() as u64 + 4 >= least, "{offset} {max_bytes}: {}", got.len());
        }
    }
    let wanted = Wanted { offset: 0, max_bytes: 5, whole_first_batch: false, hint: None };
    assert!(rig.view().read(wanted).unwrap().is_empty());
    for max_bytes in [1, 500, 5_000, 1 << 30] {
        assert_eq!(rig.read_on(0, max_bytes), all);
    }
}

#[test]
fn reading_on_needs_no_search_and_no_wait() {
    let mut rig = Rig::new(LogSettings::default());
    for _ in 0..50 {
        rig.publish(&Batch::of(1, 2_000, NOW_MS));
    }
    let mut wanted = Wanted { offset: 0, max_bytes: 9_000, whole_first_batch: true, hint: None };
    let mut seen = 0;
    while wanted.offset < 50 {
        let slice = rig.view().read_hot(wanted).expect("hot").unwrap();
        let count = headers(&slice).len() as i64;
        assert!(count >= 1);
        seen += count;
        wanted = Wanted { offset: seen, hint: slice.next_hint, ..wanted };
    }
    // Caught up: the hint waits at the end for what comes.
    let tail = rig.view().read_hot(wanted).unwrap().unwrap();
    assert!(tail.is_empty());
    rig.publish(&Batch::of(1, 10, NOW_MS));
    let slice = rig.view().read_hot(Wanted { hint: tail.next_hint, ..wanted }).unwrap().unwrap();
    assert_eq!(rig.batches(&slice), [(50, 50)]);
}

#[test]
fn offsets_outside_are_refused() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&Batch::of(3, 10, NOW_MS));
    for offset in [-1, 4, i64::MAX] {
        let expected = (offset, 0, 3);
        match rig.read(offset, 100) {
            Err(ReadError::OutOfRange { offset, log_start, log_end }) => {
                assert_eq!((offset, log_start, log_end), expected);
            }
            _ => panic!("{offset} is outside"),
        }
    }
    assert!(rig.read(3, 100).unwrap().is_empty());
}

#[test]
fn segments_roll_by_size_and_are_read_through() {
    let mut rig = Rig::new(small_segments());
    for _ in 0..100 {
        rig.publish(&Batch::of(2, 100, NOW_MS));
    }
    let logs = rig.files.list(&identity().dir).unwrap();
    let logs: Vec<_> = logs.iter().filter(|entry| entry.name.ends_with(".log")).collect();
    assert!(logs.len() >= 6, "{}", logs.len());
    assert!(logs.iter().all(|entry| entry.len_bytes <= 4096));
    let expected: Vec<(i64, i64)> = (0..100).map(|n| (2 * n, 2 * n + 1)).collect();
    for max_bytes in [1, 700, 1 << 20] {
        assert_eq!(rig.read_on(0, max_bytes), expected);
    }
    assert_eq!(rig.read_on(57, 1 << 20)[0], (56, 57));
}

#[test]
fn segments_roll_by_time_and_by_index_size() {
    let by_time = LogSettings { segment_ms: 1_000, ..LogSettings::default() };
    let by_index =
        LogSettings { segment_index_bytes: 24, index_interval_bytes: 1, ..LogSettings::default() };
    for (settings, times) in [(by_time, [0, 1_000, 1_001, 1_500]), (by_index, [0, 1, 2, 3])] {
        let mut rig = Rig::new(settings);
        for time in times {
            rig.publish(&Batch::of(1, 10, NOW_MS + time));
        }
        let logs = rig.files.list(&identity().dir).unwrap();
        assert_eq!(logs.iter().filter(|entry| entry.name.ends_with(".log")).count(), 2);
        assert_eq!(rig.read_on(0, 1 << 20).len(), 4);
    }
}

#[test]
fn a_retry_writes_nothing_and_gets_the_old_offsets() {
    let settings = LogSettings { log_append_time: true, ..LogSettings::default() };
    let mut rig = Rig::new(settings);
    let batch = |n: i32| Batch::of(2, 10, 0).from(7, 0, 2 * n).stamped_at_append();
    for n in 0..6 {
        rig.publish(&batch(n));
    }
    let size = rig.view().size_bytes();
    let retry = rig.log.append(&mut batch(3).judged(), NOW_MS + 99).unwrap();
    assert!(retry.duplicate);
    assert_eq!((retry.base_offset, retry.last_offset), (6, 7));
    assert_eq!(retry.log_append_time_ms, NOW_MS);
    assert_eq!(retry.end.offset, 12);
    assert_eq!((rig.view().size_bytes(), rig.view().log_end()), (size, 12));
    let refused = rig.log.append(&mut batch(8).judged(), NOW_MS);
    assert!(matches!(refused, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))));
}

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&Batch::of(2, 100, NOW_MS).from(7, 0, 0));
    let (size, before) = (rig.view().size_bytes(), rig.files.snapshot());
    rig.files.set_room_bytes(Some(150));
    let next = Batch::of(2, 100, NOW_MS).from(7, 0, 2);
    match rig.log.append(&mut next.judged(), NOW_MS) {
        Err(AppendError::Storage(error)) => assert_eq!(error.kind(), ErrorKind::StorageFull),
        _ => panic!("there is no room for it"),
    }
    assert_eq!((rig.view().size_bytes(), rig.view().log_end()), (size, 2));
    let log = path("00000000000000000000.log");
    assert_eq!(rig.files.read(&log).unwrap(), before.read(&log).unwrap());
    rig.files.set_room_bytes(None);
    assert_eq!(rig.publish(&next).base_offset, 2);
    assert_eq!(rig.read_on(0, 1 << 20), [(0, 1), (2, 3)]);
}

#[test]
fn a_gap_behind_a_batch_that_the_disk_refused_is_a_storage_error() {
    let mut rig = Rig::new(LogSettings::default());
    let sent = |sequence| Batch::of(1, 100, NOW_MS).from(7, 0, sequence).judged();
    rig.log.append(&mut sent(0), NOW_MS).expect("there is room");
    rig.files.set_room_bytes(Some(0));
    assert!(matches!(rig.log.append(&mut sent(1), NOW_MS), Err(AppendError::Storage(_))));
    rig.files.set_room_bytes(None);
    assert!(matches!(rig.log.append(&mut sent(2), NOW_MS), Err(AppendError::Storage(_))));
    rig.log.append(&mut sent(1), NOW_MS).expect("what the disk refused comes again");
    rig.log.append(&mut sent(2), NOW_MS).expect("and what came behind it");
    assert!(matches!(rig.log.append(&mut sent(9), NOW_MS), Err(AppendError::Sequence(_))));
}

#[test]
fn a_disk_without_room_to_reserve_ahead_takes_what_fits() {
    let mut rig = Rig::new(LogSettings::default());
    for _ in 0..10 {
        rig.publish(&Batch::of(1, 100_000, NOW_MS));
    }
    // Room for two: before and after the size from which blocks are reserved.
    rig.files.set_room_bytes(Some(250_000));
    rig.publish(&Batch::of(1, 100_000, NOW_MS));
    assert_eq!(rig.publish(&Batch::of(1, 100_000, NOW_MS)).base_offset, 11);
    let refused = rig.log.append(&mut Batch::of(1, 100_000, NOW_MS).judged(), NOW_MS);
    assert!(matches!(refused, Err(AppendError::Storage(_))));
}

#[test]
fn a_full_disk_at_a_roll_changes_nothing_and_passes() {
    let mut rig = Rig::new(small_segments());
    let batch = |n: i32| Batch::of(1, 1_000, NOW_MS).from(7, 0, n);
    for n in 0..3 {
        rig.publish(&batch(n));
    }
    for room in [0, 5, 10, 30, 100, 500] {
        rig.files.set_room_bytes(Some(room));
        assert!(rig.log.append(&mut batch(3).judged(), NOW_MS).is_err(), "room for {room}");
        assert_eq!(rig.view().log_end(), 3);
    }
    rig.files.set_room_bytes(None);
    for n in 3..8 {
        rig.publish(&batch(n));
    }
    assert_eq!(rig.read_on(0, 1 << 20).len(), 8);
    let rig = rig.crash(Default::default());
    rig.show_all();
    assert_eq!(rig.report.cut, None);
    assert_eq!(rig.read_on(0, 1 << 20).len(), 8);
}

#[test]
fn waiters_are_woken_once_by_their_own_partition() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let mut rig = Rig::new(LogSettings::default());
    let counts = [0, 1, 2].map(|_| Arc::new(Count(AtomicUsize::new(0))));
    for (id, count) in counts.iter().enumerate() {
        rig.view().register_waiter(id as u64, count.clone().into());
        rig.view().register_waiter(id as u64, count.clone().into());
    }
    assert_eq!(rig.view().waiters(), 3);
    rig.view().remove_waiter(2);
    let appended = rig.append(&Batch::of(1, 10, NOW_MS));
    let woken = || counts.each_ref().map(|count| count.0.load(Ordering::SeqCst));
    assert_eq!(woken(), [0, 0, 0]);
    rig.view().advance(&appended.end);
    rig.publish(&Batch::of(1, 10, NOW_MS));
    assert_eq!(woken(), [1, 1, 0]);
    assert_eq!(rig.view().waiters(), 0);
}
