//! Opening after a clean stop, after a crash, and over damage.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::kit::*;
use crate::base::ids::Uuid;
use crate::log::cache::LogStore;
use crate::log::error::{LogError, ReadError, ReplayError};
use crate::log::partition::{PartitionLog, Replayed};
use crate::log::recover::OpenHint;
use crate::log::scan::Flaw;
use crate::log::settings::LogSettings;
use crate::store::Files;
use crate::store::memory::MemoryFiles;
use crate::wire::batch::BatchHeader;

const LOG: &str = "00000000000000000000.log";

fn batch(n: i32) -> Batch {
    Batch::of(2, 100, NOW_MS + i64::from(n)).from(7, 0, 2 * n)
}

/// A log of `count` batches of two records, and its size after each of them.
fn written(count: i32, settings: LogSettings) -> (Rig, Vec<u64>) {
    let mut rig = Rig::new(settings);
    let sizes = (0..count).map(|n| {
        rig.publish(&batch(n));
        rig.view().size_bytes()
    });
    let sizes = sizes.collect();
    (rig, sizes)
}

fn offsets(count: i64) -> Vec<(i64, i64)> {
    (0..count).map(|n| (2 * n, 2 * n + 1)).collect()
}

#[test]
fn a_clean_stop_is_believed_without_reading_the_log() {
    let (rig, _) = written(60, small_segments());
    let rig = rig.restart();
    assert_eq!(rig.report.scanned_bytes, 0);
    assert_eq!((rig.view().high_watermark(), rig.view().log_end()), (120, 120));
    assert_eq!(rig.read_on(0, 700), offsets(60));
    // What was not read is not touched: even a damaged log opens.
    let files = rig.files.snapshot();
    files.put(&path(LOG), vec![1; 100]);
    let settings = rig.log.settings().clone();
    let hint = OpenHint { recovery_point: 120, clean: true, ..OpenHint::default() };
    assert_eq!(Rig::open(&files, settings, hint).view().log_end(), 120);
}

#[test]
fn writing_goes_on_after_a_clean_stop_in_the_same_segment() {
    let (rig, _) = written(10, LogSettings { index_interval_bytes: 256, ..Default::default() });
    let mut rig = rig.restart();
    for n in 10..20 {
        assert_eq!(rig.publish(&batch(n)).base_offset, i64::from(2 * n));
    }
    assert_eq!(rig.view().segments.load().len(), 1);
    assert_eq!(rig.read_on(0, 1_000), offsets(20));
    assert!(rig.append(&batch(16)).duplicate);
    let rig = rig.restart();
    assert_eq!(rig.read_on(0, 1_000), offsets(20));
}

#[test]
fn all_five_batches_of_a_producer_are_known_after_a_restart_and_after_a_crash() {
    for crashed in [false, true] {
        let (rig, _) = written(8, small_segments());
        let mut rig = if crashed { rig.crash(OpenHint::default()) } else { rig.restart() };
        for n in 3..8 {
            let again = rig.append(&batch(n));
            assert!(again.duplicate);
            assert_eq!(again.base_offset, i64::from(2 * n));
        }
        assert!(rig.log.append(&mut batch(2).judged(), NOW_MS).is_err());
    }
}

