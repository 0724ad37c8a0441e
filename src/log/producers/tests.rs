use proptest::prelude::*;

use super::snapshot;
use super::*;

/// `sequence + count`, wrapping from `i32::MAX` to 0.
fn sequence_plus(sequence: i32, count: i32) -> i32 {
    sequence.wrapping_add(count) & i32::MAX
}

fn batch(epoch: i16, first: i32, last: i32) -> Sequenced {
    Sequenced { producer_id: 7, epoch, first_sequence: first, last_sequence: last }
}

/// Producer 7 wrote batches of ten records, `0..10`, `10..20` and so on, in epoch 3.
fn after_batches(count: i32) -> Producers {
    let mut producers = Producers::new(10);
    for n in 0..count {
        let offset = i64::from(n) * 10 + 100;
        producers.record(batch(3, n * 10, n * 10 + 9), (offset, offset + 9), 5_000, 1_000);
    }
    producers.check();
    producers
}

#[test]
fn an_unknown_producer_starts_where_it_likes() {
    assert_eq!(Producers::new(10).judge(batch(4, 1_234, 1_240)), Ok(Verdict::Append));
}

#[test]
fn the_last_five_batches_are_known_again_and_older_ones_refused() {
    let producers = after_batches(7);
    for n in 2..7 {
        let Ok(Verdict::Duplicate(trace)) = producers.judge(batch(3, n * 10, n * 10 + 9)) else {
            panic!("batch {n} is one of the last five");
        };
        assert_eq!(
            (trace.base_offset, trace.last_offset),
            (i64::from(n) * 10 + 100, i64::from(n) * 10 + 109)
        );
        assert_eq!(trace.timestamp_ms, 5_000);
    }
    let refused = SequenceError::OutOfOrder { producer_id: 7, expected: 70, found: 10 };
    assert_eq!(producers.judge(batch(3, 10, 19)), Err(refused));
}

#[test]
fn a_gap_and_a_changed_range_are_out_of_order() {
    let producers = after_batches(2);
    assert_eq!(producers.judge(batch(3, 20, 25)), Ok(Verdict::Append));
    for (first, last) in [(21, 25), (10, 18), (15, 19)] {
        let refused = SequenceError::OutOfOrder { producer_id: 7, expected: 20, found: first };
        assert_eq!(producers.judge(batch(3, first, last)), Err(refused));
    }
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
    let mut producers = after_batches(2);
    let fenced = SequenceError::Fenced { producer_id: 7, current: 3, found: 2 };
    assert_eq!(producers.judge(batch(2, 20, 20)), Err(fenced));
    let refused = SequenceError::OutOfOrder { producer_id: 7, expected: 0, found: 20 };
    assert_eq!(producers.judge(batch(4, 20, 20)), Err(refused));
    assert_eq!(producers.judge(batch(4, 0, 4)), Ok(Verdict::Append));
    producers.record(batch(4, 0, 4), (120, 124), 6_000, 2_000);
    producers.check();
    // The same range of the old epoch is no duplicate of anything.
    let fenced = SequenceError::Fenced { producer_id: 7, current: 4, found: 3 };
    assert_eq!(producers.judge(batch(3, 10, 19)), Err(fenced));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut producers = Producers::new(10);
    let last = sequence_plus(i32::MAX - 1, 3);
    assert_eq!(last, 1);
    producers.record(batch(0, i32::MAX - 1, last), (0, 3), 0, 0);
    assert_eq!(producers.judge(batch(0, 2, 2)), Ok(Verdict::Append));
    producers.record(batch(0, 2, i32::MAX), (4, 9), 0, 0);
    assert_eq!(producers.judge(batch(0, 0, 0)), Ok(Verdict::Append));
    producers.check();
}

#[test]
fn silence_expires_and_activity_keeps() {
    let mut producers = after_batches(1);
    producers.record(Sequenced { producer_id: 8, ..batch(0, 0, 0) }, (110, 110), 5_000, 1_500);
    producers.expire(2_000, 1_000);
    assert!(producers.get(7).is_none());
    assert!(producers.get(8).is_some());
}

#[test]
fn past_the_limit_the_longest_silent_go() {
    let mut producers = Producers::new(32);
    for id in 0..100 {
        let sequenced = Sequenced { producer_id: id, ..batch(0, 0, 0) };
        producers.record(sequenced, (id, id), 0, id);
        producers.check();
        assert_eq!(producers.get(id).map(|state| state.last_seen_ms), Some(id));
    }
    assert!(producers.get(60).is_none());
}

#[test]
fn replaying_what_is_known_changes_nothing() {
    let mut producers = after_batches(6);
    let before = producers.to_checkpoint();
    for n in 0..6 {
        let offset = i64::from(n) * 10 + 100;
        producers.record(batch(3, n * 10, n * 10 + 9), (offset, offset + 9), 5_000, 9_000);
    }
    assert_eq!(producers.to_checkpoint(), before);
}

