//! The APIs of committed offsets in every version, through their wire forms.

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};

use super::delete_groups::DeleteGroups;
use super::find_coordinator::FindCoordinator;
use super::offset_commit::OffsetCommit;
use super::offset_delete::OffsetDelete;
use super::offset_fetch::OffsetFetch;
use super::offsets::topic_name;
use crate::api::admin::delete_topics::DeleteTopics;
use crate::api::endpoint::Endpoint;
use crate::api::kit::Kit;
use crate::api::text;
use crate::base::fault::Code;
use crate::catalog::{Command, NewTopic};

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// A broker with a topic, whose groups have a coordinator.
fn kit() -> Kit {
    let mut kit = kit_without_coordinator();
    kit.ask::<FindCoordinator>(0, &FindCoordinatorRequest::default().with_key(text("g")));
    kit
}

fn kit_without_coordinator() -> Kit {
    let kit = Kit::with(&[("offsets.topic.num.partitions", "3")]);
    create_orders(&kit);
    kit
}

fn create_orders(kit: &Kit) {
    let orders = NewTopic::with_defaults("orders", kit.services.env.random_uuid());
    kit.run(Command::CreateTopic(orders)).expect("a fresh topic");
}

fn commit(version: i16, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(if version >= 6 { 4 } else { -1 })
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group_id("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// The one code of a commit.
fn commit_code(kit: &mut Kit, version: i16, request: &OffsetCommitRequest) -> i16 {
    let response = kit.ask::<OffsetCommit>(version, request);
    let [topic] = &response.topics[..] else { panic!("{response:?}") };
    assert_eq!(&**topic.name, "orders");
    let [partition] = &topic.partitions[..] else { panic!("{response:?}") };
    partition.error_code
}

fn fetch_request(version: i16, group: &str, partitions: Option<&[i32]>) -> OffsetFetchRequest {
    if version < 8 {
        let topic = |of: &[i32]| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name("orders"))
                .with_partition_indexes(of.to_vec())
        };
        return OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(partitions.map(|of| vec![topic(of)]));
    }
    let topic = |of: &[i32]| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name("orders"))
            .with_partition_indexes(of.to_vec())
    };
    let one = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(partitions.map(|of| vec![topic(of)]));
    OffsetFetchRequest::default().with_groups(vec![one])
}

/// The group's code, and of each partition its number, offset, leader epoch, metadata, code.
type Found = (i16, Vec<(i32, i64, i32, String, i16)>);

fn found(version: i16, response: OffsetFetchResponse) -> Found {
    let owned = |metadata: Option<kafka_protocol::protocol::StrBytes>| {
        metadata.expect("metadata is never null").to_string()
    };
    if version < 8 {
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        let rows = partitions.map(|p| {
            let epoch = p.committed_leader_epoch;
            (p.partition_index, p.committed_offset, epoch, owned(p.metadata), p.error_code)
        });
        return (response.error_code, rows.collect());
    }
    let [group] = <[_; 1]>::try_from(response.groups).expect("one group");
    let partitions = group.topics.into_iter().flat_map(|topic| topic.partitions);
    let rows = partitions.map(|p| {
        let epoch = p.committed_leader_epoch;
        (p.partition_index, p.committed_offset, epoch, owned(p.metadata), p.error_code)
    });
    (group.error_code, rows.collect())
}

fn fetch(kit: &mut Kit, version: i16, partitions: Option<&[i32]>) -> Found {
    let response = kit.ask::<OffsetFetch>(version, &fetch_request(version, "g", partitions));
    found(version, response)
}

#[test]
fn every_version_commits() {
    let mut kit = kit();
    for version in OffsetCommit::VERSIONS {
        let offset = i64::from(version);
        assert_eq!(commit_code(&mut kit, version, &commit(version, 1, offset)), 0, "v{version}");
        let epoch = if version >= 6 { 4 } else { -1 };
        let row = (1, offset, epoch, "note".to_owned(), 0);
        assert_eq!(fetch(&mut kit, 9, None), (0, vec![row]), "v{version}");
    }
}

#[test]
fn every_version_fetches() {
    let mut kit = kit();
    assert_eq!(commit_code(&mut kit, 9, &commit(9, 1, 42)), 0);
    for version in OffsetFetch::VERSIONS {
        let epoch = if version >= 5 { 4 } else { -1 };
        let row = (1, 42, epoch, "note".to_owned(), 0);
        let none = (2, -1, -1, String::new(), 0);
        let named = fetch(&mut kit, version, Some(&[1, 2]));
        assert_eq!(named, (0, vec![row.clone(), none]), "v{version}");
        if version >= 2 {
            assert_eq!(fetch(&mut kit, version, None), (0, vec![row]), "v{version}");
        }
    }
}

