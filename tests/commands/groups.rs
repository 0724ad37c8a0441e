//! `klamm group` against groups of both protocols, with members that these tests play themselves.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use klamm::wire::compression::Codec;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::topics::{self, name};
use crate::{Shell, row};

/// How often a member asks for its partitions.
const HEARTBEATS: usize = 10_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic of three partitions with ten records in the first.
fn topic(shell: &Shell, stem: &str) -> TopicName {
    let topic = name(stem);
    let mut client = shell.broker.connect();
    topics::create(&mut client, &topic, 3);
    let batch = topics::batch(Codec::None, &[1000; 10]);
    assert_eq!(topics::produce(&mut client, &topic, 0, batch).0, 0);
    topic
}

/// Looking for a group makes the offsets topic if it is the first of all, and waits for it.
fn await_coordinator(shell: &Shell, group: &str) {
    assert_eq!(shell.refused(&["group", "show", group]).0, 3);
}

/// The only member of a classic group, which assigns itself partition 1.
fn join_classic(client: &mut Client, group: &str, topic: &TopicName) -> StrBytes {
    let mut subscription = BytesMut::new();
    subscription.put_i16(0);
    subscription.put_i32(1);
    subscription.put_i16(i16::try_from(topic.len()).unwrap());
    subscription.put_slice(topic.as_bytes());
    let mut assignment = subscription.clone();
    subscription.put_i32(-1);
    assignment.put_i32(1);
    assignment.put_i32(1);
    assignment.put_i32(-1);

    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(subscription.freeze());
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let joined = client.call(2, &join);
    assert_eq!(joined.error_code, 0);
    let own = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(assignment.freeze());
    let sync = SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![own]);
    assert_eq!(client.call(2, &sync).error_code, 0);
    joined.member_id
}

fn leave_classic(client: &mut Client, group: &str, member: &StrBytes) {
    let identity = MemberIdentity::default().with_member_id(member.clone());
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_members(vec![identity]);
    assert_eq!(client.call(3, &request).error_code, 0);
}

/// The only member of a group of the consumer protocol, after it has taken what it was given.
fn join_consumer(client: &mut Client, group: &str, topic: &TopicName) {
    let member = "a-member-of-a-test-000";
    let heartbeat = |epoch: i32| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text(member))
            .with_member_epoch(epoch)
    };
    let join = heartbeat(0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic.clone()]))
        .with_topic_partitions(Some(Vec::new()));
    let mut epoch = 0;
    let mut owned: Option<Vec<TopicPartitions>> = None;
    for _ in 0..HEARTBEATS {
        let request = match (epoch, &owned) {
            (0, _) => join.clone(),
            (_, owned) => heartbeat(epoch).with_topic_partitions(owned.clone()),
        };
        let answer = client.call(1, &request);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        epoch = answer.member_epoch;
        match answer.assignment.filter(|assignment| !assignment.topic_partitions.is_empty()) {
            Some(assignment) => {
                let own = assignment.topic_partitions.into_iter().map(|given| {
                    TopicPartitions::default()
                        .with_topic_id(given.topic_id)
                        .with_partitions(given.partitions)
                });
                owned = Some(own.collect());
            }
            None if owned.is_some() => return,
            None => {}
        }
    }
    panic!("no partitions were assigned");
}

fn offset(offsets: &Value, partition: i64) -> &Value {
    let offsets = offsets.as_array().unwrap();
    offsets.iter().find(|offset| offset["partition"] == partition).unwrap()
}

