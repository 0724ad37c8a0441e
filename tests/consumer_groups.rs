//! Groups of the consumer protocol (KIP-848) over a real socket. What Kafka 4.3.1 answers too can
//! be asked of it: `ORACLE=HOST:PORT cargo test --test consumer_groups`, of a broker that makes
//! targets at once (`group.consumer.assignment.interval.ms=0`).

mod support;

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::broker::{Asked, Broker};
use support::client::Client;
use support::topics;

const NONE: i16 = 0;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_INSTANCE_ID: i16 = 82;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

/// How often a step is tried that depends on what the broker does aside.
const TRIES: usize = 10_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A group of this run alone, whose coordinator answers.
fn group(client: &mut Client, stem: &str) -> GroupId {
    let name = topics::name(stem).0;
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![name.clone()]);
    let mut found = || client.call(4, &find).coordinators[0].error_code;
    assert!((0..TRIES).any(|_| found() == NONE), "no coordinator");
    GroupId(name)
}

fn asked() -> Asked {
    if std::env::var("ORACLE").is_ok() {
        return Asked::broker();
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let settings = ["group.consumer.assignment.interval.ms=0"];
    Asked::Own(Broker::start_with(scratch.path(), &settings), scratch)
}

/// A member as a client library keeps it.
struct Member {
    group: GroupId,
    id: StrBytes,
    instance: Option<StrBytes>,
    epoch: i32,
    topics: Option<Vec<TopicName>>,
    regex: Option<StrBytes>,
    owned: Vec<TopicPartitions>,
}

impl Member {
    fn new(group: &GroupId, id: &str, topic: &TopicName) -> Self {
        Self {
            group: group.clone(),
            id: text(id),
            instance: None,
            epoch: 0,
            topics: Some(vec![topic.clone()]),
            regex: None,
            owned: Vec::new(),
        }
    }

    fn bare(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_member_id(self.id.clone())
            .with_instance_id(self.instance.clone())
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(-1)
    }

    fn join_request(&self) -> ConsumerGroupHeartbeatRequest {
        self.bare()
            .with_member_epoch(0)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(self.topics.clone())
            .with_subscribed_topic_regex(self.regex.clone())
            .with_topic_partitions(Some(Vec::new()))
    }

    fn join(&mut self, client: &mut Client) -> i16 {
        self.owned = Vec::new();
        let request = self.join_request();
        self.send(client, &request).error_code
    }

    /// Reports what it has, and does as it is told.
    fn beat(&mut self, client: &mut Client) -> i16 {
        let request = self.bare().with_topic_partitions(Some(self.owned.clone()));
        self.send(client, &request).error_code
    }

    fn leave(&mut self, client: &mut Client, epoch: i32) -> i16 {
        client.call(1, &self.bare().with_member_epoch(epoch)).error_code
    }

    fn send(
        &mut self,
        client: &mut Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let response = client.call(1, request);
        if response.error_code == NONE {
            self.epoch = response.member_epoch;
            if let Some(assignment) = &response.assignment {
                let topics = assignment.topic_partitions.iter().map(|topic| {
                    TopicPartitions::default()
                        .with_topic_id(topic.topic_id)
                        .with_partitions(topic.partitions.clone())
                });
                self.owned = topics.collect();
            }
        }
        response
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.owned.iter().flat_map(|topic| topic.partitions.iter().copied()).collect()
    }

    /// Commits an offset of a partition, in the version that knows member epochs.
    fn commit(&self, client: &mut Client, topic: &TopicName, partition: i32, epoch: i32) -> i16 {
        let at = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(7);
        let of =
            OffsetCommitRequestTopic::default().with_name(topic.clone()).with_partitions(vec![at]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_member_id(self.id.clone())
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![of]);
        client.call(9, &request).topics[0].partitions[0].error_code
    }
}

fn describe(client: &mut Client, group: &GroupId) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group.clone()]);
    client.call(1, &request).groups.remove(0)
}

