//! Offsets by script, with the clock in the test's hand.

mod moves;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::coord::cluster::Cluster;
use crate::coord::group::classic::{self, CONSUMER_PROTOCOL_TYPE, Join, Protocol, Sync};
use crate::coord::group::consumer::{self, Heartbeat, MemberEpoch};
use crate::coord::group::kit::Kit;
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{Reply as GroupReply, record};

const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const CHECK: Duration = Duration::from_secs(10 * 60);
const MEMBER_SESSION: Duration = Duration::from_secs(30);

fn kit() -> Kit {
    let mut kit = Kit::default();
    kit.cluster.set_topic("orders", 3);
    kit.cluster.set_topic("returns", 1);
    kit.failover();
    kit
}

fn ask(kit: &mut Kit, command: Command) -> Reply {
    match kit.ask(command) {
        GroupReply::Offsets(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn partition(partition: i32, offset: i64) -> CommitPartition {
    CommitPartition { partition, offset, leader_epoch: -1, metadata: "".into() }
}

/// From outside of group management.
fn plain(group: &str, topics: &[(&str, &[CommitPartition])]) -> Commit {
    Commit {
        group: group.to_owned(),
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        knows_epochs: true,
        retention_ms: None,
        may_move_back: true,
        topics: topics.iter().map(|(topic, of)| (Arc::from(*topic), of.to_vec())).collect(),
    }
}

/// Where a commit would move the group back; it is not stored then.
fn held(kit: &mut Kit, request: Commit) -> Vec<MovedBack> {
    match ask(kit, Command::Commit(Commit { may_move_back: false, ..request })) {
        Reply::MovesBack(held) => held.moved_back,
        Reply::Commit(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// How each partition fared.
fn commit(kit: &mut Kit, request: Commit) -> Vec<(String, i32, Result<(), Code>)> {
    let Reply::Commit(topics) = ask(kit, Command::Commit(request)) else { panic!("no commit") };
    flat(topics)
}

fn flat(topics: ByTopic<Outcome>) -> Vec<(String, i32, Result<(), Code>)> {
    let of = |(topic, of): (Arc<str>, Vec<Outcome>)| {
        of.into_iter().map(move |(partition, outcome)| (topic.to_string(), partition, outcome))
    };
    topics.into_iter().flat_map(of).collect()
}

fn commit_one(kit: &mut Kit, group: &str, topic: &str, of: CommitPartition) {
    let partition = of.partition;
    let done = commit(kit, plain(group, &[(topic, &[of])]));
    assert_eq!(done, [(topic.to_owned(), partition, Ok(()))]);
}

/// The one outcome of a commit by someone who says who it is.
fn commit_as(kit: &mut Kit, group: &str, member_id: &str, generation: i32) -> Result<(), Code> {
    let mut request = plain(group, &[("orders", &[partition(0, 5)])]);
    request.member_id = member_id.to_owned();
    request.generation = generation;
    let done = commit(kit, request);
    assert_eq!(done.len(), 1);
    done[0].2
}

fn fetch_all(kit: &mut Kit, group: &str) -> ByTopic<Fetched> {
    let (group, member_id) = (group.to_owned(), None);
    let request = Fetch { group, member_id, member_epoch: -1, topics: None };
    let Reply::Fetch(Ok(topics)) = ask(kit, Command::Fetch(request)) else { panic!("no offsets") };
    topics
}

/// Offsets of a group as text: `topic-partition=offset`.
fn offsets(kit: &mut Kit, group: &str) -> Vec<String> {
    let all = fetch_all(kit, group);
    let line = |topic: &str, found: Fetched| {
        format!("{topic}-{}={}", found.partition, found.committed.expect("all have one").offset)
    };
    all.into_iter().flat_map(|(t, of)| of.into_iter().map(move |f| line(&t, f))).collect()
}

fn delete(
    kit: &mut Kit,
    group: &str,
    topic: &str,
    of: &[i32],
) -> Result<Vec<Result<(), Code>>, Code> {
    let topics = vec![(Arc::from(topic), of.to_vec())];
    let request = Delete { group: group.to_owned(), dry_run: false, topics };
    let Reply::Delete(outcome) = ask(kit, Command::Delete(request)) else { panic!("no deletion") };
    outcome.map(|topics| flat(topics).into_iter().map(|(_, _, outcome)| outcome).collect())
}

fn delete_group(kit: &mut Kit, group: &str) -> Result<(), Code> {
    match ask(kit, Command::DeleteGroup { group: group.to_owned(), dry_run: false }) {
        Reply::DeleteGroup(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

/// Every offset of every group.
fn durable(groups: &GroupMap) -> BTreeMap<(String, String, i32), OffsetValue> {
    let of_group = |group: &crate::coord::group::Group| {
        let id = group.id.to_string();
        let of = group.offsets.iter();
        of.map(|(t, p, value)| ((id.clone(), t.to_string(), p), value.clone())).collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).collect()
}

fn known_groups(kit: &Kit) -> Vec<String> {
    let mut ids: Vec<_> = kit.groups().iter().map(|group| group.id.to_string()).collect();
    ids.sort();
    ids
}

/// One member that has come to the end of a rebalance: its id.
fn stable_member(kit: &mut Kit, group: &str, protocol_type: &str, topics: &[&str]) -> String {
    let mut metadata = vec![0, 0, 0, 0, 0, topics.len() as u8];
    for topic in topics {
        metadata.extend([0, topic.len() as u8]);
        metadata.extend(topic.as_bytes());
    }
    metadata.extend([0xff; 4]);
    let joining = kit.send(classic::Command::Join(Box::new(Join {
        group: group.to_owned(),
        member_id: String::new(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: MEMBER_SESSION,
        rebalance_timeout: MEMBER_SESSION,
        protocol_type: protocol_type.to_owned(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from(metadata) }],
        needs_known_id: false,
        can_skip_assignment: false,
    })));
    kit.pass(Duration::from_secs(3));
    let Some(GroupReply::Classic(classic::Reply::Join(Ok(joined)))) = kit.answer(joining) else {
        panic!("the join goes through after the initial delay");
    };
    let member_id = joined.member_id.to_string();
    assert_eq!(commit_as(kit, group, &member_id, 1), Err(Code::RebalanceInProgress));
    let sync = kit.ask(classic::Command::Sync(Sync {
        group: group.to_owned(),
        generation: joined.generation,
        member_id: member_id.clone(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }));
    assert!(matches!(sync, GroupReply::Classic(classic::Reply::Sync(Ok(_)))), "{sync:?}");
    member_id
}

#[test]
fn what_was_committed_comes_back_whole_after_a_failover() {
    let mut kit = kit();
    let whole =
        CommitPartition { partition: 2, offset: 42, leader_epoch: 7, metadata: "from ü".into() };
    commit_one(&mut kit, "g", "orders", whole);
    let committed_ms = kit.wall_ms();
    kit.assert_durable(durable);
    kit.failover();
    let committed = Committed { offset: 42, leader_epoch: 7, metadata: "from ü".into() };
    let expected = vec![Fetched { partition: 2, committed: Some(committed) }];
    assert_eq!(fetch_all(&mut kit, "g"), [(Arc::from("orders"), expected)]);
    let stored = kit.groups().get("g").and_then(|group| group.offsets.get("orders", 2));
    assert_eq!(stored.map(|value| value.committed_ms), Some(committed_ms));
}

#[test]
fn the_last_commit_counts() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 10));
    commit_one(&mut kit, "g", "orders", partition(0, 9));
    commit_one(&mut kit, "g", "orders", partition(1, 1));
    kit.failover();
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=9", "orders-1=1"]);
}

#[test]
fn a_partition_without_an_offset_is_answered_without_one() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 10));
    let topics = vec![(Arc::from("orders"), vec![0, 1]), (Arc::from("never"), vec![9])];
    let request =
        Fetch { group: "g".into(), member_id: None, member_epoch: -1, topics: Some(topics) };
    let Reply::Fetch(Ok(found)) = ask(&mut kit, Command::Fetch(request)) else { panic!() };
    let has = |of: &[Fetched]| of.iter().map(|f| f.committed.is_some()).collect::<Vec<_>>();
    assert_eq!(has(&found[0].1), [true, false]);
    assert_eq!(has(&found[1].1), [false]);
    assert_eq!(fetch_all(&mut kit, "unheard of"), []);
    assert_eq!(known_groups(&kit), ["g"]);
}

#[test]
fn a_partition_that_does_not_exist_is_refused_alone() {
    let mut kit = kit();
    let orders = [partition(2, 1), partition(3, 1), partition(-1, 1)];
    let request = plain("g", &[("orders", &orders), ("nowhere", &[partition(0, 1)])]);
    let unknown = Err(Code::UnknownTopicOrPartition);
    let outcomes: Vec<_> = commit(&mut kit, request).into_iter().map(|(_, _, o)| o).collect();
    assert_eq!(outcomes, [Ok(()), unknown, unknown, unknown]);
    assert_eq!(offsets(&mut kit, "g"), ["orders-2=1"]);

    let request = plain("other", &[("nowhere", &[partition(0, 1)])]);
    assert_eq!(commit(&mut kit, request)[0].2, unknown);
    assert_eq!(known_groups(&kit), ["g"]);
}

#[test]
fn metadata_over_the_limit_is_refused_alone() {
    let mut kit =
        Kit::new(GroupSettings { offset_metadata_max_bytes: 4, ..GroupSettings::default() });
    kit.cluster.set_topic("orders", 3);
    let with = |number, metadata: &str| CommitPartition {
        metadata: metadata.into(),
        ..partition(number, 1)
    };
    // Kafka counts UTF-16 units, not bytes.
    let orders = [with(0, "12345"), with(1, "1234"), with(2, "üüüü")];
    let outcomes: Vec<_> = commit(&mut kit, plain("g", &[("orders", &orders)]))
        .into_iter()
        .map(|(_, _, outcome)| outcome)
        .collect();
    assert_eq!(outcomes, [Err(Code::OffsetMetadataTooLarge), Ok(()), Ok(())]);
}

#[test]
fn who_claims_to_be_a_member_of_an_unknown_group_is_refused() {
    let mut kit = kit();
    assert_eq!(commit_as(&mut kit, "g", "m", 3), Err(Code::GroupIdNotFound));
    let mut old = plain("g", &[("orders", &[partition(0, 1)])]);
    (old.generation, old.knows_epochs) = (3, false);
    assert_eq!(commit(&mut kit, old)[0].2, Err(Code::IllegalGeneration));
    assert!(kit.log().is_empty());
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    assert_eq!(commit_as(&mut kit, "g", "m", 3), Err(Code::UnknownMemberId));
}

#[test]
fn a_group_with_members_takes_commits_of_its_members_in_their_generation() {
    let mut kit = kit();
    let member = stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    assert_eq!(commit_as(&mut kit, "g", "", -1), Err(Code::UnknownMemberId));
    assert_eq!(commit_as(&mut kit, "g", "stranger", 1), Err(Code::UnknownMemberId));
    assert_eq!(commit_as(&mut kit, "g", &member, 2), Err(Code::IllegalGeneration));
    assert_eq!(commit_as(&mut kit, "g", &member, 1), Ok(()));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=5"]);
}

#[test]
fn commits_keep_a_session_alive() {
    let mut kit = kit();
    let member = stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    for _ in 0..4 {
        kit.pass(MEMBER_SESSION / 2);
        assert_eq!(commit_as(&mut kit, "g", &member, 1), Ok(()));
    }
    kit.pass(MEMBER_SESSION);
    assert_eq!(commit_as(&mut kit, "g", &member, 1), Err(Code::UnknownMemberId));
}

#[test]
fn offsets_of_topics_that_consumers_read_are_not_deleted() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    commit_one(&mut kit, "g", "returns", partition(0, 2));
    stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    let read = Err(Code::GroupSubscribedToTopic);
    assert_eq!(delete(&mut kit, "g", "orders", &[0, 1]), Ok(vec![read, read]));
    assert_eq!(delete(&mut kit, "g", "returns", &[0]), Ok(vec![Ok(())]));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=1"]);
    kit.assert_durable(durable);
}

#[test]
fn of_members_that_do_not_say_what_they_read_nothing_is_deleted() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    stable_member(&mut kit, "g", "connect", &[]);
    assert_eq!(delete(&mut kit, "g", "orders", &[0]), Err(Code::NonEmptyGroup));
    kit.pass(MEMBER_SESSION);
    assert_eq!(delete(&mut kit, "g", "orders", &[0, 1]), Ok(vec![Ok(()), Ok(())]));
    assert_eq!(offsets(&mut kit, "g"), [""; 0]);
}

#[test]
fn deletion_of_offsets_names_what_is_not_there() {
    let mut kit = kit();
    assert_eq!(delete(&mut kit, "g", "orders", &[0]), Err(Code::GroupIdNotFound));
    assert_eq!(delete(&mut kit, "", "orders", &[0]), Err(Code::InvalidGroupId));
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    let unknown = Err(Code::UnknownTopicOrPartition);
    assert_eq!(delete(&mut kit, "g", "orders", &[7]), Ok(vec![unknown]));
    assert_eq!(delete(&mut kit, "g", "nowhere", &[0]), Ok(vec![unknown]));
    assert_eq!(delete(&mut kit, "g", "orders", &[0]), Ok(vec![Ok(())]));
    assert_eq!(known_groups(&kit), [""; 0], "nothing is left of it");
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn a_deleted_group_stays_deleted() {
    let mut kit = kit();
    assert_eq!(delete_group(&mut kit, "g"), Err(Code::GroupIdNotFound));
    stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    assert_eq!(delete_group(&mut kit, "g"), Err(Code::NonEmptyGroup));
    kit.pass(MEMBER_SESSION);
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    commit_one(&mut kit, "simple", "orders", partition(1, 1));
    assert_eq!(delete_group(&mut kit, "g"), Ok(()));
    assert_eq!(delete_group(&mut kit, "simple"), Ok(()));
    assert_eq!(known_groups(&kit), [""; 0]);
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0]);
    assert_eq!(delete_group(&mut kit, "g"), Err(Code::GroupIdNotFound));
}

#[test]
fn offsets_of_simple_consumers_expire_by_their_commit() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    kit.pass(RETENTION / 2);
    commit_one(&mut kit, "g", "orders", partition(1, 1));
    kit.pass(RETENTION / 2 - CHECK);
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=1", "orders-1=1"]);
    kit.pass(2 * CHECK);
    assert_eq!(offsets(&mut kit, "g"), ["orders-1=1"]);
    kit.assert_durable(durable);
    kit.pass(RETENTION);
    assert_eq!(known_groups(&kit), [""; 0]);
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn offsets_of_a_group_expire_when_it_has_been_empty_for_long() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    kit.pass(MEMBER_SESSION);
    kit.pass(RETENTION - CHECK);
    kit.failover();
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=1"]);
    kit.pass(2 * CHECK);
    assert_eq!(known_groups(&kit), [""; 0]);
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0], "the group's own record is deleted too");
}

