//! Descriptions, listings, subscriptions, and who may commit.

use super::*;
use crate::coord::deadlines::Deadlines;
use crate::coord::group::kit::{FakeCluster, Numbered};
use crate::coord::machine::{Effects, Moment};

fn describe(kit: &mut Kit, group: &str) -> Option<Description> {
    match kit.ask(Command::Describe(group.to_owned())) {
        GroupReply::Classic(Reply::Describe(description)) => description,
        other => panic!("no description: {other:?}"),
    }
}

fn list(kit: &mut Kit, states: &[&str], types: &[&str]) -> Vec<(String, &'static str)> {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    match kit.ask(Command::List(List { states: own(states), types: own(types) })) {
        GroupReply::Classic(Reply::List(listed)) => {
            listed.into_iter().map(|g| (g.group.to_string(), g.state)).collect()
        }
        other => panic!("no list: {other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_with_what_its_members_sent() {
    let mut kit = kit();
    assert_eq!(describe(&mut kit, GROUP), None);
    let members = stable(&mut kit, vec![old_joining(), static_joining("i1", "")]);
    let description = describe(&mut kit, GROUP).expect("it is there");
    assert_eq!((description.state, &*description.protocol), ("Stable", "range"));
    assert_eq!(&*description.protocol_type, "consumer");
    let leader = description.members.iter().find(|m| m.member_id == members[0].member_id);
    let leader = leader.expect("the leader");
    assert_eq!((&leader.metadata[..], &leader.assignment[..]), (&b"range"[..], &b"0"[..]));
    assert_eq!((&*leader.client_id, &*leader.client_host), ("app", "/10.0.0.1"));
    assert_eq!(description.members.iter().filter(|m| m.instance_id.is_some()).count(), 1);

    join(&mut kit, old_joining());
    let description = describe(&mut kit, GROUP).expect("it is there");
    assert_eq!((description.state, &*description.protocol), ("PreparingRebalance", ""));
    assert!(description.members.iter().all(|m| m.metadata.is_empty()));
}

#[test]
fn listings_are_filtered_without_regard_to_case() {
    let mut kit = kit();
    stable(&mut kit, vec![old_joining()]);
    let idle = Join { group: "idle".to_owned(), ..joining("") };
    kit.ask(Command::Join(Box::new(idle)));
    let mut all = list(&mut kit, &[], &[]);
    all.sort();
    assert_eq!(all, [("idle".to_owned(), "Empty"), (GROUP.to_owned(), "Stable")]);
    assert_eq!(list(&mut kit, &["sTable"], &[]), [(GROUP.to_owned(), "Stable")]);
    assert_eq!(list(&mut kit, &[" empty "], &["CLASSIC"]), [("idle".to_owned(), "Empty")]);
    assert_eq!(list(&mut kit, &[], &["consumer"]), []);
    assert_eq!(list(&mut kit, &["preparingrebalance"], &[]), []);
}

/// A consumer's subscription, version 1.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.into()
}

fn subscriber(metadata: Bytes) -> Join {
    Join { protocols: vec![Protocol { name: Arc::from("range"), metadata }], ..old_joining() }
}

#[test]
fn subscribed_topics_are_those_of_all_members() {
    let mut kit = kit();
    let joins = [subscription(&["a", "b"]), subscription(&["b", "c"])].map(subscriber);
    stable(&mut kit, joins.into());
    let topics = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(classic(&kit).subscribed_topics(), Some(topics.into()));
    kit.failover();
    assert_eq!(classic(&kit).subscribed_topics().map(|t| t.len()), Some(3));
}

#[test]
fn what_is_no_subscription_is_not_guessed_at() {
    let whole = subscription(&["orders"]);
    for cut in 0..whole.len() - 8 {
        let mut kit = kit();
        stable(&mut kit, vec![subscriber(whole.slice(..cut))]);
        assert_eq!(classic(&kit).subscribed_topics(), None, "{cut} bytes");
    }
    let mut kit = kit();
    let worker = Join { protocol_type: "connect".to_owned(), ..subscriber(whole) };
    stable(&mut kit, vec![worker]);
    assert_eq!(classic(&kit).subscribed_topics(), None);
}

/// Whether a commit is let through, and how many sessions it extends.
fn commit(
    group: &mut Group,
    member_id: &str,
    instance_id: Option<&str>,
    generation: i32,
) -> (Result<(), Code>, usize) {
    let cluster = FakeCluster::default();
    let ids = Numbered::default();
    let moment = Moment { now: SESSION, wall_ms: 0, ids: &ids, cluster: &cluster };
    let (mut timers, mut effects) = (Deadlines::default(), Effects::default());
    let settings = GroupSettings::default();
    let mut cx =
        Cx { moment: &moment, settings: &settings, timers: &mut timers, effects: &mut effects };
    (check_commit(group, &mut cx, member_id, instance_id, generation), timers.len())
}

/// The group as a map of its own holds it after replay, to commit to.
fn reloaded(kit: &Kit) -> GroupMap {
    let mut groups = GroupMap::default();
    for (group, value) in durable(kit.groups()) {
        replay(&mut groups, ClassicRecord { group, value: Some(value) });
    }
    groups
}

#[test]
fn commits_are_for_members_of_the_generation_and_count_as_heartbeats() {
    let mut kit = kit();
    let joins = vec![static_joining("i1", ""), static_joining("i2", "")];
    stable(&mut kit, joins);
    let id = |instance: &str| classic(&kit).static_id(instance).expect("static").to_string();
    let (one, two) = (id("i1"), id("i2"));
    let mut groups = reloaded(&kit);
    let group = groups.get_mut(GROUP).expect("replayed");
    assert_eq!(commit(group, &one, Some("i1"), 1), (Ok(()), 1));
    assert_eq!(commit(group, &one, None, 1), (Ok(()), 1));
    assert_eq!(commit(group, &two, Some("i1"), 1).0, Err(Code::FencedInstanceId));
    assert_eq!(commit(group, &one, Some("i3"), 1).0, Err(Code::UnknownMemberId));
    assert_eq!(commit(group, &one, None, 0).0, Err(Code::IllegalGeneration));
    assert_eq!(commit(group, "other", None, 1).0, Err(Code::UnknownMemberId));
    assert_eq!(commit(group, "", None, -1), (Err(Code::UnknownMemberId), 0));
}

#[test]
fn an_empty_group_takes_commits_from_outside_alone() {
    let mut groups = GroupMap::default();
    let simple = groups.entry("simple");
    assert_eq!(commit(simple, "", None, -1), (Ok(()), 0));
    assert_eq!(commit(simple, "m", None, 1).0, Err(Code::UnknownMemberId));
    let value = Some(Classic::new(0).stored());
    replay(&mut groups, ClassicRecord { group: Arc::from(GROUP), value });
    let empty = groups.get_mut(GROUP).expect("replayed");
    assert_eq!(commit(empty, "", None, -1), (Ok(()), 0));
    assert_eq!(commit(empty, "m", None, 1).0, Err(Code::UnknownMemberId));
}

#[test]
fn a_group_whose_record_is_deleted_is_no_classic_group() {
    let mut groups = GroupMap::default();
    let group: Arc<str> = Arc::from(GROUP);
    let value = Some(Classic::new(0).stored());
    replay(&mut groups, ClassicRecord { group: Arc::clone(&group), value });
    replay(&mut groups, ClassicRecord { group, value: None });
    let kind = groups.get(GROUP).map(|group| &group.kind);
    assert!(matches!(kind, None | Some(Kind::Simple)), "{kind:?}");
}
