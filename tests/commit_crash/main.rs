//! Crashes of the durable path, judged from outside: a child process appends to three partitions,
//! each with a log and a journal, through the real committer and checkpointer, and reports on a
//! pipe what was acknowledged; it is killed; recovery runs; everything acknowledged must be there,
//! at the offset it was acknowledged with, a pair whole or not at all, and no offset twice.
//!
//! The directory lives on through all rounds, so recovery runs on what recovery left. Segments
//! and ring are tiny: rounds are full of rolls, recycled commit files and checkpoints. Kills at
//! random places need nothing; with the feature `crash-points` the process also dies at every
//! named place. `KLAMM_CRASH_ROUNDS` sets the rounds per test. The ignored test `power_cut` takes
//! the power of a disk of its own (`tests/powercut/disk`).
//!
//! The child is this binary again, by its ignored test `child`.

mod child;
mod engine;
mod judge;

use std::path::Path;

use engine::Durability;
use judge::{Disk, Judge, Kill};
use klamm::base::env::Env;

fn rounds(default: u64) -> u64 {
    let asked = std::env::var("KLAMM_CRASH_ROUNDS").ok();
    asked.map_or(default, |text| text.parse().expect("KLAMM_CRASH_ROUNDS is a number"))
}

fn killed_at_random(durability: Durability) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let env = Env::system();
    let mut judge = Judge::new(scratch.path(), durability);
    for _ in 0..rounds(12) {
        let acks = 1 + env.random_u64() % 400;
        judge.round(&Kill::AfterAcks(acks));
    }
    judge.say("killed at random");
    assert!(judge.pairs() > 0, "pairs were acknowledged");
}

#[test]
fn killed_at_random_with_fsync() {
    killed_at_random(Durability::Fsync);
}

#[test]
fn killed_at_random_with_page_cache() {
    killed_at_random(Durability::PageCache);
}

#[cfg(feature = "crash-points")]
#[test]
fn killed_at_every_named_place() {
    const PLACES: [&str; 10] = [
        "commit-before",
        "commit-unsynced",
        "commit-after",
        "commit-next-file",
        "recycle",
        "roll",
        "pair-half-written",
        "checkpoint-synced",
        "checkpoint-rename",
        "checkpoint-written",
    ];
    for durability in [Durability::Fsync, Durability::PageCache] {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let mut judge = Judge::new(scratch.path(), durability);
        for round in 0..rounds(3) {
            for place in PLACES {
                judge.round(&Kill::At(place, 1 + round * round));
            }
        }
        judge.say("killed at named places");
    }
}

/// Only with fsync: in the page cache nothing survives a power cut by promise.
#[test]
#[ignore = "needs root, loop devices and mkfs.ext4"]
fn power_cut() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let env = Env::system();
    let disk = Disk::make(scratch.path());
    let mut judge = Judge::new(&disk.mount().join("data"), Durability::Fsync);
    for _ in 0..rounds(12) {
        let acks = 1 + env.random_u64() % 400;
        judge.round(&Kill::PowerCut(acks, disk.clone()));
    }
    judge.say("power cut");
    drop(judge);
    disk.drop();
}

/// Runs when a test starts this binary as a child.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    if let Some(dir) = std::env::var_os(judge::DIR_VARIABLE) {
        let durability = std::env::var(judge::DURABILITY_VARIABLE).expect("set by the judge");
        child::run(Path::new(&dir), Durability::parse(&durability));
    }
}