/// Settings under which offsets expire sooner than sessions.
fn short_retention() -> Kit {
    let second = Duration::from_secs(1);
    let mut kit = Kit::new(GroupSettings {
        offsets_retention: 5 * second,
        offsets_retention_check: second,
        ..GroupSettings::default()
    });
    kit.cluster.set_topic("orders", 3);
    kit.cluster.set_topic("returns", 1);
    kit.failover();
    kit
}

#[test]
fn a_group_with_members_loses_only_offsets_of_topics_that_it_left() {
    let mut kit = short_retention();
    let member = stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    let both = [("orders", &[partition(0, 1)][..]), ("returns", &[partition(0, 2)])];
    let request = Commit { member_id: member.clone(), generation: 1, ..plain("g", &both) };
    assert!(commit(&mut kit, request).iter().all(|(_, _, outcome)| outcome.is_ok()));
    kit.pass(Duration::from_secs(4));
    assert_eq!(offsets(&mut kit, "g").len(), 2);
    kit.pass(Duration::from_secs(2));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=1"]);

    let other = stable_member(&mut kit, "c", "connect", &[]);
    let request = Commit { member_id: other, generation: 1, ..plain("c", &both) };
    assert!(commit(&mut kit, request).iter().all(|(_, _, outcome)| outcome.is_ok()));
    kit.pass(Duration::from_secs(20));
    assert_eq!(offsets(&mut kit, "c").len(), 2, "nobody knows what connectors read");
}

