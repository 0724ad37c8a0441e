//! Redrive as an operator sees it: the real binary, real sockets, real ends of processes. Dead
//! letters are written by hand here; `tests/retry/` has them from failures.

mod kit;
mod poison;
#[allow(dead_code, reason = "delays are of other tests")]
#[path = "../delay/kit.rs"]
mod records;
mod round;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, TopicName};
use kit::{begin, count, dlq, get, is_over, json, letter, of_role, until, values};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use records::{Given, Reader, latest, produce, produce_raw};
use serde_json::json;
use support::broker::Broker;
use support::client::Client;
use support::topics::{create, create_with, name};

/// A broker with a source of two partitions and its dead letters.
struct Scene {
    scratch: tempfile::TempDir,
    source: TopicName,
    dead: TopicName,
    retry: TopicName,
}

impl Scene {
    fn new(stem: &str) -> (Self, Broker) {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let broker = start(scratch.path());
        let client = &mut broker.connect();
        let source = name(stem);
        create(client, &source, 2);
        let (dead, retry) = (of_role("dlq", &source), of_role("retry", &source));
        create_with(client, &dead, -1, &[]);
        (Self { scratch, source, dead, retry }, broker)
    }

    /// Writes dead letters 0 to `count`, alternating between the partitions.
    fn bury(&self, client: &mut Client, count: i64) {
        for partition in 0..2_i32 {
            let own = (0..count).filter(|n| n % 2 == i64::from(partition));
            let letters: Vec<Given> =
                own.map(|n| letter(&self.source, partition, n, format!("v{n}"))).collect();
            for letters in letters.chunks(1_000) {
                produce(client, &self.dead, partition, letters);
            }
        }
    }
}

fn start(scratch: &Path) -> Broker {
    Broker::start_with(scratch, &["group.initial.rebalance.delay.ms=0"])
}

#[test]
fn a_dry_run_counts_and_puts_nothing_back() {
    let (scene, broker) = Scene::new("dry");
    let client = &mut broker.connect();
    scene.bury(client, 30);
    let worn = letter(&scene.source, 0, 30, "worn").with("__dlq.errors.redrive.count", 3);
    let expired = letter(&scene.source, 0, 31, "expired").with("__dlq.errors.reason", "expired");
    produce(client, &scene.dead, 0, &[worn, expired]);
    let words = ["redrive", scene.dead.as_str(), "--dry-run", "--reason", "delivery-limit"];
    let job = json(&broker, &words);
    assert_eq!((&job["state"], &job["dry_run"]), (&json!("done"), &json!(true)));
    assert_eq!(["copied", "filtered", "parked"].map(|what| count(&job, what)), [30, 1, 1]);
    let (code, shown, _) = dlq(&broker, &["list"]);
    assert!(code == 0 && !shown.contains(scene.retry.as_str()), "{shown}");
    let topics = json(&broker, &["list"]);
    assert_eq!((&topics[0]["records"], &topics[0]["retry_topic"]), (&json!(32), &json!(null)));
}

#[test]
fn dead_letters_go_back_to_the_group_that_failed_and_count_their_way() {
    let (scene, broker) = Scene::new("back");
    let client = &mut broker.connect();
    scene.bury(client, 10);
    let worn = letter(&scene.source, 1, 98, "worn").with("__dlq.errors.redrive.count", 3);
    let once = letter(&scene.source, 1, 99, "once").with("__dlq.errors.redrive.count", 1);
    produce(client, &scene.dead, 1, &[worn, once]);

    let (code, told, progress) = dlq(&broker, &["redrive", scene.dead.as_str(), "--wait"]);
    assert_eq!(code, 0, "{told}{progress}");
    assert!(
        told.contains("done; put back 11, 0 filtered out, 0 put back before, 1 parked"),
        "{told}"
    );
    let mut reader = Reader::new(&scene.retry, 1);
    reader.until(client, 6);
    assert_eq!(reader.values(), ["v1", "v3", "v5", "v7", "v9", "once"]);
    let redrives = |at: usize| reader.seen[at].header("__dlq.errors.redrive.count");
    assert_eq!((redrives(0), redrives(5)), (Some("1"), Some("2")));
    assert_eq!(reader.seen[0].header("trace"), Some("1"));
    assert_eq!(reader.seen[0].header("__dlq.errors.reason"), None);
    assert_eq!(reader.seen[0].header("klamm.retry.attempt"), None, "attempts count anew");
    assert_eq!(reader.seen[0].header("klamm.due"), None, "it was not its producer who waited");
    assert_eq!(latest(client, &scene.source, 0), 0, "other groups get nothing again");

    let before = latest(client, &scene.retry, 1);
    let again = json(&broker, &["redrive", scene.dead.as_str(), "--wait"]);
    assert_eq!(["copied", "redriven", "parked"].map(|what| count(&again, what)), [0, 11, 1]);
    let again = json(&broker, &["redrive", scene.dead.as_str(), "--dry-run", "--again"]);
    assert_eq!(["copied", "redriven", "parked"].map(|what| count(&again, what)), [11, 0, 1]);
    assert_eq!(latest(client, &scene.retry, 1), before, "nothing is put back twice");

    let job = &json(&broker, &["jobs"])[2];
    let events: Vec<&str> = job["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["what"].as_str().expect("text"))
        .collect();
    assert_eq!(events, ["started", "done"]);
    assert_eq!(json(&broker, &["list"])[0]["retry_topic"], scene.retry.as_str());
    let metrics = get(&broker, "/metrics");
    for line in [
        "klamm_retry_redriven_records_total 11".to_owned(),
        "klamm_retry_redrive_jobs{state=\"done\"} 3".to_owned(),
        format!("klamm_retry_dead_letter_records{{topic=\"{}\"}} 1", scene.dead.as_str()),
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} in {metrics}");
    }
}

