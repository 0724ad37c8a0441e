//! Groups of the consumer protocol (KIP-848): ConsumerGroupHeartbeat, ConsumerGroupDescribe, and
//! commits by member epoch. Groups have one member at a time, since a conversation waits for each
//! answer; a target that a broker makes later is waited for.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest as Heartbeat,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
};
use uuid::Uuid;

use super::{Cases, Draw, id_of, text, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("consumer groups: nothing there", nothing_there),
    ("consumer groups: malformed heartbeats", malformed),
    ("consumer groups: a lone member", a_lone_member),
    ("consumer groups: epochs", epochs),
    ("consumer groups: a change of topics", a_change_of_topics),
    ("consumer groups: static members", static_members),
    ("consumer groups: patterns", patterns),
    ("consumer groups: commits of an older epoch", commits),
];

const NEWEST: i16 = 1;
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

/// Asks for the group's coordinator until it answers.
fn find(talk: &mut Talk, group: &str) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    talk.ask_until(4, &find, |answer| answer.coordinators[0].error_code == 0);
    let describe = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    talk.ask_until(5, &describe, |answer| answer.groups[0].error_code == 0);
}

fn beat(group: &str, member: &str, epoch: i32) -> Heartbeat {
    Heartbeat::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

/// All that a member says when it joins.
fn joining(group: &str, member: &str, topics: &[&str]) -> Heartbeat {
    beat(group, member, JOIN)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic_name(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

/// Creates a topic, and waits until coordinators of groups know it too.
fn create(talk: &mut Talk, name: &str, partitions: i32) {
    super::create(talk, name, partitions, &[]);
    let group = format!("{name}-probe");
    find(talk, &group);
    let before = talk.steps.len();
    settle(talk, &joining(&group, "probe", &[name]), usize::try_from(partitions).unwrap());
    talk.ask(NEWEST, &beat(&group, "probe", LEAVE));
    talk.steps.truncate(before);
}

fn owning(heartbeat: Heartbeat, topic: Uuid, partitions: &[i32]) -> Heartbeat {
    let owned =
        TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.to_vec());
    heartbeat.with_topic_partitions(Some(vec![owned]))
}

fn describe(talk: &mut Talk, group: &str) {
    for version in 0..=NEWEST {
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![GroupId(text(group))])
            .with_include_authorized_operations(version == NEWEST);
        talk.ask(version, &request);
    }
}

/// Joins and beats until it is told that it holds so many partitions; its epoch then. Only the last
/// answer is noted: a target may be made at once or later.
fn settle(talk: &mut Talk, joining: &Heartbeat, partitions: usize) -> i32 {
    let held = |answer: &ConsumerGroupHeartbeatResponse| {
        let held = answer.assignment.as_ref()?;
        Some(held.topic_partitions.iter().map(|topic| topic.partitions.len()).sum::<usize>())
    };
    let mut heartbeat = joining.clone();
    for _ in 0..100_000 {
        let answer = talk.ask(NEWEST, &heartbeat).expect("an answer");
        if answer.error_code != 0 || held(&answer) == Some(partitions) {
            return answer.member_epoch;
        }
        talk.steps.pop();
        // Says all that it said when it joined, so that all that it has is told.
        heartbeat = heartbeat.with_member_epoch(answer.member_epoch);
    }
    panic!("it never holds {partitions} partitions");
}

fn nothing_there(talk: &mut Talk, draw: &mut Draw) {
    find(talk, "c-nothing");
    for version in 0..=NEWEST {
        for epoch in [1, LEAVE, LEAVE_FOR_NOW] {
            talk.ask(version, &beat("c-nothing", "nobody", epoch));
        }
    }
    describe(talk, "c-nothing");
    describe(talk, "");
    let group = draw.pick(&["c-classic-0", "c-classic-1"]);
    talk.ask(5, &ListGroupsRequest::default().with_types_filter(vec![text("consumer")]));
    describe(talk, group);
}

fn malformed(talk: &mut Talk, _: &mut Draw) {
    create(talk, "c-malformed", 2);
    find(talk, "c-malformed");
    let good = || joining("c-malformed", "m", &["c-malformed"]);
    let topic = id_of(talk, "c-malformed");
    for version in 0..=NEWEST {
        for bad in [
            good().with_group_id(GroupId(text(""))),
            good().with_member_epoch(-3),
            good().with_rebalance_timeout_ms(-1),
            good().with_rebalance_timeout_ms(0),
            good().with_topic_partitions(None),
            owning(good(), topic, &[0]),
            good().with_subscribed_topic_names(None),
            good().with_instance_id(Some(text(""))),
            good().with_rack_id(Some(text(""))),
            good().with_server_assignor(Some(text(""))),
            good().with_server_assignor(Some(text("sticky"))),
            beat("c-malformed", "", 1),
            beat("c-malformed", "", LEAVE),
            beat("c-malformed", "m", LEAVE_FOR_NOW),
            beat("c-malformed", "m", 1).with_server_assignor(Some(text("sticky"))),
            beat("c-malformed", "m", 1).with_instance_id(Some(text(""))),
        ] {
            talk.ask(version, &bad);
        }
    }
    talk.ask(NEWEST, &good().with_member_id(text("")));
    for pattern in ["(", "a)(b", "*", "a(?=b)"] {
        let by_pattern = good().with_subscribed_topic_names(None);
        talk.ask(NEWEST, &by_pattern.with_subscribed_topic_regex(Some(text(pattern))));
    }
    describe(talk, "c-malformed");
}

fn a_lone_member(talk: &mut Talk, draw: &mut Draw) {
    create(talk, "c-lone", 3);
    let topic = id_of(talk, "c-lone");
    for assignor in [None, Some("uniform"), Some("range")] {
        let group = format!("c-lone-{}", assignor.unwrap_or("any"));
        find(talk, &group);
        let join = joining(&group, "m", &["c-lone"]).with_server_assignor(assignor.map(text));
        let epoch = settle(talk, &join, 3);
        describe(talk, &group);
        let version = draw.pick(&[0, NEWEST]);
        talk.ask(version, &owning(beat(&group, "m", epoch), topic, &[0, 1, 2]));
        talk.ask(version, &beat(&group, "m", epoch));
        describe(talk, &group);
        talk.ask(4, &ListGroupsRequest::default().with_states_filter(vec![text("Stable")]));
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(&group))]);
        talk.ask(2, &delete);
        talk.ask(version, &beat(&group, "m", LEAVE));
        describe(talk, &group);
        talk.ask(version, &beat(&group, "m", LEAVE));
        talk.ask(2, &delete);
        describe(talk, &group);
    }
}