#[test]
fn offsets_are_planned_set_shown_and_deleted() {
    let shell = Shell::start();
    let topic = topic(&shell, "to-plan");
    let group = &*name("planned").0;
    let nobody = shell.refused(&["group", "show", group]);
    assert_eq!(nobody, (3, format!("klamm: there is no group '{group}'\n")));
    let reset = |words: &[&str]| shell.told(&[&["group", "reset-offsets", group], words].concat());
    let plan = reset(&["--topic", &topic.0, "--to-latest"]);
    assert_eq!(plan.lines().nth(1).unwrap().split_whitespace().last(), Some("10"));
    assert!(plan.ends_with("\nnothing was changed: --execute does it\n"), "{plan}");
    assert_eq!(shell.refused(&["group", "offsets", group]).0, 3, "the plan was not carried out");

    let first = format!("{}:0,2", &*topic.0);
    reset(&["--topic", &first, "--to-offset", "4", "--execute"]);
    let offsets = shell.json(&["group", "offsets", group]);
    let expected = json!({
        "topic": *topic.0, "partition": 0, "committed": 4, "end": 10, "lag": 6, "member": null,
    });
    assert_eq!(offset(&offsets, 0), &expected);
    assert_eq!(offset(&offsets, 2)["committed"], 0, "no offset is beyond the end");
    let table = shell.told(&["group", "show", group]);
    assert_eq!(row(&table, "state"), ["state", "Empty"]);
    assert_eq!(row(&table, "lag"), ["lag", "6"]);
    assert_eq!(row(&table, &topic.0), [&*topic.0, "0", "4", "10", "6", "-"]);

    reset(&["--all-topics", "--shift-by", "-3", "--execute"]);
    let moved = shell.json(&["group", "offsets", group]);
    assert_eq!(offset(&moved, 0)["committed"], 1);
    reset(&["--all-topics", "--to-datetime", "1970-01-01T00:00:02", "--execute"]);
    let moved = shell.json(&["group", "offsets", group]);
    assert_eq!(offset(&moved, 0)["committed"], 10, "no record is that young");

    shell.told(&["group", "delete-offsets", group, "--topic", &first[..first.len() - 2]]);
    let left = shell.json(&["group", "offsets", group]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(shell.refused(&["group", "delete-offsets", group, "--topic", "absent"]).0, 3);

    assert_eq!(shell.told(&["group", "delete", group]), format!("deleted '{group}'\n"));
    assert_eq!(shell.refused(&["group", "delete", group]).0, 3);
}

#[test]
fn a_classic_group_shows_its_member_and_is_not_touched_while_it_has_one() {
    let shell = Shell::start();
    let topic = topic(&shell, "to-join");
    let group = &*name("classic").0;
    await_coordinator(&shell, group);
    let mut client = shell.broker.connect();
    let member = join_classic(&mut client, group, &topic);

    let listed = shell.told(&["group", "list", "--type", "classic", "--state", "stable"]);
    assert_eq!(row(&listed, group)[..4], [group, "classic", "Stable", "consumer"]);
    let shown = shell.json(&["group", "show", group]);
    assert_eq!((&shown["state"], &shown["protocol"]), (&json!("Stable"), &json!("range")));
    let only = &shown["members"][0];
    assert_eq!(only["member"], *member);
    assert_eq!(only["assignment"], json!({ &*topic.0: [1] }));
    assert_eq!(offset(&shown["offsets"], 1)["member"], *member);

    let reset = ["group", "reset-offsets", group, "--topic", &topic.0, "--to-earliest"];
    shell.told(&reset);
    let (code, complaint) = shell.refused(&[&reset[..], &["--execute"]].concat());
    assert!(code == 1 && complaint.contains("has members"), "{complaint}");
    let (code, complaint) = shell.refused(&["group", "delete", group]);
    assert!(code == 1 && complaint.contains("has members"), "{complaint}");

    leave_classic(&mut client, group, &member);
    shell.told(&["group", "delete", group]);
}

#[test]
fn a_group_of_the_consumer_protocol_shows_its_epochs_and_partitions() {
    let shell = Shell::start();
    let topic = topic(&shell, "to-reconcile");
    let group = &*name("consumer").0;
    await_coordinator(&shell, group);
    let mut client = shell.broker.connect();
    join_consumer(&mut client, group, &topic);

    let listed = shell.json(&["group", "list", "--type", "consumer"]);
    let mut own = listed.as_array().unwrap().iter().filter(|listed| listed["group"] == group);
    assert_eq!(own.next().unwrap()["state"], "Stable");
    let shown = shell.json(&["group", "show", group]);
    assert_eq!((&shown["type"], &shown["protocol"]), (&json!("consumer"), &json!("uniform")));
    assert_eq!(shown["members"][0]["assignment"], json!({ &*topic.0: [0, 1, 2] }));
    assert_eq!(shown["members"][0]["epoch"], shown["epoch"]);
    assert_eq!(offset(&shown["offsets"], 0)["end"], 10);
    let (code, complaint) = shell.refused(&["group", "delete", group]);
    assert!(code == 1 && complaint.contains("has members"), "{complaint}");
}
