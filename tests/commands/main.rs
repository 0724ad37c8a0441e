//! `klamm topic`, `group` and `config` as people and scripts run them: the real binary against a
//! real broker, its tables, its JSON, its exit codes.
//!
//! With `ORACLE=HOST:PORT` the broker is that one; the commands must work with Apache Kafka too.

mod groups;
#[path = "../support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use klamm::wire::compression::Codec;
use serde_json::{Value, json};
use support::broker::{Asked, Broker};
use support::topics::{self, name};

/// What a command did.
struct Done {
    code: i32,
    out: String,
    complaint: String,
}

fn klamm(words: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    let output = command.args(words).env_clear().output().expect("the binary runs");
    Done {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).expect("output is UTF-8"),
        complaint: String::from_utf8(output.stderr).expect("output is UTF-8"),
    }
}

/// Commands against one broker.
struct Shell {
    broker: Asked,
}

impl Shell {
    fn start() -> Self {
        Self { broker: Asked::broker() }
    }

    fn run(&self, words: &[&str]) -> Done {
        let address = self.broker.address().to_string();
        klamm(&[words, &["--bootstrap-server", &address]].concat())
    }

    /// The table, or whatever is said on success.
    fn told(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!((done.code, &*done.complaint), (0, ""), "{words:?}");
        done.out
    }

    fn json(&self, words: &[&str]) -> Value {
        let told = self.told(&[words, &["--output", "json"]].concat());
        serde_json::from_str(&told).expect("an answer in JSON")
    }

    /// Exit code and the one line of complaint.
    fn refused(&self, words: &[&str]) -> (i32, String) {
        let done = self.run(words);
        assert_eq!(done.complaint.lines().count(), 1, "{words:?}: {}", done.complaint);
        assert_eq!(done.out, "", "{words:?}");
        (done.code, done.complaint)
    }
}

/// The cells of a table's line, where no cell has a blank in it.
fn cells(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The cells of the line that begins with this one; none if there is no such line.
fn row_if_any<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    table.lines().map(cells).find(|cells| cells.first() == Some(&first)).unwrap_or_default()
}

fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let found = row_if_any(table, first);
    assert!(!found.is_empty(), "no line of {first} in\n{table}");
    found
}

#[test]
fn a_topic_is_created_shown_grown_and_deleted() {
    let shell = Shell::start();
    let topic = &*name("grown").0;
    let created = shell.told(&[
        "topic",
        "create",
        topic,
        "--partitions",
        "2",
        "--config",
        "retention.ms=86400000",
    ]);
    assert_eq!(created, format!("created topic '{topic}'\n"));
    let (code, complaint) = shell.refused(&["topic", "create", topic]);
    assert!(code == 1 && complaint.contains("already exists"), "{complaint}");
    let again = shell.json(&["topic", "create", topic, "--if-not-exists"]);
    assert_eq!(again, json!({ "topic": topic, "created": false }));

    let table = shell.told(&["topic", "list"]);
    assert_eq!(row(&table, "TOPIC"), ["TOPIC", "PARTITIONS", "REPLICATION", "ID"]);
    assert_eq!(row(&table, topic)[..3], [topic, "2", "1"]);

    shell.told(&["topic", "add-partitions", topic, "--to", "3"]);
    let shown = shell.json(&["topic", "show", topic]);
    let partitions = shown["partitions"].as_array().unwrap();
    let numbers: Vec<_> = partitions.iter().map(|partition| &partition["partition"]).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(partitions.iter().all(|p| p["latest"] == 0 && p["leader"].is_i64()), "{shown}");
    let config = shown["configs"].as_array().unwrap().iter().find(|c| c["key"] == "retention.ms");
    assert_eq!(config.map(|config| &config["value"]), Some(&json!("86400000")));
    let table = shell.told(&["topic", "show", topic]);
    assert_eq!(row(&table, "partitions"), ["partitions", "3"]);
    assert_eq!(row(&table, "retention.ms")[..2], ["retention.ms", "86400000"]);

    assert_eq!(shell.told(&["topic", "delete", topic]), format!("deleted '{topic}'\n"));
    assert_eq!(shell.refused(&["topic", "delete", topic]).0, 3);
    assert_eq!(shell.json(&["topic", "delete", topic, "--if-exists"]), json!({ "deleted": [] }));
}

