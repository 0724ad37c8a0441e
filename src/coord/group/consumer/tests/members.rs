//! Joining, reporting, leaving; who is fenced and why.

use std::sync::Arc;
use std::time::Duration;

use super::bed::{Bed, Client, GROUP, partitions};
use crate::base::fault::Code;
use crate::base::ids::Uuid;
use crate::coord::group::consumer::member::LEFT_FOR_NOW;
use crate::coord::group::consumer::{GroupState, Heartbeat, MemberEpoch};
use crate::coord::group::settings::GroupSettings;

const SESSION: Duration = Duration::from_secs(45);

#[test]
fn the_first_member_gets_everything_in_its_first_answer() {
    let mut bed = Bed::new();
    let mut one = Client::new("one");
    one.topics = Some(vec![Arc::from("a")]);
    let beat = bed.rejoin(&mut one).unwrap();
    assert_eq!((beat.epoch, beat.heartbeat_interval_ms), (2, 5000));
    assert_eq!(beat.assignment, Some(partitions(bed.a, &[0, 1, 2, 3])));
    assert_eq!(bed.describe().state, GroupState::Stable);
}

#[test]
fn a_heartbeat_that_changes_nothing_stores_nothing_and_tells_nothing() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let records = bed.kit.log().len();
    let beat = bed.beat(&mut one).unwrap();
    assert_eq!((beat.assignment, bed.kit.log().len()), (None, records));
    let beat = bed.send(one.full(MemberEpoch::At(one.epoch))).unwrap();
    assert_eq!(beat.assignment, Some(partitions(bed.a, &[0, 1, 2, 3])), "a full request asks");
    assert_eq!(bed.kit.log().len(), records);
}

#[test]
fn a_member_without_an_id_gets_one() {
    let mut bed = Bed::new();
    let mut one = Client::new("");
    one.topics = Some(vec![Arc::from("a")]);
    bed.rejoin(&mut one).unwrap();
    assert_eq!(one.id.len(), 22);
    assert_eq!(bed.beat(&mut one).unwrap().member_id, one.id);
}

#[test]
fn partitions_move_only_after_their_owner_let_go() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    assert_eq!((two.epoch, two.count()), (3, 0), "it is in, and waits");
    assert_eq!(bed.describe().state, GroupState::Reconciling);

    let told = bed.send(one.report()).unwrap();
    assert_eq!((told.epoch, told.assignment.clone()), (2, Some(partitions(bed.a, &[0, 1]))));
    assert_eq!(bed.beat(&mut two).unwrap().assignment, None, "still withheld");
    let unconfirmed = bed.send(one.bare(MemberEpoch::At(2))).unwrap();
    assert_eq!(unconfirmed.epoch, 2, "it does not say that it let go");
    one.take(&told);
    assert_eq!(bed.beat(&mut one).unwrap().epoch, 3);
    let given = bed.beat(&mut two).unwrap();
    assert_eq!(given.assignment, Some(partitions(bed.a, &[2, 3])));
    assert_eq!(bed.describe().state, GroupState::Stable);
}

#[test]
fn what_a_leaver_had_is_free_at_once() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.settle(&mut [&mut one, &mut two]);
    let left = bed.leave(&one, MemberEpoch::Leave).unwrap();
    assert_eq!((left.epoch, left.heartbeat_interval_ms), (-1, 0));
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 4);
    bed.leave(&two, MemberEpoch::Leave).unwrap();
    assert_eq!(bed.describe().state, GroupState::Empty);
    assert_eq!(bed.beat(&mut two), Err(Code::UnknownMemberId));
}

#[test]
fn a_session_ends_without_heartbeats_and_only_then() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    bed.kit.pass(SESSION - Duration::from_millis(1));
    bed.beat(&mut one).unwrap();
    bed.kit.pass(SESSION - Duration::from_millis(1));
    assert_eq!(bed.describe().members.len(), 1);
    bed.kit.pass(Duration::from_millis(1));
    assert_eq!(bed.describe().state, GroupState::Empty);
}

#[test]
fn a_group_may_have_time_outs_of_its_own() {
    let mut bed = Bed::new();
    bed.kit.cluster.set_group_config(GROUP, "consumer.session.timeout.ms", "50000");
    bed.kit.cluster.set_group_config(GROUP, "consumer.heartbeat.interval.ms", "7000");
    let mut one = Client::new("one");
    one.topics = Some(Vec::new());
    assert_eq!(bed.rejoin(&mut one).unwrap().heartbeat_interval_ms, 7000);
    bed.kit.pass(SESSION + Duration::from_secs(4));
    assert_eq!(bed.describe().members.len(), 1);
    bed.kit.pass(Duration::from_secs(1));
    assert_eq!(bed.describe().members.len(), 0);
}