/// A member of the consumer protocol reports; it joins with epoch 0.
fn beat(kit: &mut Kit, epoch: MemberEpoch, topics: &[&str]) -> i32 {
    let heartbeat = Heartbeat {
        group: "modern".into(),
        member_id: "m".into(),
        epoch,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: Some(60_000),
        topics: Some(topics.iter().map(|topic| Arc::from(*topic)).collect()),
        regex: None,
        assignor: None,
        owned: Some(Default::default()),
    };
    match kit.ask(consumer::Command::Heartbeat(Box::new(heartbeat))) {
        GroupReply::Consumer(consumer::Reply::Heartbeat(Ok(beat))) => beat.epoch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_of_the_consumer_protocol_has_its_own_rules() {
    let mut kit = kit();
    let epoch = beat(&mut kit, MemberEpoch::Join, &["orders"]);
    assert_eq!(commit_as(&mut kit, "modern", "", -1), Err(Code::UnknownMemberId));
    assert_eq!(commit_as(&mut kit, "modern", "m", epoch + 1), Err(Code::StaleMemberEpoch));
    assert_eq!(commit_as(&mut kit, "modern", "m", epoch), Ok(()));
    let fetched_as = |kit: &mut Kit, member: &str, member_epoch: i32| {
        let (group, member_id) = ("modern".to_owned(), Some(member.to_owned()));
        let request = Fetch { group, member_id, member_epoch, topics: None };
        let Reply::Fetch(found) = ask(kit, Command::Fetch(request)) else { panic!() };
        found.map(|topics| topics.len())
    };
    assert_eq!(fetched_as(&mut kit, "m", epoch), Ok(1));
    assert_eq!(fetched_as(&mut kit, "m", epoch + 1), Err(Code::StaleMemberEpoch));
    assert_eq!(fetched_as(&mut kit, "stranger", epoch), Err(Code::UnknownMemberId));
    let read = Err(Code::GroupSubscribedToTopic);
    assert_eq!(delete(&mut kit, "modern", "orders", &[0]), Ok(vec![read]));
    assert_eq!(delete_group(&mut kit, "modern"), Err(Code::NonEmptyGroup));

    assert_eq!(beat(&mut kit, MemberEpoch::Leave, &[]), -1);
    commit_one(&mut kit, "modern", "orders", partition(1, 1));
    kit.failover();
    assert_eq!(offsets(&mut kit, "modern"), ["orders-0=5", "orders-1=1"]);
    assert_eq!(delete_group(&mut kit, "modern"), Ok(()));
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn an_empty_group_of_the_consumer_protocol_goes_with_its_last_offset() {
    let mut kit = kit();
    let epoch = beat(&mut kit, MemberEpoch::Join, &["orders"]);
    assert_eq!(commit_as(&mut kit, "modern", "m", epoch), Ok(()));
    beat(&mut kit, MemberEpoch::Leave, &[]);
    kit.pass(RETENTION - CHECK);
    assert_eq!(offsets(&mut kit, "modern"), ["orders-0=5"]);
    kit.pass(2 * CHECK);
    assert_eq!(known_groups(&kit), [""; 0]);
    kit.failover();
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn a_retention_that_the_client_named_counts_instead() {
    let mut kit = kit();
    let mut request = plain("g", &[("orders", &[partition(0, 1)])]);
    request.retention_ms = Some(60_000);
    request.knows_epochs = false;
    assert_eq!(commit(&mut kit, request)[0].2, Ok(()));
    commit_one(&mut kit, "g", "orders", partition(1, 1));
    kit.assert_durable(durable);
    kit.failover();
    kit.pass(CHECK);
    assert_eq!(offsets(&mut kit, "g"), ["orders-1=1"]);
}

/// A group id so long that few offsets fill a batch.
fn long_id(stem: &str) -> String {
    format!("{stem}{}", "x".repeat(30_000))
}

fn commit_many(kit: &mut Kit, group: &str, count: i32) -> Vec<Result<(), Code>> {
    kit.cluster.set_topic("wide", 700);
    let all: Vec<_> = (0..count).map(|n| partition(n, 1)).collect();
    commit(kit, plain(group, &[("wide", &all)]))
        .into_iter()
        .map(|(_, _, outcome)| outcome)
        .collect()
}

#[test]
fn much_that_expires_at_once_goes_in_several_steps() {
    let mut kit = short_retention();
    for group in ["a", "b", "c"] {
        assert_eq!(commit_many(&mut kit, &long_id(group), 100), vec![Ok(()); 100]);
    }
    let before = kit.log().len();
    kit.pass(Duration::from_secs(5));
    assert!((1..100).contains(&(kit.log().len() - before)), "one step");
    kit.pass(Duration::from_millis(20));
    assert_eq!(kit.log().len() - before, 300);
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn a_commit_that_would_store_a_multiple_of_itself_is_refused() {
    let mut kit = kit();
    let refused = Err(Code::InvalidCommitOffsetSize);
    assert_eq!(commit_many(&mut kit, &long_id("g"), 400), vec![refused; 400]);
    assert!(kit.log().is_empty());
    assert_eq!(commit_many(&mut kit, "g", 400), vec![Ok(()); 400]);
}

#[test]
fn a_group_that_is_too_much_for_one_decision_is_deleted_in_several() {
    let mut kit = kit();
    let group = long_id("g");
    for topic in ["wide", "wider"] {
        kit.cluster.set_topic(topic, 250);
        let all: Vec<_> = (0..250).map(|n| partition(n, 1)).collect();
        let done = commit(&mut kit, plain(&group, &[(topic, &all)]));
        assert!(done.iter().all(|(_, _, outcome)| outcome.is_ok()));
    }
    assert_eq!(delete_group(&mut kit, &group), Err(Code::CoordinatorLoadInProgress));
    kit.assert_durable(durable);
    assert_eq!(delete_group(&mut kit, &group), Ok(()));
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn a_partition_that_is_named_twice_is_told_of_once() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    let topics = vec![(Arc::from("orders"), vec![0, 0, 1]), (Arc::from("orders"), vec![1, 0, 2])];
    let request =
        Fetch { group: "g".into(), member_id: None, member_epoch: -1, topics: Some(topics) };
    let Reply::Fetch(Ok(found)) = ask(&mut kit, Command::Fetch(request)) else { panic!() };
    let numbers: Vec<i32> = found.iter().flat_map(|(_, of)| of).map(|f| f.partition).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let before = kit.log().len();
    assert_eq!(delete(&mut kit, "g", "orders", &[0, 0]), Ok(vec![Ok(()), Ok(())]));
    assert_eq!(kit.log().len() - before, 1);
}

#[test]
fn a_topic_that_is_deleted_takes_its_offsets_along() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    commit_one(&mut kit, "g", "returns", partition(0, 2));
    commit_one(&mut kit, "h", "orders", partition(1, 3));
    let orders = kit.cluster.topic("orders").expect("it is there");
    kit.cluster.delete_topic("orders");
    let deleted: Arc<[TopicInfo]> = [orders.clone()].into();
    assert!(matches!(ask(&mut kit, Command::TopicsDeleted(deleted)), Reply::TopicsDeleted));
    assert_eq!(offsets(&mut kit, "g"), ["returns-0=2"]);
    assert_eq!(known_groups(&kit), ["g"]);
    kit.assert_durable(durable);

    // News that comes late does not hurt the topic's successor.
    assert_ne!(kit.cluster.set_topic("orders", 1), orders.id);
    commit_one(&mut kit, "g", "orders", partition(0, 9));
    ask(&mut kit, Command::TopicsDeleted([orders].into()));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=9", "returns-0=2"]);
}

#[test]
fn a_topic_that_was_replaced_while_nobody_listened_begins_without_offsets() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    commit_one(&mut kit, "g", "returns", partition(0, 2));
    kit.cluster.delete_topic("orders");
    kit.cluster.set_topic("orders", 3);
    kit.failover();
    assert_eq!(offsets(&mut kit, "g"), ["returns-0=2"], "told of no more");
    kit.pass(GroupSettings::default().offsets_retention_check);
    assert_eq!(durable(kit.groups()).len(), 1, "stored no more");
    kit.assert_durable(durable);
}

#[test]
fn offsets_of_kafkas_own_log_are_taken_over() {
    let mut kit = kit();
    let fixture = include_str!("../../../../tests/fixtures/consumer_offsets/versions.txt");
    let hex = |text: &str| -> Bytes {
        let pairs = (0..text.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    };
    kit.cluster.set_topic("gold", 3);
    let line = fixture.lines().find_map(|line| line.strip_prefix("offset-v3 "));
    let (key, value) = line.and_then(|line| line.split_once(' ')).expect("a key and a value");
    let record = crate::coord::machine::LogRecord { key: hex(key), value: Some(hex(value)) };
    assert!(matches!(
        record::Record::decode(&record.key, record.value.as_deref()),
        Ok(Some(record::Record::Offset(_)))
    ));
    kit.set_log(vec![record]);
    kit.failover();
    assert_eq!(offsets(&mut kit, "old"), ["gold-2=77"]);
}

#[test]
fn all_offsets_are_listed_for_lag() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 1));
    stable_member(&mut kit, "without", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    let Reply::List(listed) = ask(&mut kit, Command::List) else { panic!() };
    let topics = vec![(Arc::from("orders"), vec![(0, 1)])];
    assert_eq!(listed, [Listed { group: Arc::from("g"), topics }]);
}

/// What may happen to offsets, in any order.
#[derive(Clone, Debug)]
enum Step {
    Commit { group: u8, partition: i32, offset: i64 },
    Delete { group: u8, partition: i32 },
    DeleteGroup { group: u8 },
    Failover,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0_u8..3;
    prop_oneof![
        4 => (group.clone(), 0..3, 0_i64..1_000)
            .prop_map(|(group, partition, offset)| Step::Commit { group, partition, offset }),
        2 => (group.clone(), 0..3).prop_map(|(group, partition)| Step::Delete { group, partition }),
        1 => group.prop_map(|group| Step::DeleteGroup { group }),
        1 => Just(Step::Failover),
    ]
}

proptest! {
    #[test]
    fn a_map_would_answer_the_same(steps in proptest::collection::vec(step(), 1..60)) {
        let mut kit = kit();
        let mut model = BTreeMap::<(String, i32), i64>::new();
        for step in steps {
            match step {
                Step::Commit { group, partition: number, offset } => {
                    let group = format!("g{group}");
                    commit_one(&mut kit, &group, "orders", partition(number, offset));
                    model.insert((group, number), offset);
                }
                Step::Delete { group, partition } => {
                    let group = format!("g{group}");
                    let there = model.keys().any(|(id, _)| *id == group);
                    prop_assert_eq!(delete(&mut kit, &group, "orders", &[partition]).is_ok(), there);
                    model.remove(&(group, partition));
                }
                Step::DeleteGroup { group } => {
                    let group = format!("g{group}");
                    let there = model.keys().any(|(id, _)| *id == group);
                    prop_assert_eq!(delete_group(&mut kit, &group).is_ok(), there);
                    model.retain(|(id, _), _| *id != group);
                }
                Step::Failover => kit.failover(),
            }
            let kept: BTreeMap<_, _> = durable(kit.groups())
                .into_iter()
                .map(|((group, _, number), value)| ((group, number), value.offset))
                .collect();
            prop_assert_eq!(&kept, &model);
            kit.assert_durable(durable);
        }
    }
}

#[test]
fn a_group_begins_its_retry_topic_at_the_beginning() {
    let mut kit = kit();
    kit.cluster.set_retry_topic("retry.g.orders", 2, "g", "orders");
    assert_eq!(offsets(&mut kit, "g"), ["retry.g.orders-0=0", "retry.g.orders-1=0"]);
    assert_eq!(offsets(&mut kit, "h"), [""; 0], "it is nobody else's");
    commit_one(&mut kit, "g", "retry.g.orders", partition(1, 7));
    commit_one(&mut kit, "g", "orders", partition(0, 5));
    let expected = ["orders-0=5", "retry.g.orders-0=0", "retry.g.orders-1=7"];
    assert_eq!(offsets(&mut kit, "g"), expected);
    let named = |topic: &str, of: &[i32]| Fetch {
        group: "g".to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![(Arc::from(topic), of.to_vec())]),
    };
    let mut fetch = |request| match ask(&mut kit, Command::Fetch(request)) {
        Reply::Fetch(Ok(topics)) => {
            let of = topics.into_iter().flat_map(|(_, of)| of);
            of.map(|found| found.committed.map(|c| c.offset)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(fetch(named("retry.g.orders", &[0, 1, 2])), [Some(0), Some(7), None]);
    assert_eq!(fetch(named("orders", &[0, 1])), [Some(5), None]);
}

#[test]
fn offsets_of_a_group_that_has_failed_are_kept_while_its_retry_topic_is_there() {
    let mut kit = kit();
    kit.cluster.set_retry_topic("retry.g.orders", 1, "g", "orders");
    for group in ["g", "h"] {
        commit_one(&mut kit, group, "retry.g.orders", partition(0, 7));
        commit_one(&mut kit, group, "orders", partition(0, 5));
        commit_one(&mut kit, group, "returns", partition(0, 3));
    }
    kit.pass(RETENTION + CHECK);
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=5", "retry.g.orders-0=7"]);
    assert_eq!(offsets(&mut kit, "h"), [""; 0]);
    kit.cluster.delete_topic("retry.g.orders");
    kit.pass(CHECK);
    assert_eq!(known_groups(&kit), [""; 0]);
}

#[test]
fn a_commit_that_moves_the_group_back_is_held_and_told_of() {
    let mut kit = kit();
    let orders = kit.cluster.topic("orders").expect("made").id;
    let at = |offset| plain("g", &[("orders", &[partition(0, offset), partition(1, 5)])]);
    assert_eq!(held(&mut kit, at(9)), [], "it was nowhere before");
    assert_eq!(held(&mut kit, at(9)), []);
    let back = [MovedBack { tp: TopicPartition::new(orders, 0), offset: 4 }];
    for _ in 0..2 {
        assert_eq!(held(&mut kit, at(4)), back, "until it is meant");
        assert_eq!(offsets(&mut kit, "g"), ["orders-0=9", "orders-1=5"]);
    }
    assert!(commit(&mut kit, at(4)).iter().all(|(.., outcome)| outcome.is_ok()));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=4", "orders-1=5"]);
}

#[test]
fn a_commit_that_is_refused_moves_nobody() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 9));
    stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    assert_eq!(held(&mut kit, plain("g", &[("orders", &[partition(0, 1)])])), []);
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=9"]);
}

#[test]
fn a_dry_run_deletes_nothing() {
    let mut kit = kit();
    commit_one(&mut kit, "g", "orders", partition(0, 9));
    let topics = vec![(Arc::from("orders"), vec![0, 9])];
    let request = Delete { group: "g".to_owned(), dry_run: true, topics };
    let Reply::Delete(Ok(outcomes)) = ask(&mut kit, Command::Delete(request)) else {
        panic!("no deletion")
    };
    let unknown = Err(Code::UnknownTopicOrPartition);
    assert_eq!(outcomes[0].1, [(0, Ok(())), (9, unknown)]);
    let group = || Command::DeleteGroup { group: "g".to_owned(), dry_run: true };
    assert!(matches!(ask(&mut kit, group()), Reply::DeleteGroup(Ok(()))));
    assert_eq!(offsets(&mut kit, "g"), ["orders-0=9"]);
    stable_member(&mut kit, "g", CONSUMER_PROTOCOL_TYPE, &["orders"]);
    let refused = Reply::DeleteGroup(Err(Code::NonEmptyGroup));
    assert_eq!(format!("{:?}", ask(&mut kit, group())), format!("{refused:?}"));
}
