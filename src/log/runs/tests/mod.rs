//! Runs from journal segments, through the interface that the partition's owner has.

mod damage;
mod kit;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use proptest::sample::Index;
use roaring::RoaringTreemap;

use super::*;
use crate::delay::decide::id_of;
use crate::delay::key::Key;
use crate::store::memory::MemoryFiles;
use crate::store::{Files, OpenMode};
use kit::{LAST, Partition, Put, any_journal, delay_dir, drain, id_name, segment};

fn wanted_above(partition: &Partition, after: Key) -> Vec<OwnedEntry> {
    let above = partition.wanted.iter().filter(|(key, _)| **key > after);
    above.map(|(_, entry)| entry.clone()).collect()
}

/// A key that is in the partition, beside one, before all or behind all.
fn some_key(partition: &Partition, at: Index, nudge: i64) -> Key {
    let keys: Vec<Key> = partition.wanted.keys().copied().collect();
    let key = keys[at.index(keys.len())];
    match nudge {
        -2 => Key::MIN,
        2 => LAST,
        nudge => Key { ticket: key.ticket + nudge, ..key },
    }
}

fn put(due_in_ms: i64, value_bytes: usize) -> Put {
    Put { due_in_ms, passed_by_ms: 0, expires: false, id: None, value_bytes }
}