#[test]
fn offsets_are_found_by_time() {
    let shell = Shell::start();
    let topic = name("timed");
    let mut client = shell.broker.connect();
    topics::create(&mut client, &topic, 1);
    for at in [1000, 2000, 3000] {
        let batch = topics::batch(Codec::None, &[at]);
        assert_eq!(topics::produce(&mut client, &topic, 0, batch).0, 0);
    }
    let offset = |time: &str| {
        let found = shell.json(&["topic", "offsets", &topic.0, "--time", time]);
        (found[0]["offset"].clone(), found[0]["timestamp_ms"].clone())
    };
    assert_eq!(offset("earliest").0, 0);
    assert_eq!(offset("latest").0, 3);
    assert_eq!(offset("1001"), (json!(1), json!(2000)));
    assert_eq!(offset("1970-01-01T00:00:03Z"), (json!(2), json!(3000)));
    assert_eq!(offset("max-timestamp").0, 2);
    assert_eq!(offset("2026-01-31"), (Value::Null, Value::Null));
    let table = shell.told(&["topic", "offsets", &topic.0, "--time", "1001"]);
    assert_eq!(
        table,
        "PARTITION  OFFSET  TIMESTAMP\n        0       1  1970-01-01T00:00:02.000Z\n"
    );
    assert_eq!(shell.refused(&["topic", "offsets", &topic.0, "--partition", "7"]).0, 3);
}

#[test]
fn configs_of_topics_are_set_and_unset() {
    let shell = Shell::start();
    let topic = &*name("configured").0;
    shell.told(&["topic", "create", topic]);
    let said = shell.told(&["config", "set", "topic", topic, "retention.ms=7", "segment.ms=9"]);
    assert_eq!(said, format!("topic '{topic}': set retention.ms, segment.ms\n"));
    let set = || -> Vec<(String, String)> {
        let shown = shell.json(&["config", "show", "topic", topic]);
        let own = shown.as_array().unwrap().iter().filter(|config| config["source"] == "topic");
        own.map(|c| (c["key"].to_string(), c["value"].to_string())).collect()
    };
    let pair = |key: &str, value: &str| (format!("\"{key}\""), format!("\"{value}\""));
    assert_eq!(set(), [pair("retention.ms", "7"), pair("segment.ms", "9")]);

    shell.told(&["config", "set", "topic", topic, "segment.ms=10", "--dry-run"]);
    let (code, complaint) = shell.refused(&["config", "set", "topic", topic, "retention.ms=soon"]);
    assert!(code == 1 && complaint.contains("retention.ms"), "{complaint}");
    shell.told(&["config", "unset", "topic", topic, "retention.ms"]);
    assert_eq!(set(), [pair("segment.ms", "9")]);
    assert_eq!(shell.refused(&["config", "unset", "topic", topic, "retenton.ms"]).0, 3);
    assert_eq!(shell.refused(&["config", "show", "topic", topic, "retenton.ms"]).0, 3);

    let all = shell.json(&["config", "show", "topic", topic, "--all", "--docs"]);
    let all = all.as_array().unwrap();
    assert!(all.len() > 20 && all.iter().all(|config| config["doc"].is_string()));
    let one = shell.told(&["config", "show", "topic", topic, "cleanup.policy"]);
    assert_eq!(row(&one, "cleanup.policy"), ["cleanup.policy", "delete", "default"]);
}

