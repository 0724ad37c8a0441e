//! Random schedules of members of both protocols in one group, which changes over and back: no
//! partition has two readers, and once everybody reports, the group is stable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::bed::{Bed, Client, GROUP};
use crate::base::fault::Code;
use crate::coord::group::classic::{
    Command, Heartbeat, Join, Leave, Leaver, Protocol, Reply, State, Sync,
};
use crate::coord::group::consumer::embedded;
use crate::coord::group::consumer::{GroupState, MemberEpoch};
use crate::coord::group::{self, Kind};
use crate::coord::machine::Caller;

const OLD: usize = 3;
const NEW: usize = 2;
const PARTITIONS: i32 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// An old member does what comes next for it: join, sync, heartbeat.
    Old(usize),
    OldLeaves(usize),
    New(usize),
    NewLeaves(usize),
    Pass(u64),
    Failover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..OLD).prop_map(Step::Old),
        1 => (0..OLD).prop_map(Step::OldLeaves),
        6 => (0..NEW).prop_map(Step::New),
        2 => (0..NEW).prop_map(Step::NewLeaves),
        3 => (0_u64..6_000).prop_map(Step::Pass),
        1 => Just(Step::Failover),
    ];
    vec(step, 1..80)
}

/// A consumer of the classic protocol that lets go of everything before it joins.
struct Old {
    id: String,
    generation: i32,
    reads: Vec<i32>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Out,
    Joining(Caller),
    Syncing(Caller),
    In,
}

struct World {
    bed: Bed,
    old: Vec<Old>,
    new: Vec<Option<Client>>,
    lives: usize,
}

impl World {
    fn new() -> Self {
        let old = || Old { id: String::new(), generation: 0, reads: Vec::new(), phase: Phase::Out };
        let old = (0..OLD).map(|_| old()).collect();
        Self { bed: Bed::new(), old, new: vec![None; NEW], lives: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Old(n) => self.old_acts(*n),
            Step::OldLeaves(n) => self.old_leaves(*n),
            Step::New(n) => self.new_acts(*n),
            Step::NewLeaves(n) => {
                if let Some(client) = self.new[*n].take() {
                    let _ = self.bed.leave(&client, MemberEpoch::Leave);
                }
            }
            Step::Pass(ms) => self.bed.kit.pass(Duration::from_millis(*ms)),
            Step::Failover => {
                self.bed.kit.failover();
                // Whoever waited was told by the host that the coordinator moved.
                for old in &mut self.old {
                    if matches!(old.phase, Phase::Joining(_) | Phase::Syncing(_)) {
                        old.phase = Phase::Out;
                    }
                }
            }
        }
        self.check();
    }

    fn old_acts(&mut self, n: usize) {
        match self.old[n].phase {
            Phase::Out => self.join(n),
            Phase::Joining(caller) => match self.bed.kit.answer(caller) {
                None => {}
                Some(group::Reply::Classic(Reply::Join(Ok(joined)))) => {
                    self.old[n].id = joined.member_id.to_string();
                    self.old[n].generation = joined.generation;
                    let leads = *joined.leader == *self.old[n].id;
                    let ids = joined.members.iter().map(|m| m.member_id.to_string());
                    let assigned = if leads { share_out(ids.collect()) } else { Vec::new() };
                    self.sync(n, assigned);
                }
                Some(group::Reply::Classic(Reply::Join(Err(refused)))) => {
                    self.out(n, refused.code);
                }
                other => panic!("{other:?}"),
            },
            Phase::Syncing(caller) => match self.bed.kit.answer(caller) {
                None => {}
                Some(group::Reply::Classic(Reply::Sync(Ok(synced)))) => {
                    let assignment = embedded::assignment(&synced.assignment).unwrap();
                    let reads = assignment.partitions.into_iter().flat_map(|(_, of)| of);
                    self.old[n].reads = reads.collect();
                    self.old[n].phase = Phase::In;
                }
                Some(group::Reply::Classic(Reply::Sync(Err(code)))) => self.out(n, code),
                other => panic!("{other:?}"),
            },
            Phase::In => self.beat(n),
        }
    }

    /// It lets go of all and joins again, as a new member if it is none any more.
    fn out(&mut self, n: usize, code: Code) {
        let old = &mut self.old[n];
        old.reads.clear();
        old.phase = Phase::Out;
        match code {
            Code::RebalanceInProgress => {}
            Code::UnknownMemberId | Code::IllegalGeneration => old.id.clear(),
            code => panic!("{code:?}"),
        }
    }