fn epochs(talk: &mut Talk, _: &mut Draw) {
    create(talk, "c-epochs", 2);
    let topic = id_of(talk, "c-epochs");
    find(talk, "c-epochs");
    let epoch = settle(talk, &joining("c-epochs", "m", &["c-epochs"]), 2);
    for wrong in [epoch + 1, epoch - 1, 1_000] {
        talk.ask(NEWEST, &beat("c-epochs", "m", wrong.max(1)));
    }
    // The answer that brought this epoch may have been lost.
    talk.ask(NEWEST, &owning(beat("c-epochs", "m", (epoch - 1).max(1)), topic, &[0, 1]));
    talk.ask(NEWEST, &owning(beat("c-epochs", "m", (epoch - 1).max(1)), topic, &[0, 1, 7]));
    talk.ask(NEWEST, &beat("c-epochs", "other", epoch));
    talk.ask(NEWEST, &beat("c-epochs", "m", epoch).with_instance_id(Some(text("i"))));
    // One that is in may join again.
    talk.ask(NEWEST, &joining("c-epochs", "m", &["c-epochs"]));
    describe(talk, "c-epochs");
}

fn a_change_of_topics(talk: &mut Talk, _: &mut Draw) {
    create(talk, "c-first", 2);
    create(talk, "c-second", 1);
    find(talk, "c-change");
    settle(talk, &joining("c-change", "m", &["c-first"]), 2);
    let both = joining("c-change", "m", &["c-second", "c-first", "c-absent"]);
    settle(talk, &both, 3);
    describe(talk, "c-change");
    settle(talk, &joining("c-change", "m", &["c-second"]), 1);
    describe(talk, "c-change");
}

fn static_members(talk: &mut Talk, _: &mut Draw) {
    create(talk, "c-static", 2);
    find(talk, "c-static");
    let instance = |member: &str| {
        joining("c-static", member, &["c-static"]).with_instance_id(Some(text("i1")))
    };
    let epoch = settle(talk, &instance("one"), 2);
    talk.ask(NEWEST, &instance("two"));
    talk.ask(NEWEST, &beat("c-static", "two", epoch).with_instance_id(Some(text("i1"))));
    talk.ask(NEWEST, &beat("c-static", "one", epoch).with_instance_id(Some(text("i2"))));
    talk.ask(NEWEST, &beat("c-static", "one", LEAVE_FOR_NOW).with_instance_id(Some(text("i1"))));
    describe(talk, "c-static");
    talk.ask(NEWEST, &instance("two"));
    describe(talk, "c-static");
    talk.ask(NEWEST, &beat("c-static", "one", epoch).with_instance_id(Some(text("i1"))));
    talk.ask(NEWEST, &beat("c-static", "two", LEAVE).with_instance_id(Some(text("i1"))));
    describe(talk, "c-static");
}

fn patterns(talk: &mut Talk, _: &mut Draw) {
    create(talk, "c-pattern-a", 2);
    create(talk, "c-pattern-b", 1);
    find(talk, "c-pattern");
    let matching = |pattern: &str| {
        let join = joining("c-pattern", "m", &[]).with_subscribed_topic_names(None);
        join.with_subscribed_topic_regex(Some(text(pattern)))
    };
    settle(talk, &matching("c-pattern-.*"), 3);
    describe(talk, "c-pattern");
}

fn commits(talk: &mut Talk, draw: &mut Draw) {
    create(talk, "c-commits", 2);
    create(talk, "c-commits-too", 1);
    find(talk, "c-commits");
    let first = settle(talk, &joining("c-commits", "m", &["c-commits"]), 2);
    let both = joining("c-commits", "m", &["c-commits", "c-commits-too"]);
    let second = settle(talk, &both, 3);
    let commit = |epoch: i32, topics: &[(&str, &[i32])]| {
        let partition = |n: &i32| {
            let partition = OffsetCommitRequestPartition::default();
            partition.with_partition_index(*n).with_committed_offset(7)
        };
        let topic = |(name, partitions): &(&str, &[i32])| {
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("c-commits")))
            .with_member_id(text("m"))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(topics.iter().map(topic).collect())
    };
    let old: (&str, &[i32]) = ("c-commits", &[0]);
    let new: (&str, &[i32]) = ("c-commits-too", &[0]);
    let absent: (&str, &[i32]) = ("c-commits", &[0, 9]);
    for epoch in [first, first - 1, second, second + 1] {
        for topics in [&[old][..], &[new], &[old, new], &[absent], &[("c-absent", &[0])]] {
            talk.ask(9, &commit(epoch, topics));
        }
    }
    talk.ask(draw.pick(&[2, 6, 8]), &commit(second, &[old]));
    talk.ask(9, &commit(second, &[old]).with_member_id(text("other")));
    talk.ask(9, &commit(-1, &[old]).with_member_id(text("")));
}