#[test]
fn what_is_divided_between_two_logs_is_one_history() {
    // Of eight batches each log keeps every other one, and of the seventh both have a part.
    let mut logs = [Producers::new(10), Producers::new(10)];
    for n in 0..8_i32 {
        let offset = i64::from(n) * 10;
        logs[usize::from(n % 2 == 1)].record(
            batch(3, n * 10, n * 10 + 9),
            (offset, offset + 9),
            5_000,
            1_000,
        );
        if n == 6 {
            logs[1].record(batch(3, 60, 62), (60, 62), 5_000, 1_000);
        }
    }
    let [mut log, journal] = logs;
    log.merge(&journal);
    log.check();
    for n in 3..8 {
        let Ok(Verdict::Duplicate(first)) = log.judge(batch(3, n * 10, n * 10 + 9)) else {
            panic!("batch {n} is known");
        };
        assert_eq!(
            (first.base_offset, first.last_offset),
            (i64::from(n) * 10, i64::from(n) * 10 + 9)
        );
    }
    assert_eq!(log.judge(batch(3, 80, 80)), Ok(Verdict::Append));
    let before = log.to_checkpoint();
    log.merge(&journal);
    assert_eq!(log.to_checkpoint(), before);
    // A newer epoch counts alone.
    let mut newer = Producers::new(10);
    newer.record(batch(4, 0, 0), (80, 80), 5_000, 1_000);
    log.merge(&newer);
    log.merge(&journal);
    assert_eq!(log.judge(batch(4, 1, 1)), Ok(Verdict::Append));
    assert_eq!(log.get(7).unwrap().batches.len(), 1);
}

#[test]
fn the_part_of_a_batch_is_replaced_by_the_whole() {
    let mut producers = Producers::new(10);
    for _ in 0..2 {
        producers.record(batch(3, 0, 1), (5, 6), 5_000, 1_000);
        producers.record(batch(3, 0, 4), (5, 9), 5_000, 1_000);
    }
    assert!(matches!(producers.judge(batch(3, 0, 4)), Ok(Verdict::Duplicate(_))));
    assert_eq!(producers.judge(batch(3, 5, 5)), Ok(Verdict::Append));
    assert_eq!(producers.get(7).unwrap().batches.len(), 1);
}

#[test]
fn the_checkpoint_gives_all_five_back() {
    let producers = after_batches(9);
    let again = Producers::from_checkpoint(producers.to_checkpoint(), 10);
    assert_eq!(again.to_checkpoint(), producers.to_checkpoint());
    assert!(matches!(again.judge(batch(3, 40, 49)), Ok(Verdict::Duplicate(_))));
}

#[test]
fn a_snapshot_keeps_the_last_batch() {
    let producers = after_batches(3);
    let bytes = snapshot::encode(&producers.to_checkpoint());
    let states = snapshot::decode(&bytes, 42).unwrap();
    let again = Producers::from_checkpoint(states, 10);
    let state = again.get(7).unwrap();
    assert_eq!((state.epoch, state.last_seen_ms), (3, 42));
    assert_eq!(state.batches[..], producers.get(7).unwrap().batches[2..]);
}

#[test]
fn a_damaged_snapshot_is_not_believed() {
    let bytes = snapshot::encode(&after_batches(3).to_checkpoint());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(snapshot::decode(&damaged, 0).is_err(), "byte {at}");
        assert!(snapshot::decode(&bytes[..at], 0).is_err(), "cut at {at}");
    }
}

proptest! {
    /// A client that retries any of its unacknowledged batches in any order never doubles one.
    #[test]
    fn retries_never_double(steps in proptest::collection::vec((0..5_usize, 1..4_i32), 1..60)) {
        let mut producers = Producers::new(4);
        let mut written: Vec<BatchTrace> = Vec::new();
        let (mut sequence, mut offset) = (i32::MAX - 20, 0_i64);
        for (back, count) in steps {
            if back > 0 && written.len() >= back {
                let old = written[written.len() - back];
                let again = batch(0, old.first_sequence, old.last_sequence);
                prop_assert_eq!(producers.judge(again), Ok(Verdict::Duplicate(old)));
                continue;
            }
            let last = sequence_plus(sequence, count - 1);
            let new = batch(0, sequence, last);
            prop_assert_eq!(producers.judge(new), Ok(Verdict::Append));
            let last_offset = offset + i64::from(count) - 1;
            producers.record(new, (offset, last_offset), 9, 0);
            written.push(BatchTrace {
                first_sequence: sequence, last_sequence: last,
                base_offset: offset, last_offset, timestamp_ms: 9,
            });
            sequence = sequence_after(last);
            offset = last_offset + 1;
            producers.check();
        }
    }
}