/// Everybody reports in turn until the group is stable; no partition is ever read by two.
fn settle(client: &mut Client, members: &mut [&mut Member]) {
    for _ in 0..TRIES {
        for member in members.iter_mut() {
            assert_eq!(member.beat(client), NONE);
        }
        let mut readers = BTreeSet::new();
        for partition in members.iter().flat_map(|member| member.partitions()) {
            assert!(readers.insert(partition), "{partition} is read by two");
        }
        if &*describe(client, &members[0].group).group_state == "Stable" {
            return;
        }
    }
    panic!("the group does not settle");
}

#[test]
fn partitions_move_to_a_new_member_when_they_are_let_go() {
    let broker = asked();
    let mut client = broker.connect();
    let topic = topics::name("moves");
    topics::create(&mut client, &topic, 4);
    let group = group(&mut client, "moves");
    let mut one = Member::new(&group, "one", &topic);
    assert_eq!(one.join(&mut client), NONE);
    assert_eq!((one.epoch, one.partitions().len()), (2, 4));
    let mut two = Member::new(&group, "two", &topic);
    assert_eq!(two.join(&mut client), NONE);
    assert_eq!((two.epoch, two.partitions().len()), (3, 0));

    let before = one.partitions();
    assert_eq!(one.beat(&mut client), NONE);
    assert_eq!((one.epoch, one.partitions().len()), (2, 2), "it is told to let go");
    assert_eq!(two.beat(&mut client), NONE);
    assert_eq!(two.partitions().len(), 0, "the other has not said that it did");
    settle(&mut client, &mut [&mut one, &mut two]);
    assert_eq!(&one.partitions() | &two.partitions(), before);

    let described = describe(&mut client, &group);
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 3));
    assert_eq!(&*described.assignor_name, "uniform");
    for member in &described.members {
        assert_eq!((member.member_epoch, member.member_type), (3, 1));
        assert_eq!(member.assignment, member.target_assignment);
        assert_eq!(member.assignment.topic_partitions[0].topic_name, topic);
    }

    let held = *one.partitions().first().unwrap();
    let not_held = *two.partitions().first().unwrap();
    assert_eq!(one.commit(&mut client, &topic, held, 3), NONE);
    assert_eq!(one.commit(&mut client, &topic, held, 2), NONE, "it has had it since");
    assert_eq!(one.commit(&mut client, &topic, not_held, 2), STALE_MEMBER_EPOCH);
    assert_eq!(one.commit(&mut client, &topic, held, 4), STALE_MEMBER_EPOCH);

    assert_eq!(two.leave(&mut client, -1), NONE);
    assert_eq!(two.commit(&mut client, &topic, held, 3), UNKNOWN_MEMBER_ID);
    settle(&mut client, &mut [&mut one]);
    assert_eq!(one.partitions(), before);
}

#[test]
fn what_is_refused_has_its_code() {
    let broker = asked();
    let mut client = broker.connect();
    let topic = topics::name("refused");
    topics::create(&mut client, &topic, 1);
    let group = group(&mut client, "refused");
    let stranger = Member { epoch: 5, ..Member::new(&group, "stranger", &topic) };
    assert_eq!(client.call(1, &stranger.bare()).error_code, GROUP_ID_NOT_FOUND);
    assert_eq!(describe(&mut client, &group).error_code, GROUP_ID_NOT_FOUND);

    let mut one = Member::new(&group, "one", &topic);
    let join = one.join_request();
    for bad in [
        join.clone().with_member_id(text("")),
        join.clone().with_instance_id(Some(text(""))),
        join.clone().with_rack_id(Some(text(""))),
        join.clone().with_rebalance_timeout_ms(-1),
        join.clone().with_topic_partitions(None),
        join.clone().with_subscribed_topic_names(None),
        join.clone().with_member_epoch(-2),
        join.clone().with_member_epoch(-3),
    ] {
        assert_eq!(client.call(1, &bad).error_code, INVALID_REQUEST, "{bad:?}");
    }
    let assignor = join.clone().with_server_assignor(Some(text("sticky")));
    assert_eq!(client.call(1, &assignor).error_code, UNSUPPORTED_ASSIGNOR);
    let regex = join.clone().with_subscribed_topic_regex(Some(text("(")));
    assert_eq!(client.call(1, &regex).error_code, INVALID_REGULAR_EXPRESSION);

    assert_eq!(one.join(&mut client), NONE);
    assert_eq!(client.call(1, &stranger.bare()).error_code, UNKNOWN_MEMBER_ID);
    for epoch in [one.epoch - 1, one.epoch + 1] {
        let fenced = one.bare().with_member_epoch(epoch);
        assert_eq!(client.call(1, &fenced).error_code, FENCED_MEMBER_EPOCH, "{epoch}");
    }
    let mut old = one.join_request().with_member_id(text(""));
    old.subscribed_topic_regex = None;
    let made = client.call(0, &old);
    assert_eq!(made.error_code, NONE);
    assert_eq!(made.member_id.unwrap().len(), 22, "version 0 leaves the id to the broker");
}

