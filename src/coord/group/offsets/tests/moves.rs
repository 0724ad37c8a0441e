//! Groups that do not get on, and that an operator moves on.

use super::*;
use crate::coord::group;

fn stuck(kit: &mut Kit) -> Vec<(String, i64, u32)> {
    let GroupReply::Survey(survey) = kit.ask(group::Command::Survey { most_offsets: 0 }) else {
        panic!("no survey")
    };
    let stuck = survey.stuck.into_iter();
    stuck.map(|stuck| (stuck.at.topic.to_string(), stuck.at.offset, stuck.generations)).collect()
}

#[test]
fn generations_that_begin_where_the_last_one_did_are_counted_if_there_is_more_to_read() {
    let mut kit = kit();
    let orders = kit.cluster.topic("orders").unwrap().id;
    commit_one(&mut kit, "modern", "orders", partition(0, 5));
    commit_one(&mut kit, "modern", "orders", partition(1, 5));
    kit.cluster.set_visible_end(orders, 0, 6);
    kit.cluster.set_visible_end(orders, 1, 5);
    for _ in 0..3 {
        assert_eq!(stuck(&mut kit), []);
        fetch_all(&mut kit, "modern");
        beat(&mut kit, MemberEpoch::Join, &["orders"]);
        fetch_all(&mut kit, "modern");
        fetch_all(&mut kit, "modern");
        beat(&mut kit, MemberEpoch::Leave, &[]);
    }
    assert_eq!(stuck(&mut kit), [("orders".to_owned(), 5, 3)], "partition 1 has been read");
    commit_one(&mut kit, "modern", "orders", partition(0, 6));
    assert_eq!(stuck(&mut kit), []);
}

#[test]
fn an_offset_moves_on_once_its_group_is_empty_and_only_from_where_it_was_seen() {
    let mut kit = kit();
    let move_on = |kit: &mut Kit, group: &str, from: i64| {
        let (group, topic) = (group.to_owned(), Arc::from("orders"));
        match ask(kit, Command::Move(Move { group, topic, partition: 0, from, to: 6 })) {
            Reply::Move(moved) => moved,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(move_on(&mut kit, "nobody", 5), Err(Code::GroupIdNotFound));
    commit_one(&mut kit, "modern", "orders", partition(0, 5));
    beat(&mut kit, MemberEpoch::Join, &["orders"]);
    assert_eq!(move_on(&mut kit, "modern", 5), Ok(Moved::NotYet));
    assert_eq!(move_on(&mut kit, "modern", 4), Ok(Moved::Elsewhere));
    beat(&mut kit, MemberEpoch::Leave, &[]);
    assert_eq!(move_on(&mut kit, "modern", 5), Ok(Moved::Done));
    assert_eq!(move_on(&mut kit, "modern", 5), Ok(Moved::Elsewhere));
    kit.failover();
    assert_eq!(offsets(&mut kit, "modern"), ["orders-0=6"]);
}

#[test]
fn a_group_moves_on_from_the_beginning_of_its_retry_topic_though_it_never_committed_that() {
    let mut kit = kit();
    kit.cluster.set_retry_topic("retry.g.orders", 1, "g", "orders");
    let move_on = |kit: &mut Kit, topic: &str, from: i64| {
        let (group, topic) = ("g".to_owned(), Arc::from(topic));
        match ask(kit, Command::Move(Move { group, topic, partition: 0, from, to: from + 1 })) {
            Reply::Move(moved) => moved,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(move_on(&mut kit, "orders", 0), Err(Code::GroupIdNotFound));
    assert_eq!(move_on(&mut kit, "retry.g.orders", 0), Ok(Moved::Done));
    assert_eq!(move_on(&mut kit, "orders", 0), Ok(Moved::Elsewhere));
    assert_eq!(move_on(&mut kit, "nothing", 0), Ok(Moved::Elsewhere));
    kit.failover();
    assert_eq!(offsets(&mut kit, "g"), ["retry.g.orders-0=1"]);
}