#[test]
fn a_crash_costs_a_scan_from_the_recovery_point_on() {
    let (mut rig, sizes) = written(10, LogSettings::default());
    let (checkpoint, work) = rig.log.checkpoint().unwrap();
    work.run(&rig.files).unwrap();
    assert_eq!(checkpoint.recovery_point, 20);
    for n in 10..15 {
        rig.publish(&batch(n));
    }
    let total = rig.view().size_bytes();
    let hint =
        OpenHint { recovery_point: 20, producers: checkpoint.producers, ..OpenHint::default() };
    let mut rig = rig.crash(hint);
    assert_eq!(rig.report.scanned_bytes, total - sizes[9]);
    assert_eq!((rig.view().high_watermark(), rig.view().log_end()), (0, 30));
    rig.show_all();
    assert_eq!(rig.read_on(0, 500), offsets(15));
    assert!(rig.append(&batch(12)).duplicate);
    assert_eq!(rig.publish(&batch(15)).base_offset, 30);
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch() {
    let (rig, sizes) = written(5, LogSettings::default());
    let whole = rig.files.read(&path(LOG)).unwrap();
    for length in 0..whole.len() {
        let files = rig.files.snapshot();
        files.put(&path(LOG), whole[..length].to_vec());
        let again = Rig::open(&files, LogSettings::default(), OpenHint::default());
        let left = sizes.iter().filter(|size| **size <= length as u64).count();
        assert_eq!(again.view().log_end(), 2 * left as i64);
        let kept = sizes[..left].last().copied().unwrap_or(0);
        let cut = again.report.cut.map(|cut| (cut.position, cut.bytes));
        let expected = (kept < length as u64).then_some((kept, length as u64 - kept));
        assert_eq!(cut, expected);
        assert_eq!(files.read(&path(LOG)).unwrap(), whole[..usize::try_from(kept).unwrap()]);
        again.show_all();
        assert_eq!(again.read_on(0, 1 << 20), offsets(left as i64));
    }
}

#[test]
fn zeros_at_the_end_are_the_end() {
    let (rig, sizes) = written(5, LogSettings::default());
    let files = rig.files.snapshot();
    let mut bytes = files.read(&path(LOG)).unwrap();
    bytes.resize(bytes.len() + 5_000, 0);
    files.put(&path(LOG), bytes);
    let mut again = Rig::open(&files, LogSettings::default(), OpenHint::default());
    let cut = again.report.cut.unwrap();
    assert_eq!((cut.why, cut.bytes, cut.position), (Flaw::Zeros, 5_000, sizes[4]));
    assert_eq!(again.publish(&batch(5)).base_offset, 10);
}

#[test]
fn a_cut_in_an_older_segment_drops_the_later_ones() {
    let (rig, _) = written(60, small_segments());
    let segments = rig.view().segments.load_full();
    let second = segments[1].base_offset();
    let files = rig.files.snapshot();
    let log = path(&format!("{second:020}.log"));
    let mut bytes = files.read(&log).unwrap();
    let batch_bytes =
        bytes.len() / (usize::try_from(segments[2].base_offset() - second).unwrap() / 2);
    bytes[batch_bytes + 70] ^= 1;
    files.put(&log, bytes);
    let mut again = Rig::open(&files, small_segments(), OpenHint::default());
    let cut = again.report.cut.unwrap();
    assert_eq!((cut.segment, cut.why), (second, Flaw::Checksum));
    assert_eq!(again.view().log_end(), second + 2);
    assert_eq!(again.view().segments.load().len(), 2);
    assert_eq!(
        again.publish(&batch(i32::try_from(second / 2 + 1).unwrap())).base_offset,
        second + 2
    );
    again.show_all();
    assert_eq!(again.read_on(0, 1 << 20), offsets(second / 2 + 2));
    let again = again.restart();
    assert_eq!(again.read_on(0, 1 << 20), offsets(second / 2 + 2));
}

#[test]
fn a_segment_that_lost_its_end_is_not_continued_by_the_next() {
    let (rig, sizes) = written(60, small_segments());
    let rolled: Vec<_> = rig.files.list(&identity().dir).unwrap();
    let first = rolled.iter().find(|entry| entry.name == LOG).unwrap().len_bytes;
    let in_first = sizes.iter().filter(|size| **size <= first).count();
    let kept = in_first - 2;
    let mut bytes = rig.files.read(&path(LOG)).unwrap();
    bytes.truncate(usize::try_from(sizes[kept - 1]).unwrap());
    rig.files.put(&path(LOG), bytes);
    let rig = rig.crash(OpenHint::default());
    rig.show_all();
    assert_eq!(rig.read_on(0, 10_000), offsets(i64::try_from(kept).unwrap()));
    assert_eq!(rig.report.cut.unwrap().why, Flaw::Offsets);
}

#[test]
fn damage_below_the_recovery_point_is_kept_and_costs_only_its_batch() {
    let (rig, _) = written(60, small_segments());
    let rig = rig.restart();
    let third = rig.view().segments.load()[2].base_offset();
    let log = path(&format!("{third:020}.log"));
    let bytes = rig.files.read(&log).unwrap();
    // One bit of a record in the second batch of the third segment.
    let mut damaged = bytes.clone();
    let first = BatchHeader::parse(&bytes).unwrap().total_bytes();
    damaged[first + 100] ^= 4;
    let (settings, files) = (rig.log.settings().clone(), rig.files.snapshot());
    files.put(&log, damaged.clone());
    for clean in [true, false] {
        let hint = OpenHint { recovery_point: 120, clean, ..OpenHint::default() };
        let again = Rig::open(&files, settings.clone(), hint);
        again.show_all();
        assert_eq!((again.report.cut, again.view().log_end()), (None, 120));
        assert_eq!(files.read(&log).unwrap(), damaged);
        for offset in 0..120 {
            let got = again.read(offset, 300);
            if offset == third + 2 || offset == third + 3 {
                assert!(matches!(got, Err(ReadError::Corrupt { .. })), "{offset}");
            } else {
                let found = again.batches(&got.unwrap())[0];
                assert_eq!(found, (offset - offset % 2, offset - offset % 2 + 1));
            }
        }
        // A larger read ends before the damage.
        let slice = again.read(third, 1 << 20).unwrap();
        assert_eq!(again.batches(&slice), [(third, third + 1)]);
    }
}

#[test]
fn a_log_cut_below_its_durable_end_gives_no_offset_out_twice() {
    let (rig, sizes) = written(10, LogSettings::default());
    let rig = rig.restart();
    let files = rig.files.snapshot();
    let mut bytes = files.read(&path(LOG)).unwrap();
    bytes.truncate(usize::try_from(sizes[6]).unwrap() + 10);
    files.put(&path(LOG), bytes.clone());
    let hint = OpenHint { recovery_point: 20, ..OpenHint::default() };
    let mut again = Rig::open(&files, LogSettings::default(), hint);
    assert_eq!(again.report.lost_from, Some(14));
    assert_eq!(again.publish(&Batch::of(1, 10, NOW_MS)).base_offset, 20);
    // Nothing of the damaged segment was thrown away.
    assert_eq!(files.read(&path(LOG)).unwrap(), bytes);
    assert_eq!(again.read_on(0, 1 << 20).last(), Some(&(20, 20)));
    assert_eq!(again.read_on(0, 1 << 20).len(), 8);
}

#[test]
fn missing_and_damaged_indexes_are_made_again() {
    let settings = LogSettings { segment_bytes: 12_000, ..small_segments() };
    let (rig, _) = written(60, settings.clone());
    let rig = rig.restart();
    let index = path("00000000000000000000.index");
    let times = path("00000000000000000000.timeindex");
    let (whole, whole_times) = (rig.files.read(&index).unwrap(), rig.files.read(&times).unwrap());
    assert!(whole.len() >= 16 && whole_times.len() >= 24);
    let zeroed = vec![0; whole.len()];
    let shifted: Vec<u8> =
        whole[..8].iter().chain([0, 0, 0, 9, 0, 0, 9, 9].iter()).copied().collect();
    let damages: Vec<(&Path, Option<Vec<u8>>)> = vec![
        (&index, None),
        (&times, None),
        (&index, Some(zeroed)),
        (&index, Some(whole[..11].to_vec())),
        (&index, Some(shifted)),
        (&times, Some(vec![0; whole_times.len()])),
        (&times, Some(vec![])),
    ];
    for (name, damage) in damages {
        let files = rig.files.snapshot();
        match damage {
            None => files.remove(name).unwrap(),
            Some(bytes) => files.put(name, bytes),
        }
        let hint = OpenHint { recovery_point: 120, clean: true, ..OpenHint::default() };
        let again = Rig::open(&files, settings.clone(), hint);
        for offset in 0..120 {
            assert_eq!(again.batches(&again.read(offset, 1).unwrap())[0].0, offset - offset % 2);
        }
        let found = again.view().offset_for_time(NOW_MS + 5).unwrap().unwrap();
        assert_eq!(found.offset, 10);
        assert!(files.read(&index).unwrap().len() >= 8);
        assert_eq!(files.read(&times).unwrap().last_chunk::<12>(), whole_times.last_chunk::<12>());
    }
}

#[test]
fn replay_fills_what_is_missing_and_repeats_nothing() {
    let (rig, sizes) = written(5, LogSettings::default());
    let bytes = Bytes::from(rig.files.read(&path(LOG)).unwrap());
    let row = |n: usize| {
        let from = if n == 0 { 0 } else { sizes[n - 1] };
        bytes.slice(usize::try_from(from).unwrap()..usize::try_from(sizes[n]).unwrap())
    };
    let files = rig.files.snapshot();
    files.put(&path(LOG), bytes[..usize::try_from(sizes[1]).unwrap() + 7].to_vec());
    let mut again = Rig::open(&files, LogSettings::default(), OpenHint::default());
    assert_eq!(again.view().log_end(), 4);
    let gap = again.log.append_replayed(&row(3), NOW_MS);
    assert!(matches!(gap, Err(ReplayError::Gap { log_end: 4, base_offset: 6 })));
    for round in [Replayed::Appended, Replayed::AlreadyThere] {
        for n in 0..5 {
            let expected = if n < 2 { Replayed::AlreadyThere } else { round };
            assert_eq!(again.log.append_replayed(&row(n), NOW_MS).unwrap(), expected);
        }
    }
    assert_eq!(files.read(&path(LOG)).unwrap(), bytes);
    assert!(again.append(&batch(4)).duplicate);
    assert!(again.log.append_replayed(&Bytes::from_static(b"short"), NOW_MS).is_err());
}

#[test]
fn the_leftover_of_a_failed_roll_is_not_taken_for_the_end() {
    let (mut rig, _) = written(4, LogSettings::default());
    let (checkpoint, work) = rig.log.checkpoint().unwrap();
    work.run(&rig.files).unwrap();
    // A roll made the file of the next segment, could not go on, and the old one was appended to.
    rig.files.put(&path(&format!("{:020}.log", 8)), Vec::new());
    rig.publish(&batch(4));
    let hint = OpenHint {
        recovery_point: checkpoint.recovery_point,
        producers: checkpoint.producers,
        ..OpenHint::default()
    };
    let mut rig = rig.crash(hint);
    rig.show_all();
    assert_eq!(rig.read_on(0, 1 << 20), offsets(5));
    assert_eq!(rig.publish(&batch(5)).base_offset, 10);
}

#[test]
fn a_replayed_row_tells_of_a_producer_whose_segment_is_deleted() {
    let (rig, sizes) = written(1, LogSettings::default());
    let bytes = Bytes::from(rig.files.read(&path(LOG)).unwrap());
    assert_eq!(bytes.len() as u64, sizes[0]);
    let mut rig = Rig::new(LogSettings { retention_bytes: 0, ..LogSettings::default() });
    rig.publish(&batch(0));
    assert_eq!(rig.log.retain(NOW_MS).unwrap(), [], "no checkpoint knows the producer");
    rig.view().note_checkpoint(rig.view().log_end());
    assert_eq!(rig.log.retain(NOW_MS).unwrap().len(), 1);
    // And then the checkpoint is lost.
    let mut rig = rig.crash(OpenHint::default());
    assert_eq!(rig.log.append_replayed(&bytes, NOW_MS).unwrap(), Replayed::AlreadyThere);
    let retry = rig.append(&batch(0));
    assert!(retry.duplicate);
    assert_eq!(retry.base_offset, 0);
}

#[test]
fn what_was_deleted_within_a_batch_is_put_back_whole() {
    let (mut rig, _) = written(2, LogSettings::default());
    let bytes = Bytes::from(rig.files.read(&path(LOG)).unwrap());
    let second = bytes.slice(bytes.len() / 2..);
    rig.log.delete_records(3).unwrap();
    // The crash takes the second batch, which the log start lies within.
    let files = rig.files.snapshot();
    files.put(&path(LOG), bytes[..bytes.len() / 2].to_vec());
    let hint = OpenHint { log_start: 3, ..OpenHint::default() };
    let mut again = Rig::open(&files, LogSettings::default(), hint);
    assert_eq!(again.log.append_replayed(&second, NOW_MS).unwrap(), Replayed::Appended);
    again.show_all();
    assert_eq!((again.view().log_start(), again.view().log_end()), (3, 4));
    assert_eq!(again.read_on(3, 100), [(2, 3)]);
}

#[test]
fn a_full_disk_does_not_keep_a_reader_from_an_index() {
    let (rig, _) = written(60, small_segments());
    let rig = rig.restart();
    rig.files.remove(&path("00000000000000000000.index")).unwrap();
    rig.files.set_room_bytes(Some(0));
    let settings = rig.log.settings().clone();
    let hint = OpenHint { recovery_point: 120, clean: true, ..OpenHint::default() };
    let again = Rig::open(&rig.files, settings, hint);
    assert_eq!(again.read_on(3, 1)[0], (2, 3));
}

#[test]
fn epochs_are_known_after_a_restart_a_crash_and_a_lost_file() {
    let mut rig = Rig::new(LogSettings::default());
    for epoch in [0, 0, 3, 3, 5] {
        rig.log.set_leader_epoch(epoch);
        rig.publish(&Batch::of(2, 10, NOW_MS));
    }
    let expected = [(0, (0, 4)), (2, (0, 4)), (3, (3, 8)), (5, (5, 10)), (9, (-1, -1))];
    let check = |rig: &Rig| {
        for (asked, found) in expected {
            assert_eq!(rig.view().end_offset_for_epoch(asked), found, "epoch {asked}");
        }
    };
    check(&rig);
    let lost = rig.files.snapshot();
    check(&Rig::open_in(6, &lost, LogSettings::default(), OpenHint::default()));
    let rig = rig.restart();
    check(&rig);
    let text = rig.files.read(&path("leader-epoch-checkpoint")).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "0\n3\n0 0\n3 4\n5 8\n");
}