/// Merges all runs into one, as the sealer would, and returns what it dropped.
fn merge_all(partition: &mut Partition, released: Key, cancelled: &RoaringTreemap) -> Merged {
    let runs = partition.open();
    let id = partition.manifest.next_run;
    let over = Over { released, cancelled };
    let no = AtomicBool::new(false);
    let merged = merge(&partition.files, delay_dir(), id, runs.all(), over, &no).unwrap();
    partition.manifest.next_run += 1;
    partition.manifest.runs = merged.run.iter().cloned().collect();
    partition.manifest.write(&partition.files, delay_dir()).unwrap();
    partition
        .wanted
        .retain(|key, _| *key > released && !cancelled.contains(key.ticket.cast_unsigned()));
    merged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn entries_come_back_in_order_from_any_key(
        journal in any_journal(),
        at in any::<Index>(),
        nudge in -2..=2_i64,
    ) {
        let partition = Partition::of(&journal);
        let after = some_key(&partition, at, nudge);
        let mut merge = partition.open().after(after);
        prop_assert_eq!(drain(&mut merge), wanted_above(&partition, after));
        prop_assert!(merge.take_lost().is_empty());
    }

    #[test]
    fn nothing_above_the_limit_is_given(journal in any_journal(), at in any::<Index>()) {
        let partition = Partition::of(&journal);
        let limit = some_key(&partition, at, 0);
        let mut merge = partition.open().after(Key::MIN);
        let mut given = 0;
        while let Some(key) = merge.peek(limit).unwrap() {
            prop_assert!(key <= limit);
            given += 1;
            merge.advance();
        }
        prop_assert_eq!(given, partition.wanted.range(..=limit).count());
        let next = partition.wanted.keys().find(|key| **key > limit).copied();
        prop_assert_eq!(merge.peek(LAST).unwrap(), next);
    }

    #[test]
    fn a_limit_that_rises_in_steps_gives_the_same(
        mut journal in any_journal(),
        step_ms in 1..40_000_i64,
    ) {
        journal.iter_mut().flatten().for_each(|put| put.due_in_ms *= 200);
        let partition = Partition::of(&journal);
        let mut merge = partition.open().after(Key::MIN);
        let (mut found, mut due_ms) = (Vec::new(), kit::START_MS);
        while due_ms < kit::START_MS + 110_000 {
            while merge.peek(Key { due_ms, ticket: i64::MAX }).unwrap().is_some() {
                found.extend(merge.entry().map(|entry| entry.to_owned()));
                merge.advance();
            }
            due_ms += step_ms;
        }
        found.extend(drain(&mut merge));
        prop_assert_eq!(found, partition.wanted.values().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn a_merge_is_the_sorted_union_of_what_is_not_over(
        journal in any_journal(),
        at in any::<Index>(),
        nudge in -2..2_i64,
        cancelled in prop::collection::btree_set(100..600_u64, 0..100),
    ) {
        let mut partition = Partition::of(&journal);
        let released = some_key(&partition, at, nudge);
        let cancelled: RoaringTreemap = cancelled.into_iter().collect();
        let before = partition.wanted.clone();
        let merged = merge_all(&mut partition, released, &cancelled);
        prop_assert_eq!(merged.run.is_none(), partition.wanted.is_empty());
        let gone = before.keys().filter(|key| **key > released);
        let gone = gone.map(|key| key.ticket.cast_unsigned()).filter(|t| cancelled.contains(*t));
        prop_assert_eq!(merged.dropped, gone.collect::<RoaringTreemap>());

        let runs = partition.open();
        let found = drain(&mut runs.after(Key::MIN));
        prop_assert_eq!(found, partition.wanted.values().cloned().collect::<Vec<_>>());
        for key in before.keys() {
            let ticket = runs.find_ticket(key.ticket).unwrap();
            let wanted = partition.wanted.get(key);
            prop_assert_eq!(ticket.map(|found| found.key), wanted.map(|entry| entry.key));
        }
        for run in &partition.manifest.runs {
            prop_assert_eq!(run.tier, 1);
            prop_assert_eq!(run.entries(), partition.wanted.len() as u64);
            prop_assert_eq!(run.tickets, run.entries());
        }
    }

    #[test]
    fn entries_are_found_by_key_ticket_and_id(
        journal in any_journal(),
        merged in any::<bool>(),
        from in 90..700_i64,
    ) {
        let mut partition = Partition::of(&journal);
        if merged {
            merge_all(&mut partition, Key::MIN, &RoaringTreemap::new());
        }
        let runs = partition.open();
        for (key, entry) in &partition.wanted {
            let found = runs.get(*key).unwrap();
            prop_assert_eq!(found.as_ref(), Some(entry));
            let record_bytes = entry.record.len() as u64;
            let ticket = runs.find_ticket(key.ticket).unwrap();
            prop_assert_eq!(ticket, Some(Ticket { key: *key, record_bytes }));
            prop_assert_eq!(runs.get(Key { due_ms: key.due_ms + 1, ..*key }).unwrap(), None);
        }
        prop_assert_eq!(runs.find_ticket(99).unwrap(), None);
        prop_assert_eq!(runs.find_ticket(5_000).unwrap(), None);
        for id in 0..50 {
            let name = id_name(id);
            let found = runs.find_id(&name, |key| key.ticket >= from).unwrap();
            let mut named = partition.wanted.values().filter(|entry| {
                entry.key.ticket >= from && id_of(&entry.record) == Some(&name)
            });
            let newest = named.clone().map(|entry| entry.key.ticket).max();
            prop_assert_eq!(found.as_ref().map(|entry| entry.key.ticket), newest);
            prop_assert!(found.is_none_or(|found| named.any(|entry| *entry == found)));
        }
    }

    #[test]
    fn counts_are_off_by_a_block_per_run_at_most(journal in any_journal(), due_in in -10..600_i64) {
        let partition = Partition::of(&journal);
        let runs = partition.open();
        let bound = kit::START_MS + due_in;
        let count = runs.count_below(bound).unwrap();
        let exact = partition.wanted.keys().filter(|key| key.due_ms < bound).count() as u64;
        // Runs of these sizes have one block each.
        prop_assert!(count.abs_diff(exact) <= partition.wanted.len() as u64);
        prop_assert!(count <= runs.count_below(bound + 50).unwrap());
        prop_assert_eq!(runs.count_below(i64::MIN).unwrap(), 0);
        prop_assert_eq!(runs.count_below(i64::MAX).unwrap(), partition.wanted.len() as u64);
    }
}

#[test]
fn counts_follow_the_blocks_of_a_long_run() {
    let puts: Vec<_> = (0..2_000).map(|n| put(n, 1_000)).collect();
    let partition = Partition::of(&[puts]);
    let runs = partition.open();
    for due_in in (0..2_500).step_by(97) {
        let bound = kit::START_MS + due_in;
        let exact = partition.wanted.keys().filter(|key| key.due_ms < bound).count() as u64;
        let count = runs.count_below(bound).unwrap();
        assert!(count.abs_diff(exact) <= 64, "{count} instead of {exact}");
    }
}

#[test]
fn a_run_of_more_than_64_mib_has_slices_that_end_there() {
    let puts: Vec<_> = (0..70).map(|n| put((n * 37) % 70, 1 << 20)).collect();
    let partition = Partition::of(&[puts]);
    let [run] = &partition.manifest.runs[..] else { panic!("one run") };
    assert_eq!(run.slices.len(), 2);
    assert!(run.slices[0].file_bytes < (64 << 20) + (2 << 20));
    assert!(run.slices[0].last < run.slices[1].first);
    let runs = partition.open();
    let from = run.slices[0].last;
    for after in [Key::MIN, from, run.slices[1].first] {
        assert!(
            drain(&mut runs.after(after)) == wanted_above(&partition, after),
            "after {after:?}"
        );
    }
    assert_eq!(runs.get(run.slices[1].last).unwrap().unwrap().key, run.slices[1].last);
    let exact = partition.wanted.keys().filter(|key| **key <= from).count() as u64;
    assert_eq!(runs.count_below(run.slices[1].first.due_ms).unwrap(), exact);
}

#[test]
fn what_was_passed_is_let_go_and_swept() {
    let puts: Vec<_> = (0..66).map(|n| put(n, 1 << 20)).collect();
    let mut partition = Partition::of(&[puts, vec![put(1, 10)]]);
    let first = partition.manifest.runs[0].slices[0];
    // A key before its end: the second run alone was passed.
    assert!(partition.manifest.drop_passed(Key { due_ms: first.last.due_ms - 1, ticket: 0 }));
    assert_eq!(partition.manifest.runs.len(), 1);
    assert!(partition.manifest.drop_passed(first.last));
    partition.manifest.write(&partition.files, delay_dir()).unwrap();
    sweep(&partition.files, delay_dir(), &partition.manifest).unwrap();
    assert_eq!(partition.names(), ["0000000000-00001.run", "0000000000.tickets"]);
    let after = wanted_above(&partition, first.last);
    assert!(drain(&mut partition.open().after(first.last)) == after);
    assert!(partition.manifest.drop_passed(LAST));
    assert!(partition.manifest.runs.is_empty() && !partition.manifest.drop_passed(LAST));
}

#[test]
fn leftovers_are_removed_when_the_runs_are_opened() {
    let partition = Partition::of(&[vec![put(5, 10)]]);
    let dir = delay_dir().join("runs");
    for name in ["0000000001-00000.run", "0000000000.ids", "0000000007.tickets", "odd"] {
        partition.files.put(&dir.join(name), vec![1; 10]);
    }
    let runs = partition.open();
    assert_eq!(partition.names(), ["0000000000-00000.run", "0000000000.tickets"]);
    assert_eq!(drain(&mut runs.after(Key::MIN)).len(), 1);
}

#[test]
fn a_full_disk_leaves_nothing_of_the_run() {
    let (bytes, sources, _) = segment(0, &(0..200).map(|n| put(n, 2_000)).collect::<Vec<_>>());
    let mut room = 0;
    loop {
        let files = MemoryFiles::new();
        files.create_dir(delay_dir()).unwrap();
        files.put(Path::new("/data/segment"), bytes.clone());
        files.set_room_bytes(Some(room));
        match kit::seal_bytes(&files, 3, bytes.clone(), sources.clone()) {
            Err(RunError::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
            other => return assert!(other.unwrap().run.is_some() && room > 400_000),
        }
        assert!(files.list(&delay_dir().join("runs")).unwrap().is_empty());
        room += 50_000;
    }
}

#[test]
fn a_raised_flag_abandons_jobs() {
    let puts: Vec<_> = (0..200).map(|n| put(n, 2_000)).collect();
    let partition = Partition::of(std::slice::from_ref(&puts));
    let raised = AtomicBool::new(true);
    let (bytes, sources, _) = segment(0, &puts);
    partition.files.put(Path::new("/data/segment"), bytes);
    let file = partition.files.open(Path::new("/data/segment"), OpenMode::Read).unwrap();
    let sealed = seal(&partition.files, delay_dir(), 7, &*file, sources, &raised);
    assert!(matches!(sealed, Err(RunError::Aborted)));
    let (runs, none) = (partition.open(), RoaringTreemap::new());
    let over = Over { released: Key::MIN, cancelled: &none };
    let merged = merge(&partition.files, delay_dir(), 8, runs.all(), over, &raised);
    assert!(matches!(merged, Err(RunError::Aborted)));
    assert_eq!(partition.names(), ["0000000000-00000.run", "0000000000.tickets"]);
}

#[test]
fn a_segment_with_nothing_pending_makes_no_run() {
    let files = MemoryFiles::new();
    let (bytes, _, _) = segment(0, &[put(1, 10)]);
    let sealed = kit::seal_bytes(&files, 0, bytes, Vec::new()).unwrap();
    assert!(sealed.run.is_none() && sealed.lost.is_empty());
    assert!(files.list(&delay_dir().join("runs")).unwrap().is_empty());
}

#[test]
fn runs_that_are_adopted_go_on_where_the_sequence_is() {
    let mut partition = Partition::of(&[vec![put(10, 1), put(30, 1)]]);
    let mut runs = partition.open();
    let mut merge = runs.after(Key::MIN);
    merge.peek(LAST).unwrap();
    merge.advance();
    partition.seal(&[put(5, 1), put(20, 1)]);
    merge.add(runs.adopt(partition.manifest.runs[1].clone()));
    let dues: Vec<_> = drain(&mut merge).iter().map(|entry| entry.key.due_ms).collect();
    assert_eq!(dues, [20, 30].map(|due_in| kit::START_MS + 10 + due_in));
    runs.forget(&[0]);
    assert_eq!(drain(&mut runs.after(Key::MIN)).len(), 2);
}

#[test]
fn sixteen_of_a_tier_are_due_oldest_first() {
    let run = |id, tier, first_ticket| RunMeta {
        id,
        tier,
        ids: 0,
        tickets: 1,
        first_ticket,
        last_ticket: first_ticket,
        slices: Vec::new(),
    };
    let mut runs: Vec<_> = (0..15).map(|n| run(n, 0, 1_000 - n as i64)).collect();
    runs.extend((20..40).map(|n| run(n, 1, n as i64)));
    assert_eq!(due_for_merge(&runs, &[]), Some((20..36).collect()));
    assert_eq!(due_for_merge(&runs, &[21]), Some([20].into_iter().chain(22..37).collect()));
    runs.push(run(50, 0, 2_000));
    let lowest = (0..15).rev().chain([50]).collect();
    assert_eq!(due_for_merge(&runs, &[]), Some(lowest));
    assert_eq!(due_for_merge(&runs[..15], &[]), None);
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    let partition = Partition::of(&[vec![put(1, 10), put(2, 10)]]);
    let path = delay_dir().join("runs").join("0000000000-00000.run");
    let (runs, bytes) = (partition.open(), partition.files.read(&path).unwrap());
    partition.files.remove(&path).unwrap();
    let mut merge = runs.after(Key::MIN);
    for _ in 0..2 {
        assert_eq!(merge.peek(LAST).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
    partition.files.put(&path, bytes);
    assert_eq!(drain(&mut merge).len(), 2);
    assert!(merge.take_lost().is_empty());
}

#[test]
fn opening_and_waiting_touch_no_slice() {
    let partition = Partition::of(&[vec![put(100, 10)], vec![put(200, 10)]]);
    let runs = partition.open();
    for name in partition.names() {
        partition.files.remove(&delay_dir().join("runs").join(name)).unwrap();
    }
    let mut merge = runs.after(Key::MIN);
    let before_all = Key { due_ms: kit::START_MS + 99, ticket: 0 };
    assert_eq!(merge.peek(before_all).unwrap(), None);
    assert_eq!(Arc::strong_count(&runs.all()[0]), 2);
}