#[test]
fn a_filter_and_a_target_say_what_goes_where() {
    let (scene, broker) = Scene::new("where");
    let client = &mut broker.connect();
    scene.bury(client, 10);
    let dead = scene.dead.as_str();
    let other = name("elsewhere");
    create(client, &other, 1);
    let job = begin(&broker, &[dead, "--to", other.as_str(), "--header", "trace=4"]);
    let job = until(&broker, &job, is_over);
    assert_eq!((count(&job, "copied"), count(&job, "filtered")), (1, 9), "{job}");
    assert_eq!(values(client, &other, 0, 1), ["v4"]);
    let job = begin(&broker, &[dead, "--to-origin", "--partition", "1", "--from-offset", "2"]);
    until(&broker, &job, is_over);
    assert_eq!(values(client, &scene.source, 1, 3), ["v5", "v7", "v9"]);
    assert_eq!(latest(client, &scene.source, 0), 0);

    for (words, code) in [
        (&[dead, "--to", dead][..], 2),
        (&[dead, "--to", "nowhere"], 3),
        (&["nothing"], 3),
        (&["__consumer_offsets"], 3),
    ] {
        assert_eq!(dlq(&broker, &[&["redrive"], words].concat()).0, code, "{words:?}");
    }
    let page = json(&broker, &["show", dead, "--header", "trace=4"]);
    assert_eq!(page["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["records"][0]["origin_offset"], 4);
}

#[test]
fn a_job_is_paused_resumed_and_cancelled_and_keeps_to_its_rate() {
    let (scene, broker) = Scene::new("held");
    let client = &mut broker.connect();
    scene.bury(client, 2_000);
    let id = begin(&broker, &[scene.dead.as_str(), "--rate", "100", "--by", "ann"]);
    until(&broker, &id, |job| count(job, "copied") > 0);
    assert_eq!(dlq(&broker, &["redrive", scene.dead.as_str()]).0, 1, "one job at a time");
    let paused = json(&broker, &["pause", &id, "--by", "bob"]);
    assert_eq!(paused["state"], "paused");
    assert!(count(&paused, "copied") < 2_000, "{paused}");
    assert_eq!(json(&broker, &["resume", &id])["state"], "running");
    let before = count(&paused, "copied");
    until(&broker, &id, |job| count(job, "copied") > before + 10);
    assert_eq!(json(&broker, &["cancel", &id])["state"], "cancelled");
    assert_eq!(dlq(&broker, &["resume", &id]).0, 1, "it is over");

    // A step that was under way may end after the cancel; a new job begins behind it.
    let id = begin(&broker, &[scene.dead.as_str(), "--dry-run"]);
    until(&broker, &id, is_over);
    let cancelled = &json(&broker, &["jobs"])[1];
    let copied = usize::try_from(count(cancelled, "copied")).expect("a count");
    assert!((10..2_000).contains(&copied), "{cancelled}");
    let seen = values(client, &scene.retry, 0, copied);
    assert!(seen.len() < 1_000, "partition 0 was not even done");
    let events = cancelled["events"].to_string();
    for who in ["\"by\":\"ann\"", "\"by\":\"bob\"", "\"what\":\"paused\""] {
        assert!(events.contains(who), "{who} in {events}");
    }
}

#[test]
fn a_job_goes_on_by_itself_after_a_kill_and_neither_loses_nor_doubles() {
    const LETTERS: i64 = 6_000;
    let (scene, mut broker) = Scene::new("killed");
    scene.bury(&mut broker.connect(), LETTERS);
    let id = begin(&broker, &[scene.dead.as_str(), "--rate", "4000"]);
    let mut copied = 0;
    for _ in 0..3 {
        until(&broker, &id, |job| count(job, "copied") > copied || is_over(job));
        // As by `kill -9`.
        drop(broker);
        broker = start(scene.scratch.path());
        copied = count(&until(&broker, &id, |_| true), "copied") + 500;
    }
    let job = until(&broker, &id, is_over);
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(count(&job, "copied"), LETTERS.unsigned_abs());
    let client = &mut broker.connect();
    for partition in 0..2_i32 {
        let own = (0..LETTERS).filter(|n| n % 2 == i64::from(partition));
        let expected: Vec<String> = own.map(|n| format!("v{n}")).collect();
        let seen = values(client, &scene.retry, partition, expected.len());
        assert!(seen == expected, "partition {partition}: {} of them", seen.len());
    }
}

#[test]
fn a_job_that_is_paused_stays_so_over_a_restart() {
    let (scene, broker) = Scene::new("asleep");
    scene.bury(&mut broker.connect(), 1_000);
    let id = begin(&broker, &[scene.dead.as_str(), "--rate", "50"]);
    json(&broker, &["pause", &id]);
    assert!(broker.stop().success());
    let broker = start(scene.scratch.path());
    let job = until(&broker, &id, |_| true);
    assert_eq!(job["state"], "paused");
    assert_eq!(json(&broker, &["cancel", &id])["state"], "cancelled");
}

#[test]
fn a_target_that_vanishes_ends_the_job_with_a_reason() {
    let (scene, broker) = Scene::new("gone");
    let client = &mut broker.connect();
    scene.bury(client, 1_000);
    let other = name("vanishing");
    create(client, &other, 1);
    let id = begin(&broker, &[scene.dead.as_str(), "--to", other.as_str(), "--rate", "50"]);
    until(&broker, &id, |job| count(job, "copied") > 0);
    let state = DeleteTopicState::default().with_name(Some(other.clone()));
    let delete = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(9_000);
    assert_eq!(client.call(6, &delete).responses[0].error_code, 0);
    let job = until(&broker, &id, is_over);
    assert_eq!(job["state"], "failed");
    let reason = job["reason"].as_str().expect("a reason");
    assert!(reason.contains(other.as_str()) && reason.contains("gone"), "{reason}");
}

#[test]
fn a_letter_without_a_key_does_not_go_where_it_would_be_compacted_away() {
    let (scene, broker) = Scene::new("keyless");
    let client = &mut broker.connect();
    scene.bury(client, 2);
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(1_000, None, Some(b"keyless"), [].into_iter());
    let batch = builder.build().expect("a small batch");
    assert_eq!(produce_raw(client, &scene.dead, 1, -1, batch).error_code, 0);
    let other = name("compacted");
    create_with(client, &other, 1, &[("cleanup.policy", "compact")]);
    let dead = scene.dead.as_str();
    let (code, _, complaint) = dlq(&broker, &["redrive", dead, "--to", other.as_str(), "--wait"]);
    assert!(code == 1 && complaint.contains("has no key"), "{complaint}");
    let job = begin(&broker, &[dead, "--to", other.as_str(), "--key", "key"]);
    let job = until(&broker, &job, is_over);
    assert_eq!(job["state"], "done", "{job}");
    let values = values(client, &other, 0, 2);
    assert_eq!(values, ["v0", "v1"]);
}

#[test]
fn a_job_that_begins_right_after_a_cancel_copies_nothing_again() {
    const LETTERS: i64 = 6_000;
    let (scene, broker) = Scene::new("handover");
    let client = &mut broker.connect();
    scene.bury(client, LETTERS);
    let words = [scene.dead.as_str(), "--rate", "10000"];
    let mut id = begin(&broker, &words);
    for _ in 0..5 {
        until(&broker, &id, |job| count(job, "copied") > 0 || is_over(job));
        // It may be done by now.
        dlq(&broker, &["cancel", &id]);
        id = begin(&broker, &words);
    }
    until(&broker, &id, is_over);
    for partition in 0..2_i32 {
        let own = (0..LETTERS).filter(|n| n % 2 == i64::from(partition));
        let mut expected: Vec<String> = own.map(|n| format!("v{n}")).collect();
        let mut seen = values(client, &scene.retry, partition, expected.len());
        seen.sort_unstable();
        expected.sort_unstable();
        assert!(seen == expected, "partition {partition}: {} of {}", seen.len(), expected.len());
    }
}
