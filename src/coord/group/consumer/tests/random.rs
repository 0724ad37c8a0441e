//! Random schedules: whatever happens in whatever order, no partition has two owners, epochs
//! rise, and once everybody reports, everybody has its share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::bed::{Bed, Client, durable};
use crate::base::fault::Code;
use crate::base::ids::Uuid;
use crate::coord::group::consumer::assignor::Partitions;
use crate::coord::group::consumer::{GroupState, MemberEpoch};
use crate::coord::group::settings::GroupSettings;

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    /// A report; the answer may be lost, and what is to be let go of may take longer.
    Report {
        client: usize,
        answer_lost: bool,
        slow: bool,
    },
    Leave {
        client: usize,
        for_now: bool,
    },
    /// Other topics: names by bit, pattern or both.
    Subscribe {
        client: usize,
        topics: usize,
    },
    Crash(usize),
    Pass(u64),
    Grow {
        topic: usize,
        partitions: i32,
    },
    Delete(usize),
    Failover,
}

const CLIENTS: usize = 5;
const TOPICS: [&str; 3] = ["a", "b", "ab"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        3 => client.clone().prop_map(Step::Join),
        9 => (client.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(client, answer_lost, slow)| Step::Report { client, answer_lost, slow }),
        1 => (client.clone(), any::<bool>())
            .prop_map(|(client, for_now)| Step::Leave { client, for_now }),
        1 => (client.clone(), 0_usize..16)
            .prop_map(|(client, topics)| Step::Subscribe { client, topics }),
        1 => client.prop_map(Step::Crash),
        2 => (0_u64..30_000).prop_map(Step::Pass),
        1 => (0..TOPICS.len(), 1_i32..6).prop_map(|(topic, partitions)| Step::Grow { topic, partitions }),
        1 => (0..TOPICS.len()).prop_map(Step::Delete),
        1 => Just(Step::Failover),
    ];
    vec(step, 1..60)
}

/// A client that is in the group as far as it knows, with what it reads now.
struct Life {
    client: Client,
    /// What it was told to have; it lets go before it takes.
    told: Option<Partitions>,
    /// An answer did not come: the next report says all and asks for all.
    in_doubt: bool,
}

struct World {
    bed: Bed,
    clients: Vec<Option<Life>>,
    lives: usize,
    group_epoch: i32,
}

impl World {
    fn new(mut bed: Bed) -> Self {
        bed.kit.cluster.set_topic("ab", 3);
        Self { bed, clients: (0..CLIENTS).map(|_| None).collect(), lives: 0, group_epoch: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Join(n) => self.join(*n),
            Step::Report { client, answer_lost, slow } => self.report(*client, *answer_lost, *slow),
            Step::Leave { client, for_now } => self.leave(*client, *for_now),
            Step::Subscribe { client, topics } => self.subscribe(*client, *topics),
            Step::Crash(n) => self.clients[*n] = None,
            Step::Pass(ms) => self.bed.kit.pass(Duration::from_millis(*ms)),
            Step::Grow { topic, partitions } => {
                self.bed.kit.cluster.set_topic(TOPICS[*topic], *partitions);
            }
            Step::Delete(topic) => self.bed.kit.cluster.delete_topic(TOPICS[*topic]),
            Step::Failover => {
                self.bed.kit.failover();
                self.bed.kit.assert_durable(durable);
            }
        }
        self.check();
    }

    fn join(&mut self, n: usize) {
        if self.clients[n].is_some() {
            return;
        }
        self.lives += 1;
        let mut client = Client::new(&format!("client-{n}-life-{}", self.lives));
        client.topics = Some(vec![Arc::from("a"), Arc::from("b")]);
        if n == 0 {
            client.instance = Some(Arc::from("instance"));
        }
        match self.bed.rejoin(&mut client) {
            Ok(_) => self.clients[n] = Some(Life { client, told: None, in_doubt: false }),
            Err(code) => assert_eq!(code, Code::UnreleasedInstanceId),
        }
    }