#[test]
fn a_static_member_may_come_back_under_another_id() {
    let broker = asked();
    let mut client = broker.connect();
    let topic = topics::name("static");
    topics::create(&mut client, &topic, 4);
    let group = group(&mut client, "static");
    let member =
        |id, instance| Member { instance: Some(text(instance)), ..Member::new(&group, id, &topic) };
    let (mut one, mut two) = (member("one", "i1"), member("two", "i2"));
    assert_eq!((one.join(&mut client), two.join(&mut client)), (NONE, NONE));
    settle(&mut client, &mut [&mut one, &mut two]);
    let had = one.partitions();
    let rejoin = one.join_request();
    assert_eq!(client.call(1, &rejoin).error_code, UNRELEASED_INSTANCE_ID, "its own id is no key");
    let mut again = member("again", "i1");
    assert_eq!(again.join(&mut client), UNRELEASED_INSTANCE_ID);
    assert_eq!(one.leave(&mut client, -2), NONE);
    assert_eq!(again.join(&mut client), NONE);
    assert_eq!((again.partitions(), again.epoch), (had, two.epoch), "without a rebalance");
    assert_eq!(one.beat(&mut client), FENCED_INSTANCE_ID);
}

#[test]
fn a_pattern_follows_the_topics_it_matches() {
    let broker = asked();
    let mut client = broker.connect();
    let topic = topics::name("pattern-a");
    topics::create(&mut client, &topic, 2);
    topics::create(&mut client, &topics::name("pattern-b"), 3);
    let group = group(&mut client, "pattern");
    let regex = format!("pattern-.-{}", std::process::id());
    let mut one = Member {
        topics: Some(Vec::new()),
        regex: Some(text(&regex)),
        ..Member::new(&group, "one", &topic)
    };
    assert_eq!(one.join(&mut client), NONE);
    let count = |one: &Member| one.owned.iter().map(|topic| topic.partitions.len()).sum::<usize>();
    // Kafka resolves patterns aside.
    assert!((0..TRIES).any(|_| one.beat(&mut client) == NONE && count(&one) == 5));
    assert_eq!(
        &*describe(&mut client, &group).members[0].subscribed_topic_regex.clone().unwrap(),
        regex
    );
}

#[test]
fn a_group_survives_a_restart() {
    if std::env::var("ORACLE").is_ok() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let settings = ["group.consumer.assignment.interval.ms=0"];
    let broker = Broker::start_with(scratch.path(), &settings);
    let mut client = broker.connect();
    let topic = topics::name("restart");
    topics::create(&mut client, &topic, 4);
    let group = group(&mut client, "restart");
    let (mut one, mut two) =
        (Member::new(&group, "one", &topic), Member::new(&group, "two", &topic));
    assert_eq!((one.join(&mut client), two.join(&mut client)), (NONE, NONE));
    assert_eq!(one.beat(&mut client), NONE);
    let before = describe(&mut client, &group);
    drop(broker);

    let broker = Broker::start_with(scratch.path(), &settings);
    let mut client = broker.connect();
    let loaded = |described: &DescribedGroup| described.error_code != COORDINATOR_LOAD_IN_PROGRESS;
    let after = (0..TRIES).map(|_| describe(&mut client, &group)).find(loaded);
    assert_eq!(after, Some(before));
    settle(&mut client, &mut [&mut one, &mut two]);
    assert_eq!((one.partitions().len(), two.partitions().len()), (2, 2));
}
