//! Records that hold a group up, and the command that takes them out of its way.

use kafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::kit::{GROUP, commit, committed, dlq, get, json, of_role};
use crate::records::{Given, Reader, produce};
use crate::start;
use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::topics::{create, name};

/// How often something that goes on by itself is looked at.
const LOOKS: usize = 100_000;

fn scene(stem: &str) -> (tempfile::TempDir, Broker, TopicName) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = start(scratch.path());
    let client = &mut broker.connect();
    let topic = name(stem);
    create(client, &topic, 1);
    let given: Vec<Given> = (0..5).map(|n| Given::live(format!("v{n}"))).collect();
    produce(client, &topic, 0, &given);
    (scratch, broker, topic)
}

/// A heartbeat of the consumer protocol: 0 joins, -1 leaves.
fn beat(client: &mut Client, topic: &TopicName, epoch: i32) -> ConsumerGroupHeartbeatResponse {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str(GROUP)))
        .with_member_id(StrBytes::from_static_str("member-of-the-group-1"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic.clone()]))
        .with_topic_partitions(Some(Vec::new()));
    let answer = client.call(1, &request);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer
}

#[test]
fn a_group_that_comes_back_to_one_offset_is_told_of_and_moved_past_it() {
    let (_scratch, broker, topic) = scene("poison");
    let client = &mut broker.connect();
    commit(client, &topic, 0, 2);
    for _ in 0..3 {
        beat(client, &topic, 0);
        assert_eq!(committed(client, &topic, 0), 2);
        beat(client, &topic, -1);
    }
    let stuck = json(&broker, &["poison"]);
    assert_eq!((&stuck[0]["group"], &stuck[0]["offset"]), (&GROUP.into(), &2.into()));
    assert_eq!(stuck[0]["generations"], 3);
    assert!(get(&broker, "/metrics").contains("klamm_group_stuck_partitions 1\n"));

    let skip = ["skip", GROUP, topic.as_str(), "0"];
    let skipped = json(&broker, &skip);
    let dead = of_role("dlq", &topic);
    assert_eq!(skipped["dead_letter_topic"], dead.as_str());
    assert_eq!((&skipped["offset"], &skipped["moved"]), (&2.into(), &true.into()));
    assert_eq!(committed(client, &topic, 0), 3);
    assert_eq!(json(&broker, &["poison"]).as_array().map(Vec::len), Some(0));
    let mut reader = Reader::new(&dead, 0);
    let seen = reader.until(client, 1);
    assert_eq!(seen[0].value, "v2");
    for (name, value) in [("reason", "admin"), ("offset", "2"), ("group", GROUP)] {
        assert_eq!(seen[0].header(&format!("__dlq.errors.{name}")), Some(value));
    }

    commit(client, &topic, 0, 2);
    json(&broker, &skip);
    commit(client, &topic, 0, 5);
    assert_eq!(dlq(&broker, &skip).0, 1, "there is nothing to skip at the end");
    assert_eq!(dlq(&broker, &["skip", "nobody", topic.as_str(), "0"]).0, 3);
    assert_eq!(dlq(&broker, &["skip", GROUP, "nothing", "0"]).0, 3);
}

#[test]
fn a_group_with_members_moves_on_when_they_have_left_even_after_a_restart() {
    let (scratch, broker, topic) = scene("patient");
    let client = &mut broker.connect();
    commit(client, &topic, 0, 1);
    beat(client, &topic, 0);
    let skipped = json(&broker, &["skip", GROUP, topic.as_str(), "0"]);
    assert_eq!(skipped["moved"], false);
    assert_eq!(committed(client, &topic, 0), 1);
    drop(broker);
    let broker = start(scratch.path());
    let client = &mut broker.connect();
    // Members of the consumer protocol outlive the broker.
    let leave = (0..LOOKS).any(|_| {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str(GROUP)))
            .with_member_id(StrBytes::from_static_str("member-of-the-group-1"))
            .with_member_epoch(-1);
        client.call(1, &request).error_code == 0
    });
    assert!(leave, "the member leaves");
    let moved = (0..LOOKS).any(|_| committed(client, &topic, 0) == 2);
    assert!(moved, "the group moves on");
}