#[test]
fn configs_of_groups_and_brokers_are_set_and_unset() {
    let shell = Shell::start();
    let group = &*name("payments").0;
    let key = "consumer.session.timeout.ms";
    // Kafka's broker hears of a change a moment after it has been answered.
    let shown_in_time = |words: &[&str], key: &str, expected: &[&str]| {
        let show = || shell.told(&[&["config", "show"], words].concat());
        let is_there = || row_if_any(&show(), key).get(1..).unwrap_or_default() == expected;
        assert!((0..100).any(|_| is_there()), "{words:?}: {key} {expected:?}");
    };
    shown_in_time(&["group", group, "--all"], key, &["45000", "default"]);
    shell.told(&["config", "set", "group", group, &format!("{key}=50000")]);
    shown_in_time(&["group", group], key, &["50000", "group"]);
    let listed = shell.json(&["config", "list", "group"]);
    assert!(listed.as_array().unwrap().contains(&json!({ "type": "group", "name": group })));
    let (code, complaint) = shell.refused(&["config", "set", "group", group, &format!("{key}=1")]);
    assert!(
        code == 1 && complaint.contains("group.consumer.min.session.timeout.ms"),
        "{complaint}"
    );
    shell.told(&["config", "unset", "group", group, key]);
    shown_in_time(&["group", group, "--all"], key, &["45000", "default"]);

    let key = "log.message.timestamp.after.max.ms";
    shell.told(&["config", "set", "broker", "default", &format!("{key}=7000")]);
    shown_in_time(&["broker", "default"], key, &["7000", "dynamic", "default"]);
    shell.told(&["config", "set", "broker", "1", &format!("{key}=8000")]);
    shown_in_time(&["broker", "1"], key, &["8000", "dynamic", "broker"]);
    for of in ["default", "1"] {
        shell.told(&["config", "unset", "broker", of, key]);
    }
    shown_in_time(&["broker", "default"], key, &[]);
    shown_in_time(&["broker", "1"], key, &[]);
    assert_eq!(shell.refused(&["config", "show", "broker", "77"]).0, 3);
    assert_eq!(shell.refused(&["config", "show", "broker", "one"]).0, 2);
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let shell = Shell::start();
    for words in [
        &["topic", "show", "absent"][..],
        &["topic", "offsets", "absent"],
        &["topic", "delete", "absent"],
        &["topic", "add-partitions", "absent", "--to", "9"],
        &["config", "show", "topic", "absent"],
        &["config", "set", "topic", "absent", "retention.ms=1"],
    ] {
        let (code, complaint) = shell.refused(words);
        assert_eq!((code, &*complaint), (3, "klamm: there is no topic 'absent'\n"), "{words:?}");
    }
    let (code, complaint) = shell.refused(&["topic", "show", "not a name"]);
    assert!(code == 1 && complaint.contains("no valid name"), "{complaint}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for words in [
        &["topic"][..],
        &["topic", "show"],
        &["topic", "list", "--output", "xml"],
        &["topic", "list", "--bootstrap-server", "nowhere"],
        &["topic", "list", "--bootstrap-server", "host:0"],
        &["topic", "list", "--timeout", "0"],
        &["topic", "create", "t", "--partitions", "0"],
        &["topic", "create", "t", "--config", "retention.ms"],
        &["topic", "offsets", "t", "--time", "yesterday"],
        &["config", "set", "topic", "t", "retention.ms"],
        &["config", "show", "user", "u"],
        &["group", "reset-offsets", "g", "--topic", "t"],
        &["group", "reset-offsets", "g", "--topic", "t", "--to-latest", "--to-earliest"],
    ] {
        let done = klamm(words);
        assert_eq!(done.code, 2, "{words:?}: {}", done.complaint);
        assert_eq!(done.out, "");
    }
}

fn list_topics_of(address: SocketAddr) -> Done {
    klamm(&["topic", "list", "--timeout", "1", "--bootstrap-server", &address.to_string()])
}

#[test]
fn whoever_does_not_answer_as_a_broker_is_one_readable_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let done = list_topics_of(silent);
    let expected = format!("klamm: {silent} did not answer ApiVersions in time\n");
    assert_eq!((done.code, done.complaint), (1, expected));

    drop(listener);
    let done = list_topics_of(silent);
    let expected =
        format!("klamm: cannot reach {silent}: connection refused; is the broker running?\n");
    assert_eq!((done.code, done.complaint), (1, expected));

    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let done = list_topics_of(broker.http());
    assert!(done.complaint.contains("does not speak Kafka's protocol"), "{}", done.complaint);
    assert_eq!(done.code, 1);

    let both = format!("{silent},{}", broker.address());
    let done = klamm(&["topic", "list", "--bootstrap-server", &both]);
    assert_eq!(done.code, 0, "the next address is tried: {}", done.complaint);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for words in [
        "topic list",
        "topic show",
        "topic create",
        "topic delete",
        "topic add-partitions",
        "topic offsets",
        "group list",
        "group show",
        "group offsets",
        "group reset-offsets",
        "group delete",
        "group delete-offsets",
        "delay list",
        "delay show",
        "delay pending",
        "delay histogram",
        "delay cancel",
        "config list",
        "config show",
        "config set",
        "config unset",
    ] {
        let words: Vec<&str> = words.split(' ').chain(["--help"]).collect();
        let done = klamm(&words);
        let example = format!("Example: klamm {}", words[..2].join(" "));
        assert!(done.code == 0 && done.out.contains(&example), "{words:?}\n{}", done.out);
    }
}