#[test]
fn what_the_group_is_refused_stands_where_the_version_has_room() {
    let mut kit = kit_without_coordinator();
    let refused = Code::CoordinatorNotAvailable.code();
    for version in OffsetFetch::VERSIONS {
        let expected = match version {
            1 => (0, vec![(1, -1, -1, String::new(), refused)]),
            _ => (refused, vec![]),
        };
        assert_eq!(fetch(&mut kit, version, Some(&[1])), expected, "v{version}");
    }
    for version in OffsetCommit::VERSIONS {
        assert_eq!(commit_code(&mut kit, version, &commit(version, 1, 1)), refused);
    }
}

#[test]
fn a_group_that_is_not_there_refuses_members_by_what_the_version_knows() {
    let mut kit = kit();
    for version in OffsetCommit::VERSIONS {
        let request = commit(version, 0, 1).with_generation_id_or_member_epoch(5);
        let request = request.with_member_id(text("m"));
        let code = if version >= 9 { Code::GroupIdNotFound } else { Code::IllegalGeneration };
        assert_eq!(commit_code(&mut kit, version, &request), code.code(), "v{version}");
    }
}

#[test]
fn many_groups_are_fetched_at_once() {
    let mut kit = kit();
    assert_eq!(commit_code(&mut kit, 9, &commit(9, 0, 7)), 0);
    let groups = ["g", "other", "g"];
    let one = |group| OffsetFetchRequestGroup::default().with_group_id(group_id(group));
    let all = |group| one(group).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(groups.map(all).into());
    let response = kit.ask::<OffsetFetch>(8, &request);
    let told: Vec<_> = response
        .groups
        .iter()
        .map(|g| (g.group_id.to_string(), g.topics.len(), g.error_code))
        .collect();
    let twice = Code::InvalidRequest.code();
    let expected = [("g", 1, 0), ("other", 0, 0), ("g", 0, twice)];
    assert_eq!(told, expected.map(|(id, topics, code)| (id.to_owned(), topics, code)));
}

#[test]
fn offsets_and_groups_are_deleted() {
    let mut kit = kit();
    for version in DeleteGroups::VERSIONS {
        assert_eq!(commit_code(&mut kit, 9, &commit(9, 0, 7)), 0);
        assert_eq!(commit_code(&mut kit, 9, &commit(9, 1, 8)), 0);
        assert_eq!(delete_offsets(&mut kit, "g", &[0, 9]), (0, vec![0, 3]));
        assert_eq!(fetch(&mut kit, 9, None).1.len(), 1);
        let names = ["g", "unheard of", "g"].map(group_id);
        let request = DeleteGroupsRequest::default().with_groups_names(names.into());
        let response = kit.ask::<DeleteGroups>(version, &request);
        let codes: Vec<_> =
            response.results.iter().map(|r| (r.group_id.to_string(), r.error_code)).collect();
        let unknown = Code::GroupIdNotFound.code();
        assert_eq!(codes, [("g".to_owned(), 0), ("unheard of".to_owned(), unknown)]);
        assert_eq!(fetch(&mut kit, 9, None), (0, vec![]));
    }
    let refused = (Code::GroupIdNotFound.code(), vec![]);
    assert_eq!(delete_offsets(&mut kit, "unheard of", &[0]), refused);
}

#[test]
fn a_topic_takes_its_offsets_along() {
    let mut kit = kit();
    assert_eq!(commit_code(&mut kit, 9, &commit(9, 0, 7)), 0);
    let topic = DeleteTopicState::default().with_name(Some(topic_name("orders")));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(kit.ask::<DeleteTopics>(6, &request).responses[0].error_code, 0);
    create_orders(&kit);
    assert_eq!(fetch(&mut kit, 9, None), (0, vec![]));
}

fn delete_offsets(kit: &mut Kit, group: &str, partitions: &[i32]) -> (i16, Vec<i16>) {
    let one = |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(partitions.iter().map(one).collect());
    let request =
        OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
    let response = kit.ask::<OffsetDelete>(0, &request);
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
    (response.error_code, codes.collect())
}
