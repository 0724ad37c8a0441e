//! What waits, as an operator sees it: `klamm delay` and `/metrics` of a real broker, before and
//! after a kill.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use kafka_protocol::messages::TopicName;
use serde_json::Value;

use crate::kit::{Given, Reader, now_ms, produce};
use crate::scratch;
use crate::support::broker::Broker;
use crate::support::topics::{create, name};

const HOUR_MS: i64 = 3_600_000;

/// Exit code and output of `klamm delay`.
fn delay(broker: &Broker, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.arg("delay").args(words).arg("--http").arg(broker.http().to_string()).env_clear();
    let done = command.output().expect("the binary runs");
    (done.status.code().expect("not killed"), String::from_utf8(done.stdout).expect("UTF-8"))
}

fn json(broker: &Broker, words: &[&str]) -> Value {
    let (code, told) = delay(broker, &[words, &["--output", "json"]].concat());
    assert_eq!(code, 0, "{words:?}");
    serde_json::from_str(&told).expect("JSON")
}

/// What the broker's HTTP endpoint answers.
fn get(broker: &Broker, path: &str) -> String {
    let mut socket = TcpStream::connect(broker.http()).expect("a listener");
    let host = broker.http();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("a response");
    text.split_once("\r\n\r\n").expect("a whole response").1.to_owned()
}

/// The value of one metric of partition 0.
fn metric(broker: &Broker, topic: &TopicName, metric: &str) -> f64 {
    let text = get(broker, "/metrics");
    let of_topic = format!("{metric}{{topic=\"{}\",partition=\"0\"}} ", topic.as_str());
    let plain = format!("{metric} ");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&of_topic).or_else(|| line.strip_prefix(&plain)));
    value.unwrap_or_else(|| panic!("{metric} in {text}")).parse().expect("a number")
}

#[test]
fn what_waits_is_counted_listed_and_cancelled_before_and_after_a_kill() {
    let scratch = scratch();
    let topic = name("seen");
    let shown = topic.as_str().to_owned();
    let due_ms = now_ms() + HOUR_MS;
    let given: Vec<_> = (0..10)
        .map(|n| {
            Given::at(due_ms + n, format!("v{n}")).with("klamm.delay.id", format!("order-{n}"))
        })
        .collect();
    let (first, before) = {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 1);
        let first = produce(client, &topic, 0, &given);
        assert_eq!(delay(&broker, &["cancel", &shown, "--id", "order-3"]).0, 0);
        let ticket = format!("0:{}", first + 5);
        assert_eq!(delay(&broker, &["cancel", &shown, "--ticket", &ticket]).0, 0);
        assert_eq!(delay(&broker, &["cancel", &shown, "--ticket", &ticket]).0, 3);
        assert_eq!(delay(&broker, &["cancel", &shown, "--id", "order-3"]).0, 3);
        assert!(metric(&broker, &topic, "klamm_delay_accepted_records_total") >= 10.0);
        assert!(metric(&broker, &topic, "klamm_delay_cancelled_records_total") >= 2.0);
        (first, json(&broker, &["list"]))
        // Dropped as by `kill -9`.
    };
    let broker = Broker::start(scratch.path());
    assert_eq!(json(&broker, &["list"]), before, "counters are exact after a crash");
    assert_eq!(before[0]["topic"], shown);
    assert_eq!(before[0]["pending_records"], 8);
    assert_eq!(before[0]["next_due_ms"], due_ms);
    assert!((metric(&broker, &topic, "klamm_delay_pending_records") - 8.0).abs() < 0.1);
    let due_seconds = metric(&broker, &topic, "klamm_delay_next_due_timestamp_seconds");
    assert!((due_seconds - due_ms as f64 / 1e3).abs() < 0.01);

    let page = json(&broker, &["pending", &shown, "--limit", "5"]);
    let tickets: Vec<i64> = page["pending"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["ticket"].as_i64().expect("a ticket") - first)
        .collect();
    assert_eq!(tickets, [0, 1, 2, 4, 6]);
    let next = page["next"].as_str().expect("there are more");
    let rest = json(&broker, &["pending", &shown, "--after", next]);
    assert_eq!(rest["pending"].as_array().expect("entries").len(), 3);
    assert_eq!(rest["pending"][2]["id"], "order-9");
    let histogram = json(&broker, &["histogram", &shown]);
    let buckets = histogram["buckets"].as_array().expect("buckets");
    let records = |bucket: &Value| bucket["records"].as_u64().expect("a count");
    assert_eq!(buckets.iter().map(records).sum::<u64>(), 8);
    let hour = buckets.iter().find(|bucket| bucket["within_ms"] == HOUR_MS).expect("an hour");
    assert_eq!(records(hour), 8, "{histogram}");
}

#[test]
fn what_was_cancelled_over_http_never_comes() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("never");
    create(client, &topic, 1);
    let given: Vec<_> = (0..3).map(|n| Given::after("2s", format!("v{n}"))).collect();
    let first = produce(client, &topic, 0, &given);
    let ticket = format!("0:{}", first + 1);
    assert_eq!(delay(&broker, &["cancel", topic.as_str(), "--ticket", &ticket]).0, 0);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 2);
    assert_eq!(reader.values(), ["v0", "v2"]);
    let late = format!("0:{first}");
    assert_eq!(delay(&broker, &["cancel", topic.as_str(), "--ticket", &late]).0, 1);
    let list = json(&broker, &["list", "--all"]);
    assert_eq!(list[0]["pending_records"], 0);
}

#[test]
fn a_produced_cancel_is_told_by_its_offset_after_a_kill_too() {
    let scratch = scratch();
    let topic = name("told");
    let cancel = |what: &str| Given::live("").with("klamm.delay.cancel", what);
    let outcome = |broker: &Broker, offset: i64| {
        get(broker, &format!("/api/v1/delays/{}/0/outcomes/{offset}", topic.as_str()))
    };
    let first = {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 1);
        let order = Given::after("1h", "v").with("klamm.delay.id", "order-1");
        produce(client, &topic, 0, &[order]);
        produce(client, &topic, 0, &[cancel("order-1"), cancel("order-1")])
        // Dropped as by `kill -9`.
    };
    let broker = Broker::start(scratch.path());
    assert_eq!(outcome(&broker, first), r#"{"outcome":"cancelled"}"#);
    assert_eq!(outcome(&broker, first + 1), r#"{"outcome":"unknown"}"#);
    assert!(outcome(&broker, first + 2).contains("none of the last cancels"));
}
