//! Deleting from the head: by age, by size, by request, in two steps.

use super::kit::*;
use crate::log::recover::OpenHint;
use crate::log::retain::Deleted;
use crate::log::settings::LogSettings;
use crate::store::Files;

/// Five segments of three batches, a minute between batches.
fn five_segments(settings: &LogSettings) -> Rig {
    let mut rig = Rig::new(LogSettings { segment_bytes: 3_300, ..settings.clone() });
    for n in 0..15 {
        rig.publish(&Batch::of(1, 1_000, NOW_MS + n * 60_000));
    }
    assert_eq!(rig.view().segments.load().len(), 5);
    rig
}

fn starts(deleted: &[Deleted]) -> Vec<i64> {
    deleted.iter().map(|gone| gone.base_offset).collect()
}

fn names(rig: &Rig, suffix: &str) -> usize {
    let entries = rig.files.list(&identity().dir).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(suffix)).count()
}

#[test]
fn age_is_counted_from_the_newest_record_of_a_segment() {
    let settings = LogSettings { retention_ms: 600_000, ..LogSettings::default() };
    let mut rig = five_segments(&settings);
    let at = |minutes: i64| NOW_MS + minutes * 60_000;
    assert_eq!(rig.log.retain(at(12)).unwrap(), []);
    // Offset 2, the newest of the first segment, was written in minute 2.
    assert_eq!(starts(&rig.log.retain(at(12) + 1).unwrap()), [0]);
    assert_eq!(starts(&rig.log.retain(at(19)).unwrap()), [3, 6]);
    assert_eq!(rig.view().log_start(), 9);
    assert!(rig.read(8, 100).is_err());
    assert_eq!(rig.read_on(9, 1 << 20).len(), 6);
}

#[test]
fn the_end_of_a_log_outlives_all_its_records() {
    let settings = LogSettings { retention_ms: 600_000, ..LogSettings::default() };
    let mut rig = five_segments(&settings);
    assert_eq!(rig.log.retain(NOW_MS + 90_000_000).unwrap().len(), 5);
    assert_eq!((rig.view().log_start(), rig.view().log_end()), (15, 15));
    assert_eq!(rig.log.retain(NOW_MS + 90_000_000).unwrap(), []);
    assert!(rig.read(15, 100).unwrap().is_empty());
    let mut rig = rig.crash(OpenHint::default());
    assert_eq!((rig.view().log_start(), rig.view().log_end()), (15, 15));
    assert_eq!(rig.publish(&Batch::of(1, 10, NOW_MS)).base_offset, 15);
}

#[test]
fn size_keeps_at_least_what_it_says() {
    let settings = LogSettings { retention_bytes: 7_000, ..LogSettings::default() };
    let mut rig = five_segments(&settings);
    let segment = rig.view().segments.load()[0].size_bytes();
    assert_eq!(starts(&rig.log.retain(NOW_MS).unwrap()), [0, 3]);
    assert_eq!(rig.view().size_bytes(), 3 * segment);
    assert!(2 * segment < 7_000);
}

#[test]
fn without_the_delete_policy_time_and_size_delete_nothing() {
    let settings = LogSettings {
        retention_ms: 0,
        retention_bytes: 0,
        cleanup_delete: false,
        ..LogSettings::default()
    };
    let mut rig = five_segments(&settings);
    assert_eq!(rig.log.retain(NOW_MS + 90_000_000).unwrap(), []);
    rig.log.delete_records(3).unwrap();
    assert_eq!(starts(&rig.log.retain(NOW_MS).unwrap()), [0]);
}

#[test]
fn what_is_not_visible_is_not_deleted() {
    let settings = LogSettings { segment_bytes: 3_300, retention_ms: 0, ..LogSettings::default() };
    let mut rig = Rig::new(settings);
    let appended: Vec<_> = (0..9).map(|n| rig.append(&Batch::of(1, 1_000, NOW_MS + n))).collect();
    assert_eq!(rig.log.retain(NOW_MS + 1_000).unwrap(), []);
    rig.view().advance(&appended[4].end);
    assert_eq!(starts(&rig.log.retain(NOW_MS + 1_000).unwrap()), [0]);
}

#[test]
fn records_are_deleted_up_to_the_high_watermark_and_not_back() {
    let mut rig = five_segments(&LogSettings::default());
    rig.append(&Batch::of(1, 10, NOW_MS));
    assert_eq!(rig.log.delete_records(7), Ok(7));
    assert_eq!(rig.log.delete_records(2), Ok(7));
    let beyond = rig.log.delete_records(16).unwrap_err();
    assert_eq!((beyond.offset, beyond.high_watermark), (16, 15));
    assert!(rig.log.delete_records(-2).is_err());
    assert!(rig.read(6, 100).is_err());
    assert_eq!(rig.read_on(7, 1 << 20)[0], (7, 7));
    assert_eq!(rig.log.delete_records(-1), Ok(15));
    assert_eq!(starts(&rig.log.retain(NOW_MS).unwrap()), [0, 3, 6, 9]);
    let hint = OpenHint { log_start: 15, ..OpenHint::default() };
    assert_eq!(rig.crash(hint).view().log_start(), 15);
}

#[test]
fn files_are_renamed_first_and_unlinked_after_the_delay() {
    let settings =
        LogSettings { retention_bytes: 0, file_delete_delay_ms: 1_000, ..LogSettings::default() };
    let mut rig = five_segments(&settings);
    let slice = rig.read(0, 1 << 20).unwrap();
    let before = bytes_of(&slice);
    rig.log.retain(NOW_MS).unwrap();
    assert_eq!(names(&rig, ".log.deleted"), 5);
    assert_eq!(names(&rig, ".log"), 1);
    // Who was reading can finish.
    assert_eq!(bytes_of(&slice), before);
    rig.log.retain(NOW_MS + 999).unwrap();
    assert_eq!(names(&rig, ".deleted"), 15);
    rig.log.retain(NOW_MS + 1_000).unwrap();
    assert_eq!(names(&rig, ".deleted"), 0);
}

#[test]
fn a_time_index_full_of_zeros_deletes_nothing() {
    let settings = LogSettings { retention_ms: 600_000, ..LogSettings::default() };
    let rig = five_segments(&settings).restart();
    for segment in [0, 3, 6, 9] {
        let name = path(&format!("{segment:020}.timeindex"));
        let zeros = vec![0; rig.files.read(&name).unwrap().len()];
        rig.files.put(&name, zeros);
    }
    let mut rig = Rig::open(
        &rig.files,
        rig.log.settings().clone(),
        OpenHint { recovery_point: 15, clean: true, ..OpenHint::default() },
    );
    assert_eq!(rig.log.retain(NOW_MS + 12 * 60_000).unwrap(), []);
    assert_eq!(starts(&rig.log.retain(NOW_MS + 12 * 60_000 + 1).unwrap()), [0]);
}

#[test]
fn records_without_time_age_from_when_they_were_last_written() {
    let settings = LogSettings { retention_ms: 1_000, ..LogSettings::default() };
    let mut rig = Rig::new(settings);
    rig.publish(&Batch::at(&[-1, -1]));
    assert_eq!(rig.log.retain(NOW_MS + 1_000).unwrap(), []);
    assert_eq!(rig.log.retain(NOW_MS + 1_001).unwrap().len(), 1);
}
