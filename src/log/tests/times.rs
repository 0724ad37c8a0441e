//! Offsets by time.

use proptest::prelude::*;

use super::kit::*;
use crate::log::settings::LogSettings;
use crate::wire::compression::Codec;

fn found(rig: &Rig, timestamp_ms: i64) -> Option<(i64, i64)> {
    let found = rig.view().offset_for_time(timestamp_ms).unwrap();
    found.map(|found| (found.timestamp_ms, found.offset))
}

fn newest(rig: &Rig) -> Option<(i64, i64)> {
    let found = rig.view().offset_of_max_timestamp().unwrap();
    found.map(|found| (found.timestamp_ms, found.offset))
}

#[test]
fn an_empty_log_has_no_time() {
    let rig = Rig::new(LogSettings::default());
    assert_eq!((found(&rig, 0), newest(&rig)), (None, None));
}

#[test]
fn the_first_record_as_new_is_found_in_its_batch() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut rig = Rig::new(LogSettings::default());
        rig.log.set_leader_epoch(4);
        rig.publish(&Batch::at(&[100, 120, 110]).packed(codec));
        rig.publish(&Batch::at(&[90, 130, 130]).packed(codec));
        assert_eq!(found(&rig, 0), Some((100, 0)));
        assert_eq!(found(&rig, 105), Some((120, 1)));
        assert_eq!(found(&rig, 121), Some((130, 4)));
        assert_eq!(found(&rig, 131), None);
        assert_eq!(newest(&rig), Some((130, 4)));
        assert_eq!(rig.view().offset_for_time(0).unwrap().unwrap().leader_epoch, 4);
        rig.log.delete_records(2).unwrap();
        assert_eq!(found(&rig, 0), Some((110, 2)));
    }
}

#[test]
fn records_stamped_at_append_all_have_their_batchs_time() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&Batch::at(&[100, 120, 110]).stamped_at_append());
    assert_eq!(found(&rig, 101), Some((NOW_MS, 0)));
    assert_eq!(newest(&rig), Some((NOW_MS, 0)));
}

#[test]
fn time_zero_counts_and_no_time_does_not() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&Batch::at(&[-1]));
    assert_eq!((found(&rig, 0), newest(&rig)), (None, None));
    rig.publish(&Batch::at(&[0]));
    assert_eq!((found(&rig, 0), newest(&rig)), (Some((0, 1)), Some((0, 1))));
}

#[test]
fn what_is_not_visible_is_not_found() {
    let mut rig = Rig::new(LogSettings::default());
    rig.publish(&Batch::at(&[100]));
    rig.append(&Batch::at(&[200]));
    assert_eq!((found(&rig, 150), newest(&rig)), (None, Some((100, 0))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a plain walk over all records, with times in any order and many segments, before
    /// and after a restart.
    #[test]
    fn lookups_agree_with_a_walk(
        times in proptest::collection::vec(proptest::collection::vec(0..500_i64, 1..4), 1..80),
        visible in 0..80_usize,
        asked in proptest::collection::vec(0..520_i64, 8),
    ) {
        let settings = LogSettings {
            segment_bytes: 1_000, index_interval_bytes: 150, ..LogSettings::default()
        };
        let mut rig = Rig::new(settings);
        let mut all: Vec<(i64, i64)> = Vec::new();
        for (n, batch) in times.iter().enumerate() {
            let appended = rig.append(&Batch::at(batch));
            if n < visible {
                rig.view().advance(&appended.end);
                all.extend(batch.iter().zip(appended.base_offset..).map(|(t, o)| (*t, o)));
            }
        }
        let check = |rig: &Rig, all: &[(i64, i64)]| {
            for asked in &asked {
                let expected = all.iter().find(|(time, _)| time >= asked).copied();
                assert_eq!(found(rig, *asked), expected);
            }
            let max = all.iter().map(|(time, _)| *time).max();
            let expected = max.and_then(|max| all.iter().find(|(time, _)| *time == max).copied());
            assert_eq!(newest(rig), expected);
        };
        check(&rig, &all);
        let rig = rig.restart();
        let every: Vec<(i64, i64)> =
            times.iter().flatten().zip(0..).map(|(time, offset)| (*time, offset)).collect();
        check(&rig, &every);
    }
}
