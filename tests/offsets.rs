//! Committed offsets over the wire: what survives a broker's sudden end, and what is refused. The
//! tests that do not kill the broker can ask another (`ORACLE=HOST:PORT`).

mod support;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use klamm::base::fault::Code;
use support::broker::{Asked, Broker};
use support::client::Client;
use support::topics::{create, name};

/// How often a question is asked again while the coordinator begins its work.
const ASKS: usize = 10_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A group's id, which no other run of the tests uses on the same broker.
fn group(stem: &str) -> GroupId {
    GroupId(text(&format!("{stem}-{}", std::process::id())))
}

/// Waits until somebody coordinates the group.
fn find_coordinator(client: &mut Client, group: &GroupId) {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]);
    let found = (0..ASKS).any(|_| client.call(4, &request).coordinators[0].error_code == 0);
    let ready = found && (0..ASKS).any(|_| try_fetch(client, group).is_ok());
    assert!(ready, "{group:?} has no coordinator");
}

struct Offset<'a> {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: &'a str,
}

const fn at(partition: i32, offset: i64) -> Offset<'static> {
    Offset { partition, offset, leader_epoch: -1, metadata: "" }
}

fn commit_request(
    group: &GroupId,
    topic: &TopicName,
    offsets: &[Offset<'_>],
) -> OffsetCommitRequest {
    let partition = |offset: &Offset<'_>| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_committed_metadata(Some(text(offset.metadata)))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(offsets.iter().map(partition).collect());
    OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// Code by partition.
fn codes(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> Vec<(i32, i16)> {
    let response = client.call(version, request);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes: Vec<_> = partitions.map(|p| (p.partition_index, p.error_code)).collect();
    codes.sort_unstable();
    codes
}

fn commit(client: &mut Client, group: &GroupId, topic: &TopicName, offsets: &[Offset<'_>]) {
    let codes = codes(client, 9, &commit_request(group, topic, offsets));
    assert!(codes.iter().all(|(_, code)| *code == 0), "{codes:?}");
}

/// Topic, partition, offset, leader epoch, metadata.
type Row = (TopicName, i32, i64, i32, String);

fn try_fetch(client: &mut Client, group: &GroupId) -> Result<Vec<Row>, i16> {
    let one = OffsetFetchRequestGroup::default().with_group_id(group.clone()).with_topics(None);
    let response = client.call(8, &OffsetFetchRequest::default().with_groups(vec![one]));
    let found = &response.groups[0];
    if found.error_code != 0 {
        return Err(found.error_code);
    }
    let mut rows: Vec<Row> = Vec::new();
    for topic in &found.topics {
        rows.extend(topic.partitions.iter().map(|p| {
            let metadata = p.metadata.as_ref().expect("never null").to_string();
            let name = topic.name.clone();
            (name, p.partition_index, p.committed_offset, p.committed_leader_epoch, metadata)
        }));
    }
    rows.sort_unstable();
    Ok(rows)
}

/// Every offset of a group, once its coordinator has read its log.
fn fetch(client: &mut Client, group: &GroupId) -> Vec<Row> {
    let loading = Code::CoordinatorLoadInProgress.code();
    let found = (0..ASKS).map(|_| try_fetch(client, group)).find(|found| *found != Err(loading));
    found.expect("the coordinator loads").expect("offsets")
}

/// Partition and offset of a group's offsets in one topic.
fn offsets(client: &mut Client, group: &GroupId) -> Vec<(i32, i64)> {
    fetch(client, group).into_iter().map(|row| (row.1, row.2)).collect()
}

fn delete_group(client: &mut Client, group: &GroupId) -> i16 {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]);
    client.call(2, &request).results[0].error_code
}

#[test]
fn committed_offsets_survive_kills_and_stops() {
    let scratch = tempfile::tempdir().unwrap();
    let (topic, simple) = (name("orders"), group("simple"));
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    create(&mut client, &topic, 3);
    find_coordinator(&mut client, &simple);
    let whole = Offset { partition: 1, offset: 42, leader_epoch: 7, metadata: "from ü" };
    commit(&mut client, &simple, &topic, &[whole, at(2, 5)]);
    commit(&mut client, &simple, &topic, &[at(2, 4)]);
    let expected = vec![
        (topic.clone(), 1, 42, 7, "from ü".to_owned()),
        (topic.clone(), 2, 4, -1, String::new()),
    ];
    assert_eq!(fetch(&mut client, &simple), expected);
    drop(broker);

    let broker = Broker::start(scratch.path());
    assert_eq!(fetch(&mut broker.connect(), &simple), expected, "after a kill");
    assert!(broker.stop().success());

    let broker = Broker::start(scratch.path());
    assert_eq!(fetch(&mut broker.connect(), &simple), expected, "after a stop");
}

#[test]
fn what_was_deleted_stays_deleted() {
    let scratch = tempfile::tempdir().unwrap();
    let (topic, other) = (name("orders"), name("other"));
    let (kept, gone) = (group("kept"), group("gone"));
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    create(&mut client, &topic, 3);
    create(&mut client, &other, 1);
    for group in [&kept, &gone] {
        find_coordinator(&mut client, group);
        commit(&mut client, group, &topic, &[at(0, 1), at(1, 2)]);
        commit(&mut client, group, &other, &[at(0, 9)]);
    }
    assert_eq!(delete_group(&mut client, &gone), 0);
    assert_eq!(delete_group(&mut client, &gone), Code::GroupIdNotFound.code());
    assert_eq!(delete_offsets(&mut client, &kept, &topic, &[1]), (0, vec![0]));
    let deleted = DeleteTopicState::default().with_name(Some(other.clone()));
    let request = DeleteTopicsRequest::default().with_topics(vec![deleted]);
    assert_eq!(client.call(6, &request).responses[0].error_code, 0);
    create(&mut client, &other, 1);
    let left = [(0, 1)];
    assert_eq!(offsets(&mut client, &kept), left);
    drop(broker);

    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    assert_eq!(offsets(&mut client, &kept), left);
    assert_eq!(offsets(&mut client, &gone), []);
    assert_eq!(delete_group(&mut client, &gone), Code::GroupIdNotFound.code());
}

fn delete_offsets(
    client: &mut Client,
    group: &GroupId,
    topic: &TopicName,
    partitions: &[i32],
) -> (i16, Vec<i16>) {
    let one = |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(partitions.iter().map(one).collect());
    let request =
        OffsetDeleteRequest::default().with_group_id(group.clone()).with_topics(vec![topic]);
    let response = client.call(0, &request);
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
    (response.error_code, codes.collect())
}

#[test]
fn refusals_of_a_commit_have_kafkas_codes() {
    let asked = Asked::broker();
    let mut client = asked.connect();
    let (topic, simple) = (name("refusing"), group("refusing"));
    create(&mut client, &topic, 2);
    find_coordinator(&mut client, &simple);

    let as_member = |version: i16| {
        let request = commit_request(&simple, &topic, &[at(0, 1)]);
        let request = request.with_generation_id_or_member_epoch(3).with_member_id(text("m"));
        (version, request)
    };
    for (version, code) in [(8, Code::IllegalGeneration), (9, Code::GroupIdNotFound)] {
        let (version, request) = as_member(version);
        assert_eq!(codes(&mut client, version, &request), [(0, code.code())], "v{version}");
    }

    let long = "x".repeat(4097);
    let too_long = Offset { metadata: &long, ..at(1, 1) };
    let request = commit_request(&simple, &topic, &[at(0, 1), too_long, at(2, 1)]);
    let expected = [
        (0, 0),
        (1, Code::OffsetMetadataTooLarge.code()),
        (2, Code::UnknownTopicOrPartition.code()),
    ];
    assert_eq!(codes(&mut client, 9, &request), expected);
    assert_eq!(offsets(&mut client, &simple), [(0, 1)]);

    let (version, request) = as_member(9);
    let unknown = Code::UnknownMemberId.code();
    assert_eq!(codes(&mut client, version, &request), [(0, unknown)], "the group is there now");
    let nowhere = commit_request(&simple, &name("nowhere"), &[at(0, 1)]);
    assert_eq!(codes(&mut client, 9, &nowhere), [(0, Code::UnknownTopicOrPartition.code())]);
}

#[test]
fn refusals_of_a_deletion_have_kafkas_codes() {
    let asked = Asked::broker();
    let mut client = asked.connect();
    let (topic, simple) = (name("deleting"), group("deleting"));
    create(&mut client, &topic, 2);
    find_coordinator(&mut client, &simple);
    let none = Code::GroupIdNotFound.code();
    assert_eq!(delete_group(&mut client, &simple), none);
    assert_eq!(delete_offsets(&mut client, &simple, &topic, &[0]), (none, vec![]));
    commit(&mut client, &simple, &topic, &[at(0, 1), at(1, 1)]);
    let unknown = Code::UnknownTopicOrPartition.code();
    let (code, mut codes) = delete_offsets(&mut client, &simple, &topic, &[0, 7]);
    codes.sort_unstable();
    assert_eq!((code, codes), (0, vec![0, unknown]));
    assert_eq!(offsets(&mut client, &simple), [(1, 1)]);
    assert_eq!(delete_group(&mut client, &simple), 0);
    assert_eq!(offsets(&mut client, &simple), []);
}

/// Kills the broker among commits that nobody has waited for. What was answered is there, and
/// nothing that was not sent.
#[test]
fn committed_offsets_never_go_back_over_kills() {
    const ROUNDS: i64 = 8;
    const AHEAD: i64 = 200;
    let scratch = tempfile::tempdir().unwrap();
    let (topic, simple) = (name("orders"), group("killed"));
    let mut broker = Broker::start(scratch.path());
    create(&mut broker.connect(), &topic, 1);
    find_coordinator(&mut broker.connect(), &simple);
    let mut told = -1;
    for round in 0..ROUNDS {
        let mut client = broker.connect();
        for n in 0..AHEAD {
            let offset = round * AHEAD + n;
            client.send(9, &commit_request(&simple, &topic, &[at(0, offset)]));
        }
        for n in 0..AHEAD / 2 {
            let (_, response) = client.receive::<OffsetCommitRequest>(9);
            assert_eq!(response.topics[0].partitions[0].error_code, 0);
            told = round * AHEAD + n;
        }
        drop(broker);
        broker = Broker::start(scratch.path());
        let kept = offsets(&mut broker.connect(), &simple);
        let [(0, offset)] = kept[..] else { panic!("{kept:?}") };
        assert!((told..(round + 1) * AHEAD).contains(&offset), "{offset} after {told} was told");
    }
}
