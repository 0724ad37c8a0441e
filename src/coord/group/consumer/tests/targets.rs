//! When targets are made, by which assignor, and what is stored of a group.

use std::sync::Arc;
use std::time::Duration;

use super::bed::{Bed, Client, GROUP, partitions};
use crate::coord::group::Kind;
use crate::coord::group::consumer::assignor::Assignor;
use crate::coord::group::consumer::{Command, GroupState, MemberEpoch, Reply};
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{self};

#[test]
fn targets_are_made_no_more_often_than_the_interval() {
    let mut bed = Bed::patient(GroupSettings::default());
    let mut one = bed.join("one", &["a"]);
    assert_eq!(one.count(), 4, "the first target is made at once");
    let mut two = bed.join("two", &["a"]);
    assert_eq!(two.epoch, one.epoch, "it joins the target that there is");
    assert_eq!(bed.describe().state, GroupState::Assigning);
    bed.kit.pass(Duration::from_secs(1));
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!((one.count(), two.count()), (2, 2));
}

#[test]
fn who_waits_for_partitions_is_to_come_back_sooner() {
    let mut bed = Bed::patient(GroupSettings::default());
    let mut one = bed.join("one", &["a"]);
    let mut two = Client::new("two");
    two.topics = Some(vec![Arc::from("a")]);
    assert_eq!(bed.rejoin(&mut two).unwrap().heartbeat_interval_ms, 1000, "no target yet");
    bed.kit.pass(Duration::from_secs(1));
    assert_eq!(bed.beat(&mut two).unwrap().heartbeat_interval_ms, 1000, "one has them all");
    assert_eq!(bed.beat(&mut one).unwrap().heartbeat_interval_ms, 5000);
    bed.settle(&mut [&mut one, &mut two]);
    assert_eq!(bed.beat(&mut two).unwrap().heartbeat_interval_ms, 5000);
}

#[test]
fn most_members_choose_the_assignor() {
    let mut bed = Bed::new();
    let mut members: Vec<_> =
        ["m1", "m2", "m3"].iter().map(|id| bed.join(id, &["a", "b"])).collect();
    assert_eq!(bed.describe().assignor, Assignor::Uniform);
    for member in &mut members[..2] {
        let told = bed.send(member.preferring(Assignor::Range)).unwrap();
        member.take(&told);
    }
    assert_eq!(bed.describe().assignor, Assignor::Range);
    bed.kit.cluster.set_topic("a", 6);
    bed.settle(&mut members.iter_mut().collect::<Vec<_>>());
    let expected = [(0, &[0, 1][..], &[0][..]), (1, &[2, 3], &[1]), (2, &[4, 5], &[])];
    for (n, a, b) in expected {
        let mut owned = partitions(bed.a, a);
        if !b.is_empty() {
            owned.extend(partitions(bed.b, b));
        }
        assert_eq!(members[n].owned, owned, "member {n}");
    }
}

#[test]
fn a_description_shows_what_members_have_and_shall_have() {
    let mut bed = Bed::new();
    let one = bed.join("one", &["a"]);
    bed.join("two", &["a"]);
    bed.send(one.report()).unwrap();
    let described = bed.describe();
    assert_eq!((described.epoch, described.assignment_epoch), (3, 3));
    let [first, second] = &described.members[..] else { panic!("{described:?}") };
    assert_eq!((&*first.member_id, first.epoch, first.speaks_classic), ("one", 2, false));
    assert_eq!((&*first.client_id, &*first.client_host), ("client", "/127.0.0.1"));
    assert_eq!(
        (&*first.assigned[0].name, &first.assigned[0].partitions[..]),
        ("a", &[0, 1, 2, 3][..])
    );
    assert_eq!(first.target[0].partitions, [0, 1]);
    assert_eq!((second.assigned.len(), &second.target[0].partitions[..]), (0, &[2, 3][..]));
    match bed.kit.ask(Command::Describe(Arc::from("nobody"))) {
        group::Reply::Consumer(Reply::Describe(Err(fault))) => {
            assert_eq!(fault.kind(), crate::base::fault::Code::GroupIdNotFound);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn deletion_leaves_nothing() {
    let mut bed = Bed::new();
    let one = bed.join("one", &["a", "b"]);
    let all: std::collections::BTreeSet<_> =
        bed.kit.log().iter().map(|record| record.key.clone()).collect();
    bed.leave(&one, MemberEpoch::Leave).unwrap();
    let tombstones = bed.group().tombstones(&Arc::from(GROUP));
    let mut log = bed.kit.log().to_vec();
    log.extend(
        tombstones.into_iter().map(|record| group::record::Record::Consumer(record).encode()),
    );
    for key in all {
        let last = log.iter().rev().find(|record| record.key == key).expect("a record");
        assert_eq!(last.value, None, "{key:?}");
    }
    bed.kit.set_log(log);
    bed.kit.failover();
    let kind = bed.kit.groups().get(GROUP).map(|group| &group.kind);
    assert!(matches!(kind, None | Some(Kind::Simple)));
}
