//! Differential testing against Apache Kafka: the same raw requests to both, the replies compared
//! field by field.
//!
//! `compat/diff/run` starts both brokers and compares them for any seed. As a test
//! (`cargo test --test diff`) it holds Klamm against replies recorded from Apache Kafka, for which
//! no Java is needed; `compat/diff/run --record` makes the recording. What is not compared, and
//! which differences are meant, stands in `verdict.rs`.

#![expect(clippy::print_stderr, reason = "the counts are part of the result")]

mod cases;
mod fields;
mod normal;
mod recording;
#[path = "../../tests/support/mod.rs"]
mod support;
mod talk;
mod verdict;

use std::net::SocketAddr;
use std::path::Path;

use cases::{Case, Draw};
use support::broker::Broker;
use talk::{Step, Talk};

/// The seed of the recording.
const RECORDED_SEED: u64 = 1;

/// Has every case with one broker.
fn converse(address: SocketAddr, seed: u64) -> Vec<(String, Vec<Step>)> {
    let mut talk = Talk::with(address);
    let run = |case: Case| {
        talk.fresh();
        (case.run)(&mut talk, &mut Draw::new(seed));
        (case.name.to_owned(), talk.fresh())
    };
    cases::all().into_iter().map(run).collect()
}

fn recorded() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/diff/recorded.txt")
}

fn own_broker() -> (Broker, tempfile::TempDir) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    // As the other broker is started: a group need not gather members.
    let settings = ["group.initial.rebalance.delay.ms=0"];
    (Broker::start_with(scratch.path(), &settings), scratch)
}

#[test]
fn klamm_answers_as_apache_kafka_did() {
    let (broker, _scratch) = own_broker();
    let kafka = recording::read(&recorded());
    let report = verdict::compare(&kafka, &converse(broker.address(), RECORDED_SEED));
    assert!(report.differences.is_empty(), "{report}");
    eprintln!("{}", report.summary());
}

/// A comparison that overlooks a changed field proves nothing: one field of each API is changed,
/// and each change has to be found.
#[test]
fn a_changed_field_of_any_api_is_found() {
    let kafka = recording::read(&recorded());
    let mut tried = std::collections::BTreeSet::new();
    for (case, steps) in &kafka {
        for (n, step) in steps.iter().enumerate() {
            let compared = |field: &&String| verdict::is_compared(step.api, field);
            let Some(field) = step.fields.keys().find(compared) else { continue };
            if verdict::is_unforeseen(step) || !tried.insert(step.api as i16) {
                continue;
            }
            let mut altered = kafka.clone();
            let (_, steps) = altered.iter_mut().find(|(name, _)| name == case).unwrap();
            steps[n].fields.insert(field.clone(), "altered".to_owned());
            let report = verdict::compare(&kafka, &altered);
            assert_eq!(report.differences.len(), 1, "{:?} {field}", step.api);
        }
    }
    assert!(tried.len() >= 18, "{} APIs are in the recording", tried.len());
}

/// `KAFKA=HOST:PORT [KLAMM=HOST:PORT] [SEED=n] [RECORD=1]`: see `compat/diff/run`.
#[test]
#[ignore = "needs Apache Kafka"]
fn live() {
    let address =
        |key| std::env::var(key).ok().map(|a| a.parse::<SocketAddr>().expect("HOST:PORT"));
    let seed = std::env::var("SEED").map_or(RECORDED_SEED, |seed| seed.parse().expect("a number"));
    let kafka = converse(address("KAFKA").expect("KAFKA=HOST:PORT"), seed);
    if std::env::var("RECORD").is_ok() {
        return recording::write(&recorded(), &kafka);
    }
    let own = address("KLAMM").is_none().then(own_broker);
    let klamm = address("KLAMM").unwrap_or_else(|| own.as_ref().unwrap().0.address());
    let report = verdict::compare(&kafka, &converse(klamm, seed));
    eprintln!("seed {seed}: {}", report.summary());
    assert!(report.differences.is_empty(), "{report}");
}
