//! Replays what fuzzing has found: every input of `tests/fuzz/seeds` through its target. The
//! seeds are a smallest set that reaches every branch a long run has reached, and every input
//! that ever failed.

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).expect("the seeds are part of the repository") {
        let path = entry.expect("the directory can be read").path();
        run(&fs::read(&path).expect("the seed can be read"));
        inputs += 1;
    }
    assert!(inputs > 20, "{} holds only {inputs} inputs", dir.display());
}

#[test]
fn batches() {
    replay("batch", targets::batch);
}

#[test]
fn frames() {
    replay("frame", targets::frame);
}

#[test]
fn requests() {
    replay("request", targets::request);
}

#[test]
fn group_records() {
    replay("group_record", targets::group_record);
}
