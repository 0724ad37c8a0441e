//! What members subscribe to: names, patterns, topics that come, grow and go.

use std::sync::Arc;
use std::time::Duration;

use super::bed::{Bed, Client, partitions};
use crate::coord::group::consumer::{Heartbeat, MemberEpoch};

const PATTERN_REFRESH: Duration = Duration::from_millis(10_001);

#[test]
fn a_changed_subscription_moves_the_member_at_once() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let epoch = one.epoch;
    let to_b = Heartbeat { topics: Some(vec![Arc::from("b")]), ..one.report() };
    let told = bed.send(to_b).unwrap();
    assert_eq!((told.epoch, told.assignment.clone()), (epoch, Some([].into())));
    one.take(&told);
    bed.beat(&mut one).unwrap();
    assert_eq!((one.epoch, one.owned), (epoch + 1, partitions(bed.b, &[0, 1])));
}

#[test]
fn members_with_different_subscriptions_get_what_they_want() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a", "b"]);
    let mut two = bed.join("two", &["b"]);
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!(one.owned, partitions(bed.a, &[0, 1, 2, 3]));
    assert_eq!(two.owned, partitions(bed.b, &[0, 1]));
}

#[test]
fn a_topic_that_comes_later_is_assigned_with_the_next_heartbeat() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["later"]);
    assert_eq!((one.epoch, one.count()), (2, 0));
    bed.kit.cluster.set_topic("unrelated", 1);
    bed.beat(&mut one).unwrap();
    assert_eq!(one.epoch, 2, "a topic that nobody wants moves nothing");
    let later = bed.kit.cluster.set_topic("later", 2);
    bed.beat(&mut one).unwrap();
    assert_eq!((one.epoch, one.owned.clone()), (3, partitions(later, &[0, 1])));
    bed.kit.cluster.set_topic("later", 3);
    bed.beat(&mut one).unwrap();
    assert_eq!(one.owned, partitions(later, &[0, 1, 2]), "it has grown");
}

#[test]
fn a_topic_that_goes_is_taken_away_and_its_name_may_return() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a", "b"]);
    assert_eq!(one.count(), 6);
    bed.kit.cluster.delete_topic("a");
    bed.beat(&mut one).unwrap();
    bed.beat(&mut one).unwrap();
    assert_eq!(one.owned, partitions(bed.b, &[0, 1]));
    let again = bed.kit.cluster.set_topic("a", 1);
    assert_ne!(again, bed.a);
    bed.beat(&mut one).unwrap();
    assert_eq!(one.owned[&again].len(), 1);
}

#[test]
fn a_change_while_the_coordinator_was_away_is_noticed() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    bed.kit.failover();
    let records = bed.kit.log().len();
    bed.beat(&mut one).unwrap();
    assert_eq!(bed.kit.log().len(), records, "nothing has changed");
    bed.kit.cluster.set_topic("a", 5);
    bed.kit.failover();
    bed.beat(&mut one).unwrap();
    assert_eq!(one.count(), 5);
}

#[test]
fn a_pattern_stands_for_the_topics_it_matches() {
    let mut bed = Bed::new();
    let mut one = Client::matching("one", "[ab]");
    bed.rejoin(&mut one).unwrap();
    assert_eq!(one.count(), 6);
    let described = bed.describe();
    assert_eq!(&*described.members[0].regex, "[ab]");
    assert!(described.members[0].topics.is_empty());
}

#[test]
fn patterns_follow_new_topics_every_so_often() {
    let mut bed = Bed::new();
    let mut one = Client::matching("one", "a.*");
    bed.rejoin(&mut one).unwrap();
    let ab = bed.kit.cluster.set_topic("ab", 1);
    bed.beat(&mut one).unwrap();
    assert!(!one.owned.contains_key(&ab), "the last look is too recent");
    bed.kit.pass(PATTERN_REFRESH);
    bed.beat(&mut one).unwrap();
    assert!(one.owned.contains_key(&ab));
    let records = bed.kit.log().len();
    bed.kit.pass(PATTERN_REFRESH);
    bed.beat(&mut one).unwrap();
    assert_eq!(bed.kit.log().len(), records, "the cluster has not changed");
}

#[test]
fn a_pattern_of_a_second_member_waits_for_the_next_look() {
    let mut bed = Bed::new();
    let mut one = Client::matching("one", "a");
    bed.rejoin(&mut one).unwrap();
    let mut two = Client::matching("two", "b");
    bed.rejoin(&mut two).unwrap();
    assert_eq!(two.count(), 0);
    bed.kit.pass(PATTERN_REFRESH);
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!((one.count(), two.count()), (4, 2));
}

#[test]
fn a_pattern_goes_with_the_last_member_that_has_it() {
    let mut bed = Bed::new();
    let mut one = Client::matching("one", "a");
    bed.rejoin(&mut one).unwrap();
    let mut two = Client::matching("two", "a");
    bed.rejoin(&mut two).unwrap();
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!((one.count(), two.count()), (2, 2), "it was resolved already");
    bed.leave(&one, MemberEpoch::Leave).unwrap();
    assert_eq!(bed.group().resolved.len(), 1);
    let by_name = Heartbeat {
        regex: Some(Arc::from("")),
        topics: Some(vec![Arc::from("b")]),
        ..two.report()
    };
    let beat = bed.send(by_name).unwrap();
    two.take(&beat);
    assert_eq!(bed.group().resolved.len(), 0);
    bed.beat(&mut two).unwrap();
    assert_eq!(two.owned, partitions(bed.b, &[0, 1]));
}

#[test]
fn names_and_a_pattern_add_up() {
    let mut bed = Bed::new();
    let mut one = Client::matching("one", "a");
    one.topics = Some(vec![Arc::from("b")]);
    bed.rejoin(&mut one).unwrap();
    assert_eq!(one.count(), 6);
}
