//! A changed or missing byte anywhere is noticed, costs no more than its block, and is told.

use proptest::prelude::*;
use proptest::sample::Index;
use roaring::RoaringTreemap;

use super::kit::{Partition, Put, Wanted, any_put, delay_dir, drain, id_name, seal_bytes, segment};
use super::*;

/// Two runs of a few blocks each.
fn any_blocks() -> impl Strategy<Value = Vec<Vec<Put>>> {
    prop::collection::vec(prop::collection::vec(any_put(1_000..2_000), 60..150), 2)
}

/// What is missing in `found`, which must be in order and as written otherwise.
fn missing(wanted: &Wanted, found: &[OwnedEntry]) -> Vec<Key> {
    assert!(found.is_sorted_by(|a, b| a.key < b.key));
    assert!(found.iter().all(|entry| wanted.get(&entry.key) == Some(entry)));
    let kept: std::collections::BTreeSet<_> = found.iter().map(|entry| entry.key).collect();
    wanted.keys().filter(|key| !kept.contains(key)).copied().collect()
}

/// Reads everything and holds what is missing against what is told to be lost.
fn judge(partition: &Partition) -> u64 {
    let runs = partition.open();
    let mut merge = runs.after(Key::MIN);
    let found = drain(&mut merge);
    let mut missing = missing(&partition.wanted, &found);
    let lost = merge.take_lost();
    let entries: u64 = lost.iter().map(|lost| lost.entries).sum();
    let record_bytes: u64 = lost.iter().map(|lost| lost.record_bytes).sum();
    assert_eq!(missing.len() as u64, entries);
    let bytes_of = |key: &Key| partition.wanted[key].record.len() as u64;
    assert_eq!(missing.iter().map(bytes_of).sum::<u64>(), record_bytes);
    let mut told = Vec::new();
    for lost in &lost {
        let run = runs.all().iter().find(|run| run.meta().id == lost.run).unwrap();
        if let Ok(tickets) = run.keys_within(lost.from, lost.below) {
            told.extend(tickets.into_iter().map(|ticket| ticket.key));
        }
    }
    if !lost.is_empty() {
        told.sort_unstable();
        missing.sort_unstable();
        assert_eq!(told, missing);
    }
    look_up(partition, &runs);
    let (none, no) = (RoaringTreemap::new(), AtomicBool::new(false));
    let over = Over { released: Key::MIN, cancelled: &none };
    match merge_result(partition, &runs, over, &no) {
        Ok(merged) => assert!(lost.is_empty() && merged.is_some()),
        Err(error) => assert!(matches!(error, RunError::Damaged { .. }), "{error}"),
    }
    record_bytes
}

fn merge_result(
    partition: &Partition,
    runs: &Runs,
    over: Over<'_>,
    abort: &AtomicBool,
) -> Result<Option<RunMeta>, RunError> {
    super::merge(&partition.files, delay_dir(), 99, runs.all(), over, abort).map(|done| done.run)
}

