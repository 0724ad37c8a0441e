//! Groups that change their protocol under their members, and members of both in one group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bed::{Bed, Client, GROUP, durable, partitions};
use crate::base::fault::Code;
use crate::coord::group::classic::{
    Command, Heartbeat, Join, JoinRefused, Joined, Leave, Leaver, Protocol, Reply, Sync, Synced,
};
use crate::coord::group::consumer::assignor::Partitions;
use crate::coord::group::consumer::embedded::{self, Named};
use crate::coord::group::consumer::{GroupState, MemberEpoch};
use crate::coord::group::settings::{GroupSettings, Migration};
use crate::coord::group::{self, Kind};

/// A consumer of the classic protocol with a cooperative assignor.
#[derive(Clone)]
struct Old {
    id: String,
    instance: Option<String>,
    generation: i32,
    owned: Named,
}

impl Old {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), instance: None, generation: -1, owned: Vec::new() }
    }

    fn join(&self) -> Join {
        let metadata = embedded::encode_subscription(2, &["a"], &self.owned);
        Join {
            group: GROUP.to_owned(),
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            client_id: "old".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: Arc::from("cooperative-sticky"), metadata }],
            needs_known_id: false,
            can_skip_assignment: false,
        }
    }

    fn leave(&self) -> Leave {
        let member = Leaver { member_id: self.id.clone(), instance_id: self.instance.clone() };
        Leave { group: GROUP.to_owned(), members: vec![member] }
    }

    fn of(&self, topic: &str) -> Vec<i32> {
        let found = self.owned.iter().find(|(name, _)| **name == *topic);
        found.map(|(_, of)| of.clone()).unwrap_or_default()
    }
}