#[test]
fn a_limit_that_was_tightened_later_holds_for_groups_that_are_beyond_it() {
    let mut bed = Bed::new();
    bed.kit.cluster.set_group_config(GROUP, "consumer.heartbeat.interval.ms", "14000");
    let mut one = bed.join("one", &["a"]);
    assert_eq!(bed.beat(&mut one).unwrap().heartbeat_interval_ms, 14_000);
    bed.kit.cluster.set_broker_config("group.consumer.max.heartbeat.interval.ms", "10000");
    assert_eq!(bed.beat(&mut one).unwrap().heartbeat_interval_ms, 10_000);
}

#[test]
fn a_member_has_its_rebalance_time_out_to_let_go() {
    let mut bed = Bed::new();
    let one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.send(one.report()).unwrap();
    for _ in 0..6 {
        bed.kit.pass(Duration::from_secs(9));
        bed.send(one.bare(MemberEpoch::At(one.epoch))).unwrap();
        bed.beat(&mut two).unwrap();
    }
    bed.kit.pass(Duration::from_secs(5));
    assert_eq!(bed.describe().members.len(), 2, "59 s of 60");
    bed.kit.pass(Duration::from_secs(1));
    assert_eq!(bed.beat(&mut one.clone()), Err(Code::UnknownMemberId));
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 4);
}

#[test]
fn clocks_start_anew_after_a_failover() {
    let mut bed = Bed::new();
    let one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.send(one.report()).unwrap();
    bed.kit.pass(Duration::from_secs(44));
    bed.kit.failover();
    bed.kit.pass(Duration::from_secs(40));
    bed.beat(&mut two).expect("its session began anew");
    bed.kit.pass(Duration::from_secs(5));
    assert_eq!(bed.beat(&mut one.clone()), Err(Code::UnknownMemberId));
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 4);
}

#[test]
fn epochs_that_are_not_the_members_own_are_fenced() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!((one.epoch, one.count()), (3, 2));
    let at = |epoch| Client { epoch, ..one.clone() };
    assert_eq!(bed.send(at(4).report()), Err(Code::FencedMemberEpoch));
    assert_eq!(bed.send(at(1).report()), Err(Code::FencedMemberEpoch));
    // The answer that gave it epoch 3 may have been lost.
    assert_eq!(bed.send(at(2).report()).map(|beat| beat.epoch), Ok(3));
    assert_eq!(bed.send(at(2).bare(MemberEpoch::At(2))), Err(Code::FencedMemberEpoch));
    let more = Client { owned: partitions(bed.a, &[0, 1, 2, 3]), ..at(2) };
    assert_eq!(bed.send(more.report()), Err(Code::FencedMemberEpoch));
}

#[test]
fn who_joins_again_keeps_its_place_but_has_let_go() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.send(one.report()).unwrap();
    let beat = bed.rejoin(&mut one).unwrap();
    assert_eq!(beat.epoch, 3, "joining says that it has nothing");
    assert_eq!(one.count(), 2);
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 2);
    assert_eq!(bed.describe().epoch, 3, "nobody's subscription changed");
}

#[test]
fn strangers_are_told_so() {
    let mut bed = Bed::new();
    let stranger = Client { epoch: 5, ..Client::new("stranger") };
    assert_eq!(bed.send(stranger.report()), Err(Code::GroupIdNotFound));
    assert_eq!(bed.leave(&stranger, MemberEpoch::Leave), Err(Code::GroupIdNotFound));
    bed.join("one", &["a"]);
    assert_eq!(bed.send(stranger.report()), Err(Code::UnknownMemberId));
    assert_eq!(bed.leave(&stranger, MemberEpoch::Leave), Err(Code::UnknownMemberId));
    let instance = Client { instance: Some(Arc::from("i")), ..stranger };
    assert_eq!(bed.send(instance.report()), Err(Code::UnknownMemberId));
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut bed = Bed::with(GroupSettings { consumer_max_size: 1, ..GroupSettings::default() });
    let mut one = bed.join("one", &["a"]);
    let mut two = Client::new("two");
    two.topics = Some(Vec::new());
    assert_eq!(bed.rejoin(&mut two), Err(Code::GroupMaxSizeReached));
    bed.rejoin(&mut one).expect("it is in already");
}

