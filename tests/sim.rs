//! Seeded runs of the durable path over a disk that forgets, tears and fails.
//!
//! 200 seeds by default; `KLAMM_SIM_SEEDS=5000 cargo test --release --test sim` runs more, and
//! `KLAMM_SIM_FIRST=n` begins elsewhere. A failure names its seed.

#![expect(clippy::print_stdout, reason = "the run's counts are part of its result")]

use klamm::sim::world::{Planted, Tally, run};
use klamm::sim::{offsets, runs};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_promise_is_broken_whatever_the_disk_does() {
    let first = number("KLAMM_SIM_FIRST", 0);
    let mut all = Tally::default();
    for seed in first..first + number("KLAMM_SIM_SEEDS", 200) {
        let tally = run(seed, Planted::None).unwrap_or_else(|broken| {
            panic!("seed {seed}: {broken}; again: KLAMM_SIM_FIRST={seed} KLAMM_SIM_SEEDS=1")
        });
        all.sent += tally.sent;
        all.acked += tally.acked;
        all.retried += tally.retried;
        all.pairs += tally.pairs;
        all.halves += tally.halves;
        all.recoveries += tally.recoveries;
        all.replayed += tally.replayed;
        all.cut_bytes += tally.cut_bytes;
        all.checkpoints += tally.checkpoints;
        all.deleted_segments += tally.deleted_segments;
        all.compactions += tally.compactions;
        all.compacted_records += tally.compacted_records;
        all.disk_steps += tally.disk_steps;
    }
    println!("{all:?}");
    // A simulator that does nothing finds nothing.
    for (what, count) in [
        ("acknowledged", all.acked),
        ("retried", all.retried),
        ("paired", all.pairs),
        ("halves", all.halves),
        ("recoveries", all.recoveries),
        ("replayed", all.replayed),
        ("cut", all.cut_bytes),
        ("checkpoints", all.checkpoints),
        ("compacted", all.compacted_records),
    ] {
        assert!(count > 0, "{what}: never");
    }
}

#[test]
fn no_offset_goes_back_whatever_the_disk_does() {
    let first = number("KLAMM_SIM_FIRST", 0);
    let mut all = offsets::Tally::default();
    for seed in first..first + number("KLAMM_SIM_SEEDS", 200) {
        let tally = offsets::run(seed, offsets::Planted::None).unwrap_or_else(|broken| {
            panic!("seed {seed}: {broken}; again: KLAMM_SIM_FIRST={seed} KLAMM_SIM_SEEDS=1")
        });
        all.committed += tally.committed;
        all.fetched += tally.fetched;
        all.refused += tally.refused;
        all.recoveries += tally.recoveries;
        all.disk_steps += tally.disk_steps;
    }
    println!("{all:?}");
    assert!(all.committed > 0 && all.fetched > 0 && all.refused > 0 && all.recoveries > 0);
}

#[test]
fn planted_bugs_of_the_coordinator_are_caught() {
    for planted in [offsets::Planted::TellAtOnce, offsets::Planted::SkipSync] {
        let caught =
            (0..50).filter_map(|seed| offsets::run(seed, planted).err()).collect::<Vec<_>>();
        println!("{planted:?}: {} of 50 seeds, e.g. {:?}", caught.len(), caught.first());
        assert!(!caught.is_empty(), "{planted:?} was not noticed");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 77, 4_242] {
        let first = run(seed, Planted::None).unwrap();
        assert!(first.disk_steps > 100);
        assert_eq!(run(seed, Planted::None).unwrap(), first);
    }
    let offsets = |seed| offsets::run(seed, offsets::Planted::None).unwrap();
    assert_eq!(offsets(5), offsets(5));
    assert_ne!(offsets(5).digest, offsets(6).digest);
    assert_ne!(run(1, Planted::None).unwrap().digest, run(2, Planted::None).unwrap().digest);
}

#[test]
fn every_kind_of_planted_bug_is_caught() {
    for planted in [
        Planted::SkipSync,
        Planted::AckBeforeDurable,
        Planted::ReuseOffset,
        Planted::LoseRow,
        Planted::DoubleRow,
        Planted::CutTooMuch,
        Planted::KeepHalves,
        Planted::ForgetFloor,
        Planted::ForgetProducers,
    ] {
        let caught = (0..50).filter_map(|seed| run(seed, planted).err()).collect::<Vec<_>>();
        println!("{planted:?}: {} of 50 seeds, e.g. {:?}", caught.len(), caught.first());
        assert!(!caught.is_empty(), "{planted:?} was not noticed");
    }
}

#[test]
fn runs_of_delayed_records_are_whole_after_any_crash() {
    let first = number("KLAMM_SIM_FIRST", 0);
    let mut all = runs::Tally::default();
    for seed in first..first + number("KLAMM_SIM_SEEDS", 100) {
        let tally = runs::run(seed, false).unwrap_or_else(|broken| {
            panic!("seed {seed}: {broken}; again: KLAMM_SIM_FIRST={seed} KLAMM_SIM_SEEDS=1")
        });
        all.sealed += tally.sealed;
        all.merged += tally.merged;
        all.passed += tally.passed;
        all.crashes += tally.crashes;
        all.completed += tally.completed;
        all.entries += tally.entries;
    }
    println!("{all:?}");
    for (what, count) in [
        ("sealed", all.sealed),
        ("merged", all.merged),
        ("passed", all.passed),
        ("read", all.entries),
    ] {
        assert!(count > 0, "nothing was {what}");
    }
}

#[test]
fn runs_on_a_disk_that_lies_are_found_out() {
    assert!((0..50).any(|seed| runs::run(seed, true).is_err()));
}