#[test]
fn leftovers_of_deletions_and_crashes_are_swept() {
    let (rig, _) = written(3, LogSettings::default());
    for name in [
        "00000000000000000000.log.deleted",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000099.index",
        "00000000000000000099.timeindex",
        "00000000000000000099.snapshot",
    ] {
        rig.files.put(&path(name), vec![1]);
    }
    let rig = rig.crash(OpenHint::default());
    let names: Vec<String> =
        rig.files.list(&identity().dir).unwrap().into_iter().map(|entry| entry.name).collect();
    let index = "00000000000000000000.index";
    let times = "00000000000000000000.timeindex";
    assert_eq!(names, [index, LOG, times, "partition.metadata"]);
}

#[test]
fn what_can_not_be_opened_says_why_and_leaves_others_alone() {
    let (rig, _) = written(3, LogSettings::default());
    let store = LogStore::new(Arc::new(rig.files.clone()), 8);
    let open = |identity, hint| {
        PartitionLog::open(&store, identity, LogSettings::default(), hint, 0, NOW_MS).err()
    };
    let mut other = identity();
    other.tp.topic_id = Uuid::from_u128(5);
    assert!(matches!(open(other, OpenHint::default()), Some(LogError::OtherTopic { .. })));
    let mut gone = identity();
    gone.dir = "/data/orders-9".into();
    let hint = OpenHint { recovery_point: 6, ..OpenHint::default() };
    let missing = open(gone, hint).unwrap();
    assert_eq!(missing.to_string(), "/data/orders-9 has no segments, but should reach offset 6");
    assert!(open(identity(), OpenHint::default()).is_none());
}

