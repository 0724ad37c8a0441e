//! Dead letters made by hand, and `klamm dlq` against a real broker.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;

use crate::records::{Given, Reader};
use crate::support::broker::Broker;
use crate::support::client::Client;

/// The group that fails.
pub const GROUP: &str = "billing";

/// How often a question is asked again while something begins its work.
const ASKS: usize = 10_000;

pub fn topic(name: impl Into<String>) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

/// The topic of the group's dead letters, or retries, of another.
pub fn of_role(role: &str, source: &TopicName) -> TopicName {
    topic(format!("{role}.{GROUP}.{}", source.as_str()))
}

/// A dead letter of the group's, as the broker would make it.
pub fn letter(source: &TopicName, partition: i32, offset: i64, value: impl Into<String>) -> Given {
    Given::live(value)
        .with("trace", offset)
        .with("__dlq.errors.topic", source.as_str())
        .with("__dlq.errors.partition", partition)
        .with("__dlq.errors.offset", offset)
        .with("__dlq.errors.group", GROUP)
        .with("__dlq.errors.reason", "delivery-limit")
        .with("__dlq.errors.delivery.count", 17)
        .with("__dlq.errors.redrive.count", 0)
}

/// Exit code, output and complaint of `klamm dlq`.
pub fn dlq(broker: &Broker, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.arg("dlq").args(words).arg("--http").arg(broker.http().to_string()).env_clear();
    let done = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (done.status.code().expect("not killed"), text(done.stdout), text(done.stderr))
}

/// What `klamm dlq` tells in JSON.
pub fn json(broker: &Broker, words: &[&str]) -> Value {
    let (code, told, complaint) = dlq(broker, &[words, &["--output", "json"]].concat());
    assert_eq!(code, 0, "{words:?}: {complaint}");
    serde_json::from_str(&told).expect("JSON")
}

/// Begins a job and gives its id.
pub fn begin(broker: &Broker, words: &[&str]) -> String {
    let begun = json(broker, &[&["redrive"], words].concat());
    begun["id"].as_str().expect("an id").to_owned()
}

/// What the endpoint answers.
pub fn get(broker: &Broker, path: &str) -> String {
    let mut socket = TcpStream::connect(broker.http()).expect("a listener");
    let host = broker.http();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("a response");
    text.split_once("\r\n\r\n").expect("a whole response").1.to_owned()
}

/// Waits for a job until something is true of it.
pub fn until(broker: &Broker, id: &str, is_true: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..ASKS {
        let job = get(broker, &format!("/api/v1/redrives/{id}?wait_ms=20"));
        let job: Value = serde_json::from_str(&job).expect("JSON");
        if is_true(&job) {
            return job;
        }
    }
    panic!("job {id} never got there: {}", get(broker, &format!("/api/v1/redrives/{id}")));
}

/// A number that a job tells.
pub fn count(job: &Value, what: &str) -> u64 {
    job[what].as_u64().unwrap_or_else(|| panic!("{what} in {job}"))
}

pub fn is_over(job: &Value) -> bool {
    ["done", "failed", "cancelled"].iter().any(|state| job["state"] == *state)
}

/// All values that a partition shows once there are so many.
pub fn values(client: &mut Client, topic: &TopicName, partition: i32, count: usize) -> Vec<String> {
    let mut reader = Reader::new(topic, partition);
    reader.until(client, count);
    reader.rest(client);
    reader.values().into_iter().map(str::to_owned).collect()
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str(GROUP))
}

/// Commits the group's offset, as somebody who is no member.
pub fn commit(client: &mut Client, topic: &TopicName, partition: i32, offset: i64) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group().0]);
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::from_static_str("")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let done = (0..ASKS).any(|_| {
        client.call(4, &find).coordinators[0].error_code == 0
            && client.call(8, &request).topics[0].partitions[0].error_code == 0
    });
    assert!(done, "the group has no coordinator");
}

/// The group's offset, -1 without one.
pub fn committed(client: &mut Client, topic: &TopicName, partition: i32) -> i64 {
    let one = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![one]);
    let found = client.call(8, &request).groups.remove(0);
    let of_topic = found.topics.iter().filter(|found| found.name == *topic);
    let mut partitions = of_topic.flat_map(|found| &found.partitions);
    let found = partitions.find(|found| found.partition_index == partition);
    found.map_or(-1, |found| found.committed_offset)
}