impl Bed {
    fn classic(&mut self, command: Command) -> Reply {
        let reply = self.kit.ask(command);
        self.kit.assert_durable(durable);
        match reply {
            group::Reply::Classic(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn join_old(&mut self, old: &mut Old) -> Result<Joined, JoinRefused> {
        let Reply::Join(joined) = self.classic(Command::Join(Box::new(old.join()))) else {
            panic!("no join")
        };
        if let Ok(joined) = &joined {
            (old.id, old.generation) = (joined.member_id.to_string(), joined.generation);
        }
        joined
    }

    fn sync_old(&mut self, old: &mut Old, assign: &[(&str, &[i32])]) -> Result<Synced, Code> {
        let assignments = assign.iter().map(|(id, of)| {
            let named = vec![(Arc::from("a"), of.to_vec())];
            ((*id).to_owned(), embedded::encode_assignment(2, &named))
        });
        let sync = Sync {
            group: GROUP.to_owned(),
            generation: old.generation,
            member_id: old.id.clone(),
            instance_id: old.instance.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("cooperative-sticky".to_owned()),
            assignments: assignments.collect(),
        };
        let Reply::Sync(synced) = self.classic(Command::Sync(sync)) else { panic!("no sync") };
        if let Ok(synced) = &synced {
            old.owned = embedded::assignment(&synced.assignment).unwrap().partitions;
        }
        synced
    }

    fn beat_old(&mut self, old: &Old) -> Result<(), Code> {
        let beat = Heartbeat {
            group: GROUP.to_owned(),
            generation: old.generation,
            member_id: old.id.clone(),
            instance_id: old.instance.clone(),
            pulse: Arc::default(),
        };
        match self.classic(Command::Heartbeat(beat)) {
            Reply::Heartbeat(beat) => beat,
            other => panic!("{other:?}"),
        }
    }

    fn leave_old(&mut self, old: &Old) -> Option<Code> {
        match self.classic(Command::Leave(old.leave())) {
            Reply::Leave(left) => left.unwrap()[0].1,
            other => panic!("{other:?}"),
        }
    }

    /// A classic group of one member that has all of `a`.
    fn old_group(&mut self) -> Old {
        let mut old = Old::new("");
        let joined = self.kit.send(Command::Join(Box::new(old.join())));
        self.kit.pass(Duration::from_secs(3));
        match self.kit.answer(joined) {
            Some(group::Reply::Classic(Reply::Join(Ok(joined)))) => {
                (old.id, old.generation) = (joined.member_id.to_string(), joined.generation);
            }
            other => panic!("{other:?}"),
        }
        let id = old.id.clone();
        self.sync_old(&mut old, &[(&id, &[0, 1, 2, 3])]).unwrap();
        old
    }

    /// An old member does as a client does: on REBALANCE_IN_PROGRESS it joins and syncs, and where
    /// it had to let go of something, it joins again.
    fn follow(&mut self, old: &mut Old) {
        for _ in 0..5 {
            match self.beat_old(old) {
                Ok(()) => return,
                Err(Code::RebalanceInProgress) => {
                    self.join_old(old).unwrap();
                    self.sync_old(old, &[]).unwrap();
                }
                Err(code) => panic!("{code:?}"),
            }
        }
    }

    fn is_classic(&self) -> bool {
        matches!(self.kit.groups().get(GROUP).unwrap().kind, Kind::Classic(_))
    }
}

fn new_member(id: &str) -> Client {
    let mut client = Client::new(id);
    client.topics = Some(vec![Arc::from("a")]);
    client
}

#[test]
fn the_first_new_member_turns_a_classic_group_into_a_consumer_group() {
    let mut bed = Bed::new();
    let mut old = bed.old_group();
    let mut new = new_member("new");
    let beat = bed.rejoin(&mut new).unwrap();
    assert_eq!((beat.epoch, beat.assignment), (2, Some(Partitions::new())), "all is held");
    let described = bed.describe();
    let [first, second] = &described.members[..] else { panic!("{described:?}") };
    let (was, _) = if first.speaks_classic { (first, second) } else { (second, first) };
    assert_eq!((was.epoch, &was.assigned[0].partitions[..]), (1, &[0, 1, 2, 3][..]));

    bed.follow(&mut old);
    assert_eq!(old.of("a"), [0, 1]);
    bed.beat(&mut new).unwrap();
    assert_eq!(new.owned, partitions(bed.a, &[2, 3]));
    assert_eq!(bed.describe().state, GroupState::Stable);
    assert_eq!(bed.beat_old(&old), Ok(()));
    bed.kit.failover();
    assert_eq!(bed.beat_old(&old), Ok(()), "it has its own session time-out again");
}

#[test]
fn who_waits_in_a_rebalance_is_told_to_join_again() {
    let mut bed = Bed::new();
    let old = bed.old_group();
    let second = bed.kit.send(Command::Join(Box::new(Old::new("").join())));
    assert_eq!(bed.kit.waiting(), 1);
    bed.rejoin(&mut new_member("new")).unwrap();
    match bed.kit.answer(second) {
        Some(group::Reply::Classic(Reply::Join(Err(refused)))) => {
            assert_eq!(refused.code, Code::RebalanceInProgress);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bed.beat_old(&old), Err(Code::RebalanceInProgress));
}

#[test]
fn the_last_new_member_leaves_a_classic_group_behind() {
    let mut bed = Bed::new();
    let mut old = bed.old_group();
    let mut new = new_member("new");
    bed.rejoin(&mut new).unwrap();
    bed.follow(&mut old);
    bed.beat(&mut new).unwrap();
    bed.leave(&new, MemberEpoch::Leave).unwrap();
    assert!(bed.is_classic());
    assert_eq!(bed.beat_old(&old), Err(Code::RebalanceInProgress));
    let joined = bed.join_old(&mut old).unwrap();
    assert_eq!((&*joined.leader, joined.members.len()), (&*old.id, 1), "it leads again");
    let id = old.id.clone();
    bed.sync_old(&mut old, &[(&id, &[0, 1, 2, 3])]).unwrap();
    assert_eq!(bed.beat_old(&old), Ok(()));
    bed.kit.failover();
    assert_eq!(bed.beat_old(&old), Ok(()));
}

#[test]
fn a_session_that_ends_can_be_the_last_of_the_new_protocol() {
    let mut bed = Bed::new();
    let mut old = bed.old_group();
    bed.rejoin(&mut new_member("new")).unwrap();
    for _ in 0..9 {
        bed.kit.pass(Duration::from_secs(5));
        if bed.is_classic() {
            break;
        }
        bed.follow(&mut old);
    }
    assert!(bed.is_classic(), "45 s have passed");
}

#[test]
fn a_rolling_change_of_all_members_moves_each_partition_once() {
    let mut bed = Bed::new();
    let mut one = bed.old_group();
    let mut new = new_member("new");
    bed.rejoin(&mut new).unwrap();
    bed.follow(&mut one);
    bed.beat(&mut new).unwrap();
    assert_eq!(bed.leave_old(&one), None);
    assert_eq!(bed.beat_old(&one), Err(Code::UnknownMemberId));
    bed.beat(&mut new).unwrap();
    assert_eq!(new.count(), 4);
    assert!(!bed.is_classic());
}

#[test]
fn old_members_may_join_a_consumer_group() {
    let mut bed = Bed::new();
    let mut new = new_member("new");
    bed.rejoin(&mut new).unwrap();
    let mut old = Old::new("");
    let joined = bed.join_old(&mut old).unwrap();
    assert_eq!((joined.generation, &*joined.leader), (3, ""));
    bed.sync_old(&mut old, &[]).unwrap();
    assert_eq!(old.of("a"), Vec::<i32>::new());
    assert_eq!(bed.beat_old(&old), Ok(()), "what it waits for is not free");
    bed.beat(&mut new).unwrap();
    bed.beat(&mut new).unwrap();
    assert_eq!(bed.beat_old(&old), Err(Code::RebalanceInProgress), "now it is");
    bed.follow(&mut old);
    assert_eq!(old.of("a"), [2, 3]);

    let stale = Old { generation: 2, ..old.clone() };
    assert_eq!(bed.beat_old(&stale), Err(Code::IllegalGeneration));
    let wrong = Old { id: "new".to_owned(), ..old.clone() };
    assert_eq!(bed.beat_old(&wrong), Err(Code::UnknownMemberId), "it is no classic member");
    let commit = bed.group().check_commit(&old.id, 2, true, &[(bed.a, 0)]);
    assert_eq!(commit, Err(Code::IllegalGeneration));
    assert_eq!(bed.group().check_commit(&old.id, old.generation, false, &[]), Ok(()));
}

#[test]
fn an_old_member_that_needs_an_id_gets_one_first() {
    let mut bed = Bed::new();
    bed.join("new", &["a"]);
    let join = Join { needs_known_id: true, ..Old::new("").join() };
    let Reply::Join(Err(refused)) = bed.classic(Command::Join(Box::new(join))) else { panic!() };
    assert_eq!(refused.code, Code::MemberIdRequired);
    let mut old = Old::new(&refused.member_id);
    assert_eq!(bed.join_old(&mut old).unwrap().member_id, refused.member_id);
}

#[test]
fn an_old_member_has_its_rebalance_time_out_to_join_and_to_sync() {
    for (syncs, refused) in [(true, "join"), (false, "sync")] {
        let mut bed = Bed::new();
        let mut new = new_member("new");
        bed.rejoin(&mut new).unwrap();
        let mut old = Old::new("");
        bed.join_old(&mut old).unwrap();
        if syncs {
            bed.sync_old(&mut old, &[]).unwrap();
            bed.beat(&mut new).unwrap();
            bed.beat(&mut new).unwrap();
        }
        for _ in 0..8 {
            bed.kit.pass(Duration::from_secs(5));
            bed.beat(&mut new).unwrap();
            let _ = bed.beat_old(&old);
        }
        assert_eq!(bed.beat_old(&old), Err(Code::UnknownMemberId), "it did not {refused}");
    }
}

#[test]
fn a_static_member_changes_its_protocol_under_one_instance_id() {
    let mut bed = Bed::new();
    let mut other = bed.join_static("other", "i2").unwrap();
    let mut new = bed.join_static("new", "i1").unwrap();
    bed.settle(&mut [&mut other, &mut new]);
    let had = new.owned.clone();
    let mut old = Old { instance: Some("i1".to_owned()), ..Old::new("") };
    bed.join_old(&mut old).unwrap();
    bed.sync_old(&mut old, &[]).unwrap();
    assert_eq!(partitions(bed.a, &old.of("a")), had, "it took over what the new one had");
    assert_eq!(bed.beat(&mut new), Err(Code::FencedInstanceId));
    let back = bed.join_static("again", "i1").unwrap();
    assert_eq!(back.owned, had, "and back, without an answer from the old one");
    assert_eq!(bed.beat_old(&old), Err(Code::FencedInstanceId));
}

#[test]
fn the_last_static_member_to_go_back_makes_the_group_classic() {
    let mut bed = Bed::new();
    let new = bed.join_static("new", "i1").unwrap();
    assert_eq!(new.count(), 4);
    let mut old = Old { instance: Some("i1".to_owned()), ..Old::new("") };
    bed.join_old(&mut old).unwrap();
    assert!(bed.is_classic());
    assert_eq!(bed.sync_old(&mut old, &[]), Err(Code::RebalanceInProgress));
    bed.join_old(&mut old).unwrap();
    let id = old.id.clone();
    bed.sync_old(&mut old, &[(&id, &[0, 1, 2, 3])]).unwrap();
    assert_eq!(bed.beat_old(&old), Ok(()));
}

#[test]
fn an_empty_group_changes_over_without_a_trace() {
    let mut bed = Bed::new();
    let old = bed.old_group();
    bed.leave_old(&old);
    let mut new = new_member("new");
    assert_eq!(bed.rejoin(&mut new).unwrap().epoch, 2, "it begins anew");
    bed.leave(&new, MemberEpoch::Leave).unwrap();
    let old = bed.old_group();
    assert_eq!(bed.beat_old(&old), Ok(()));
    assert!(bed.is_classic());
}

#[test]
fn the_policy_says_which_way_groups_may_change() {
    let with = |migration| Bed::with(GroupSettings { migration, ..GroupSettings::default() });
    for policy in [Migration::Disabled, Migration::Downgrade] {
        let mut bed = with(policy);
        let old = bed.old_group();
        assert_eq!(bed.rejoin(&mut new_member("new")), Err(Code::GroupIdNotFound));
        assert_eq!(bed.beat_old(&old), Ok(()), "nothing happened to the group");
    }
    let mut bed = with(Migration::Disabled);
    bed.join("new", &["a"]);
    let refused = bed.join_old(&mut Old::new("")).unwrap_err();
    assert_eq!(refused.code, Code::InconsistentGroupProtocol);
    let mut bed = with(Migration::Upgrade);
    bed.old_group();
    let mut new = new_member("new");
    bed.rejoin(&mut new).unwrap();
    bed.leave(&new, MemberEpoch::Leave).unwrap();
    assert!(!bed.is_classic(), "it stays what it is");
}

#[test]
fn groups_that_cannot_change_stay_as_they_are() {
    let foreign = |mut join: Join| {
        join.protocol_type = "connect".to_owned();
        join
    };
    let broken = |mut join: Join| {
        join.protocols[0].metadata = Bytes::from_static(b"?");
        join
    };
    for make in [foreign, broken] as [fn(Join) -> Join; 2] {
        let mut bed = Bed::new();
        bed.kit.send(Command::Join(Box::new(make(Old::new("").join()))));
        bed.kit.pass(Duration::from_secs(3));
        let records = bed.kit.log().len();
        assert_eq!(bed.rejoin(&mut new_member("new")), Err(Code::GroupIdNotFound));
        assert_eq!(bed.kit.log().len(), records);
        assert!(bed.is_classic());
    }
    let mut bed = Bed::new();
    bed.join("new", &["a"]);
    for make in [foreign, broken] as [fn(Join) -> Join; 2] {
        let refused = bed.classic(Command::Join(Box::new(make(Old::new("").join()))));
        let Reply::Join(Err(refused)) = refused else { panic!("{refused:?}") };
        assert_eq!(refused.code, Code::InconsistentGroupProtocol);
    }
}