#[test]
fn an_unreadable_directory_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(crate::store::local::LocalFiles);
    let mut identity = identity();
    identity.dir = dir.path().join("orders-0");
    // A file where the directory should be.
    std::fs::write(&identity.dir, b"").unwrap();
    let store = LogStore::new(files, 8);
    let settings = LogSettings::default();
    let opened = PartitionLog::open(&store, identity, settings, OpenHint::default(), 0, NOW_MS);
    assert!(matches!(opened.err(), Some(LogError::Io { .. })));
}

fn any_damage() -> impl Strategy<Value = (usize, u8, bool)> {
    (any::<usize>(), 1..=255_u8, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one damaged byte or cut there is past the recovery point: what is left is a
    /// prefix of what was written, byte for byte, and the log goes on behind it.
    #[test]
    fn damage_leaves_a_prefix((at, flip, cut) in any_damage(), segment in any::<usize>()) {
        let (rig, _) = written(40, small_segments());
        let segments = rig.view().segments.load_full();
        let base_offset = segments[segment % segments.len()].base_offset();
        let log = path(&format!("{base_offset:020}.log"));
        let files: MemoryFiles = rig.files.snapshot();
        let mut bytes = files.read(&log).unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        // Kafka's checksum does not cover the base offset, and holes between batches are legal.
        let batch_bytes = BatchHeader::parse(&rig.files.read(&log).unwrap()).unwrap().total_bytes();
        prop_assume!(cut || at % batch_bytes >= 8);
        files.put(&log, bytes);
        let mut again = Rig::open(&files, small_segments(), OpenHint::default());
        let count = again.view().log_end() / 2;
        prop_assert!(count < 40 || !cut || at == 0);
        again.show_all();
        prop_assert_eq!(again.read_on(0, 1_000), offsets(count));
        for offset in (0..2 * count).step_by(7) {
            let (old, new) = (rig.read(offset, 1).unwrap(), again.read(offset, 1).unwrap());
            // Leader epoch, bytes 12 to 16, is not covered by the checksum.
            let (mut old, mut new) = (bytes_of(&old), bytes_of(&new));
            old[12..16].fill(0);
            new[12..16].fill(0);
            prop_assert_eq!(old, new);
        }
        let next = i32::try_from(count).unwrap();
        prop_assert_eq!(again.publish(&batch(next)).base_offset, 2 * count);
    }
}