    fn report(&mut self, n: usize, answer_lost: bool, slow: bool) {
        let Some(life) = &mut self.clients[n] else { return };
        if let Some(told) = life.told.take_if(|_| !slow) {
            life.client.owned = told;
        }
        let before = life.client.epoch;
        let report = if life.in_doubt {
            life.client.full(MemberEpoch::At(before))
        } else {
            life.client.report()
        };
        life.in_doubt = answer_lost;
        match self.bed.send(report) {
            // Until it has heard anew it takes nothing: that may be another's by now.
            Ok(_) if answer_lost => life.told = None,
            Ok(beat) => {
                assert!(beat.epoch >= before, "an epoch fell");
                life.client.epoch = beat.epoch;
                if let Some(told) = beat.assignment {
                    life.client.owned.retain(|topic, of| {
                        // What stays, it goes on reading; what is new, it takes later.
                        of.retain(|p| slow || told.get(topic).is_some_and(|told| told.contains(p)));
                        !of.is_empty()
                    });
                    life.told = Some(told);
                }
            }
            Err(Code::FencedMemberEpoch | Code::UnknownMemberId | Code::FencedInstanceId) => {
                self.clients[n] = None;
            }
            Err(code) => panic!("{code:?}"),
        }
    }

    fn leave(&mut self, n: usize, for_now: bool) {
        let Some(life) = self.clients[n].take() else { return };
        let for_now = for_now && life.client.instance.is_some();
        let epoch = if for_now { MemberEpoch::LeaveForNow } else { MemberEpoch::Leave };
        // It may be out already: then it is told so.
        let _ = self.bed.leave(&life.client, epoch);
    }

    fn subscribe(&mut self, n: usize, topics: usize) {
        let Some(life) = &mut self.clients[n] else { return };
        let names = TOPICS.iter().enumerate().filter(|(bit, _)| topics & (1 << bit) != 0);
        life.client.topics = Some(names.map(|(_, name)| Arc::from(*name)).collect());
        life.client.regex = Some(Arc::from(if topics & 8 == 0 { "" } else { "a.*" }));
        let mut full = life.client.full(MemberEpoch::At(life.client.epoch));
        full.owned = Some(life.client.owned.clone());
        match self.bed.send(full) {
            Ok(beat) => {
                life.client.epoch = beat.epoch;
                life.told = beat.assignment;
            }
            Err(_) => self.clients[n] = None,
        }
    }

    /// What those read who are members, by the broker's own word: each partition at most once. The
    /// broker's side of it is checked by the machine after every step.
    fn check(&mut self) {
        let mut readers: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
        let Some(group) = self.bed.kit.groups().get(super::bed::GROUP) else { return };
        let crate::coord::group::Kind::Consumer(group) = &group.kind else { return };
        assert!(group.epoch.epoch >= self.group_epoch, "the group's epoch fell");
        self.group_epoch = group.epoch.epoch;
        for (n, life) in self.clients.iter().enumerate() {
            let Some(life) = life else { continue };
            if !group.members.contains_key(&life.client.id) {
                continue;
            }
            for (topic, of) in &life.client.owned {
                for partition in of {
                    let other = readers.insert((*topic, *partition), n);
                    assert_eq!(other, None, "{topic}-{partition} is read by {n} too");
                }
            }
        }
    }

    /// Time for all to hear of all, then everybody has what its target says and that is balanced.
    fn converge(&mut self) {
        for _ in 0..40 {
            self.bed.kit.pass(Duration::from_secs(3));
            (0..CLIENTS).for_each(|n| self.report(n, false, false));
            self.check();
        }
        let live = self.clients.iter().flatten().count();
        if live == 0 {
            return;
        }
        let described = self.bed.describe();
        assert_eq!(described.state, GroupState::Stable, "{described:#?}");
        assert_eq!(described.members.len(), live, "those that crashed are out");
        for member in &described.members {
            assert_eq!(member.assigned, member.target, "{}", member.member_id);
        }
        let assigned: usize =
            described.members.iter().flat_map(|m| &m.assigned).map(|t| t.partitions.len()).sum();
        let read: usize = self.clients.iter().flatten().map(|life| life.client.count()).sum();
        assert_eq!(assigned, read, "what is assigned is read");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn no_schedule_gives_a_partition_to_two(steps in steps(), wait in any::<bool>()) {
        let bed = if wait { Bed::patient } else { Bed::with };
        let mut world = World::new(bed(GroupSettings::default()));
        steps.iter().for_each(|step| world.take(step));
        world.converge();
    }
}