    fn join(&mut self, n: usize) {
        let metadata = embedded::encode_subscription(1, &["a"], &Vec::new());
        let join = Join {
            group: GROUP.to_owned(),
            member_id: self.old[n].id.clone(),
            instance_id: None,
            client_id: format!("old-{n}"),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(10),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: Arc::from("range"), metadata }],
            needs_known_id: false,
            can_skip_assignment: false,
        };
        let caller = self.bed.kit.send(Command::Join(Box::new(join)));
        self.old[n].phase = Phase::Joining(caller);
    }

    fn sync(&mut self, n: usize, assigned: Vec<(String, Vec<i32>)>) {
        let assignments = assigned
            .into_iter()
            .map(|(id, of)| (id, embedded::encode_assignment(1, &vec![(Arc::from("a"), of)])));
        let old = &self.old[n];
        let sync = Sync {
            group: GROUP.to_owned(),
            generation: old.generation,
            member_id: old.id.clone(),
            instance_id: None,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        let caller = self.bed.kit.send(Command::Sync(sync));
        self.old[n].phase = Phase::Syncing(caller);
    }

    fn beat(&mut self, n: usize) {
        let old = &self.old[n];
        let beat = Heartbeat {
            group: GROUP.to_owned(),
            generation: old.generation,
            member_id: old.id.clone(),
            instance_id: None,
            pulse: Arc::default(),
        };
        match self.bed.kit.ask(Command::Heartbeat(beat)) {
            group::Reply::Classic(Reply::Heartbeat(Ok(()))) => {}
            group::Reply::Classic(Reply::Heartbeat(Err(code))) => self.out(n, code),
            other => panic!("{other:?}"),
        }
    }

    fn old_leaves(&mut self, n: usize) {
        let old = &mut self.old[n];
        if old.phase != Phase::In {
            return;
        }
        let member = Leaver { member_id: std::mem::take(&mut old.id), instance_id: None };
        old.reads.clear();
        old.phase = Phase::Out;
        self.bed.kit.ask(Command::Leave(Leave { group: GROUP.to_owned(), members: vec![member] }));
    }

    fn new_acts(&mut self, n: usize) {
        let Some(mut client) = self.new[n].take() else {
            self.lives += 1;
            let mut client = Client::new(&format!("new-{n}-life-{}", self.lives));
            client.topics = Some(vec![Arc::from("a")]);
            self.bed.rejoin(&mut client).expect("nothing is against it");
            self.new[n] = Some(client);
            return;
        };
        match self.bed.beat(&mut client) {
            Ok(_) => self.new[n] = Some(client),
            Err(Code::UnknownMemberId | Code::GroupIdNotFound) => {}
            Err(code) => panic!("{code:?}"),
        }
    }

    /// Each partition is read by one at most of those who are members by the broker's own word.
    fn check(&self) {
        let Some(group) = self.bed.kit.groups().get(GROUP) else { return };
        let is_member = |id: &str| match &group.kind {
            Kind::Consumer(consumer) => consumer.members.contains_key(id),
            Kind::Classic(classic) => classic.member(id).is_some(),
            Kind::Simple => false,
        };
        let old = self.old.iter().map(|old| (&*old.id, old.reads.clone()));
        let new = self
            .new
            .iter()
            .flatten()
            .map(|new| (&*new.id, new.owned.values().flatten().copied().collect::<Vec<_>>()));
        let mut readers = BTreeMap::new();
        for (id, reads) in old.chain(new).filter(|(id, _)| is_member(id)) {
            for partition in reads {
                let other = readers.insert(partition, id.to_owned());
                assert_eq!(other, None, "{partition} is read by {id} too");
            }
        }
    }

    fn converge(&mut self) {
        let present: Vec<bool> = self.new.iter().map(Option::is_some).collect();
        for _ in 0..60 {
            self.bed.kit.pass(Duration::from_secs(1));
            for n in 0..OLD {
                self.old_acts(n);
                self.check();
            }
            for n in (0..NEW).filter(|n| present[*n]) {
                self.new_acts(n);
                self.check();
            }
        }
        assert!(self.old.iter().all(|old| old.phase == Phase::In), "all are in");
        match &self.bed.kit.groups().get(GROUP).unwrap().kind {
            Kind::Classic(classic) => {
                assert!(!present.contains(&true), "members of the new protocol are in");
                assert_eq!(classic.state(), State::Stable);
            }
            Kind::Consumer(consumer) => assert_eq!(consumer.state(), GroupState::Stable),
            Kind::Simple => panic!("a group without members"),
        }
        let old = self.old.iter().map(|old| old.reads.len());
        let new = self.new.iter().flatten().map(Client::count);
        let read: usize = old.chain(new).sum();
        assert_eq!(read, usize::try_from(PARTITIONS).unwrap(), "everything is read");
    }
}

/// What the leader of a classic group does: the n-th partition goes to the n-th member.
fn share_out(mut ids: Vec<String>) -> Vec<(String, Vec<i32>)> {
    ids.sort();
    let members = ids.len();
    let shares = ids.into_iter().enumerate().map(|(n, id)| {
        let of = (0..PARTITIONS).filter(|p| usize::try_from(*p).unwrap() % members == n);
        (id, of.collect())
    });
    shares.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn no_change_of_protocol_gives_a_partition_to_two(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        world.converge();
    }
}