/// No look-up gives anything wrong; it may fail.
fn look_up(partition: &Partition, runs: &Runs) {
    let damaged = |error: &RunError| matches!(error, RunError::Damaged { .. });
    for (key, entry) in partition.wanted.iter().step_by(5) {
        match runs.get(*key) {
            Ok(found) => assert_eq!(found.as_ref(), Some(entry)),
            Err(error) => assert!(damaged(&error), "{error}"),
        }
        match runs.find_ticket(key.ticket) {
            Ok(found) => assert_eq!(found.map(|ticket| ticket.key), Some(*key)),
            Err(error) => assert!(damaged(&error), "{error}"),
        }
    }
    for id in 0..50 {
        let name = id_name(id);
        let exists = partition.wanted.values().any(|e| id_of(&e.record) == Some(&name));
        match runs.find_id(&name, |_| true) {
            Ok(found) => assert_eq!(found.is_some(), exists),
            Err(error) => assert!(damaged(&error), "{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_changed_byte_costs_a_block_at_most(
        journal in any_blocks(),
        file in any::<Index>(),
        at in any::<Index>(),
        mask in 1..=255_u8,
        near_the_end in any::<bool>(),
    ) {
        let partition = Partition::of(&journal);
        prop_assert_eq!(judge(&partition), 0);
        let names = partition.names();
        let path = delay_dir().join("runs").join(&names[file.index(names.len())]);
        let mut bytes = partition.files.read(&path).unwrap();
        // Index and footer are small: half of the cases are for them.
        let from = if near_the_end { bytes.len() - 150 } else { 0 };
        let at = from + at.index(bytes.len() - from);
        bytes[at] ^= mask;
        partition.files.put(&path, bytes);
        prop_assert!(judge(&partition) <= 64 << 10);
    }

    #[test]
    fn what_is_cut_off_is_told(
        journal in any_blocks(),
        file in any::<Index>(),
        at in any::<Index>(),
    ) {
        let partition = Partition::of(&journal);
        let names = partition.names();
        let path = delay_dir().join("runs").join(&names[file.index(names.len())]);
        let mut bytes = partition.files.read(&path).unwrap();
        bytes.truncate(at.index(bytes.len()));
        partition.files.put(&path, bytes);
        judge(&partition);
    }

    #[test]
    fn a_damaged_batch_of_the_segment_is_not_sealed(
        puts in prop::collection::vec(any_put(0..50), 20..60),
        at in any::<Index>(),
        mask in 1..=255_u8,
    ) {
        let files = MemoryFiles::new();
        let (mut bytes, sources, entries) = segment(0, &puts);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let sealed = seal_bytes(&files, 0, bytes, sources.clone()).unwrap();
        let manifest = Manifest { runs: sealed.run.into_iter().collect(), ..Manifest::default() };
        let runs = Runs::open(Arc::new(files), delay_dir(), &manifest).unwrap();
        let wanted: Wanted = entries.into_iter().map(|entry| (entry.key, entry)).collect();
        let found = drain(&mut runs.after(Key::MIN));
        // Where a batch begins is not under its checksum: a wrong length hides those behind it.
        for entry in &found {
            let wanted = &wanted[&entry.key];
            prop_assert_eq!(&entry.record, &wanted.record);
        }
        let lost: Vec<_> = sealed.lost.iter().map(|source| source.key).collect();
        prop_assert_eq!(missing(&wanted, &found), lost);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), file in 0..3_usize) {
        let partition = Partition::of(&[vec![
            Put { id: Some(1), ..put(1, 10) },
            Put { id: Some(2), ..put(2, 10) },
        ]]);
        let names = partition.names();
        partition.files.put(&delay_dir().join("runs").join(&names[file]), bytes);
        judge(&partition);
    }
}

#[test]
fn a_slice_that_is_gone_is_told_and_passed() {
    let journal = [(0..80).map(|n| put(n, 1_000)).collect(), vec![put(500, 1)]];
    let partition = Partition::of(&journal);
    partition.files.remove(&delay_dir().join("runs/0000000000-00000.run")).unwrap();
    let runs = partition.open();
    let mut merge = runs.after(Key::MIN);
    assert_eq!(drain(&mut merge).len(), 1);
    let [lost] = merge.take_lost()[..] else { panic!("one slice") };
    let slice = partition.manifest.runs[0].slices[0];
    assert_eq!((lost.run, lost.slice, lost.entries), (0, 0, 80));
    assert_eq!((lost.from, lost.record_bytes), (slice.first, slice.record_bytes));
}

#[test]
fn a_damaged_index_is_made_again_from_the_blocks() {
    let partition = Partition::of(&[(0..300).map(|n| put(n, 1_000)).collect()]);
    let path = delay_dir().join("runs/0000000000-00000.run");
    let mut bytes = partition.files.read(&path).unwrap();
    let len = bytes.len();
    bytes[len - 40] ^= 1;
    partition.files.put(&path, bytes.clone());
    assert_eq!(judge(&partition), 0);
    // With a block damaged too, what is in front of it is still there.
    bytes[150_000] ^= 1;
    partition.files.put(&path, bytes);
    let lost_bytes = judge(&partition);
    assert!((100_000..250_000).contains(&lost_bytes), "{lost_bytes}");
}