#[test]
fn a_static_member_that_left_for_now_is_waited_for() {
    let mut bed = Bed::new();
    let mut one = bed.join_static("one", "i1").unwrap();
    let mut two = bed.join_static("two", "i2").unwrap();
    bed.settle(&mut [&mut one, &mut two]);
    let epoch = bed.describe().epoch;
    assert_eq!(bed.leave(&one, MemberEpoch::LeaveForNow).unwrap().epoch, LEFT_FOR_NOW);
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 2, "nothing moves");

    let mut back = bed.join_static("one-again", "i1").unwrap();
    assert_eq!(back.owned, one.owned);
    assert_eq!(bed.describe().epoch, epoch, "no new assignment");
    assert_eq!(bed.beat(&mut one), Err(Code::FencedInstanceId));
    bed.beat(&mut back).unwrap();

    bed.leave(&back, MemberEpoch::LeaveForNow).unwrap();
    bed.beat(&mut two).unwrap();
    bed.kit.pass(SESSION - Duration::from_secs(1));
    bed.beat(&mut two).unwrap();
    bed.kit.pass(Duration::from_secs(1));
    bed.beat(&mut two).unwrap();
    assert_eq!(two.count(), 4, "it did not come back");
}

#[test]
fn an_instance_id_has_one_holder() {
    let mut bed = Bed::new();
    let one = bed.join_static("one", "i1").unwrap();
    assert_eq!(bed.join_static("two", "i1").map(|_| ()), Err(Code::UnreleasedInstanceId));
    let impostor = Client { id: Arc::from("two"), ..one.clone() };
    assert_eq!(bed.send(impostor.report()), Err(Code::FencedInstanceId));
    assert_eq!(bed.leave(&impostor, MemberEpoch::LeaveForNow), Err(Code::FencedInstanceId));
    bed.leave(&one, MemberEpoch::Leave).unwrap();
    bed.join_static("two", "i1").expect("it is free");
}

#[test]
fn commits_are_good_for_what_the_member_has_had_since() {
    let mut bed = Bed::new();
    let mut one = bed.join("one", &["a"]);
    let mut two = bed.join("two", &["a"]);
    bed.settle(&mut [&mut one, &mut two]);
    let (a, group) = (bed.a, bed.group());
    let commit = |id, epoch, of: &[(Uuid, i32)]| group.check_commit(id, epoch, true, of);
    assert_eq!(commit("one", 3, &[(a, 3)]), Ok(()), "the present epoch is not judged further");
    assert_eq!(commit("one", 2, &[(a, 0), (a, 1)]), Ok(()), "it had these in epoch 2");
    assert_eq!(commit("one", 2, &[(a, 0), (a, 2)]), Err(Code::StaleMemberEpoch));
    assert_eq!(commit("two", 2, &[(a, 2)]), Err(Code::StaleMemberEpoch), "since epoch 3");
    assert_eq!(commit("one", 4, &[(a, 0)]), Err(Code::StaleMemberEpoch));
    assert_eq!(commit("three", 3, &[(a, 0)]), Err(Code::UnknownMemberId));
    assert_eq!(commit("", -1, &[(a, 0)]), Err(Code::UnknownMemberId), "the group has members");
    assert_eq!(group.check_commit("one", 3, false, &[]), Err(Code::UnsupportedVersion));
    assert_eq!(group.check_fetch(None, -1), Ok(()));
    assert_eq!(group.check_fetch(Some("one"), 3), Ok(()));
    assert_eq!(group.check_fetch(Some("one"), 2), Err(Code::StaleMemberEpoch));
    assert_eq!(group.check_fetch(Some("three"), 2), Err(Code::UnknownMemberId));
    bed.leave(&one, MemberEpoch::Leave).unwrap();
    bed.leave(&two, MemberEpoch::Leave).unwrap();
    assert_eq!(bed.group().check_commit("", -1, false, &[(a, 0)]), Ok(()));
}

#[test]
fn a_refused_heartbeat_changes_nothing() {
    let mut bed = Bed::new();
    let one = bed.join("one", &["a"]);
    let records = bed.kit.log().len();
    let bad = Heartbeat { regex: Some(Arc::from("(")), ..one.report() };
    assert_eq!(bed.send(bad), Err(Code::InvalidRegularExpression));
    let mut two = Client::matching("two", "(");
    assert_eq!(bed.rejoin(&mut two), Err(Code::InvalidRegularExpression));
    assert_eq!(bed.kit.log().len(), records);
}
