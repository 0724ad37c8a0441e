//! What every assignment must be, over random groups and what they had before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::{Assignor, Partitions, Subscriber, Subscribers, assign, give};
use crate::base::ids::Uuid;

/// Members' subscriptions, and sizes of topics.
#[derive(Clone, Debug)]
struct Group {
    wants: Vec<BTreeSet<usize>>,
    sizes: Vec<i32>,
}

const fn topic(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

impl Group {
    fn assign(&self, assignor: Assignor, current: &[Partitions]) -> Vec<Partitions> {
        let ids: Vec<String> = (0..self.wants.len()).map(|n| format!("member-{n:03}")).collect();
        let members = self.wants.iter().enumerate().map(|(n, wants)| Subscriber {
            id: &ids[n],
            instance_id: None,
            topics: Arc::new(wants.iter().map(|t| topic(*t)).collect()),
            current: &current[n],
        });
        let sizes = self.sizes.iter().enumerate();
        let subscribers = Subscribers {
            members: members.collect(),
            partitions: sizes.map(|(n, size)| (topic(n), *size)).collect(),
        };
        assign(assignor, &subscribers)
    }

    fn assign_anew(&self, assignor: Assignor) -> Vec<Partitions> {
        self.assign(assignor, &vec![Partitions::new(); self.wants.len()])
    }

    /// Every partition that anyone wants has one owner, who wants it; nothing else is assigned.
    fn check(&self, assigned: &[Partitions]) {
        let mut owners = BTreeMap::new();
        for (n, partitions) in assigned.iter().enumerate() {
            for (id, partitions) in partitions {
                assert!(!partitions.is_empty());
                assert!(self.wants[n].iter().any(|t| topic(*t) == *id), "{n} did not want {id}");
                for partition in partitions {
                    assert_eq!(owners.insert((*id, *partition), n), None, "two owners");
                }
            }
        }
        let wanted: BTreeSet<usize> = self.wants.iter().flatten().copied().collect();
        let all = wanted.iter().flat_map(|t| (0..self.sizes[*t]).map(|p| (topic(*t), p)));
        assert_eq!(owners.keys().copied().collect::<Vec<_>>(), all.collect::<Vec<_>>());
    }
}

fn counts(assigned: &[Partitions]) -> Vec<usize> {
    assigned.iter().map(|topics| topics.values().map(BTreeSet::len).sum()).collect()
}

fn spread(assigned: &[Partitions]) -> usize {
    let counts = counts(assigned);
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
}

fn moved(before: &[Partitions], after: &[Partitions]) -> usize {
    let stayed = |(before, after): (&Partitions, &Partitions)| {
        let topics = before.iter().map(|(topic, partitions)| {
            after.get(topic).map_or(0, |now| now.intersection(partitions).count())
        });
        topics.sum::<usize>()
    };
    counts(before).iter().sum::<usize>() - before.iter().zip(after).map(stayed).sum::<usize>()
}

fn groups() -> impl Strategy<Value = Group> {
    (1_usize..5, 1_usize..9).prop_flat_map(|(topics, members)| {
        (vec(btree_set(0..topics, 0..=topics), members), vec(0_i32..9, topics))
            .prop_map(|(wants, sizes)| Group { wants, sizes })
    })
}

fn alike() -> impl Strategy<Value = Group> {
    (groups(), any::<prop::sample::Index>()).prop_map(|(mut group, like)| {
        let wants = group.wants[like.index(group.wants.len())].clone();
        group.wants.fill(wants);
        group
    })
}

/// A group and what its members had before, which may lie outside what they want and what exists.
fn with_past(
    groups: impl Strategy<Value = Group>,
) -> impl Strategy<Value = (Group, Vec<Partitions>)> {
    groups.prop_flat_map(|group| {
        let members = group.wants.len();
        let owners = vec(prop::option::of(0..members), 5 * 10);
        (Just(group), owners).prop_map(move |(group, owners)| {
            let mut current = vec![Partitions::new(); members];
            for (n, owner) in owners.into_iter().enumerate() {
                if let Some(owner) = owner {
                    give(&mut current[owner], (topic(n / 10), i32::try_from(n % 10).unwrap()));
                }
            }
            (group, current)
        })
    })
}

proptest! {
    #[test]
    fn all_is_assigned_once_to_those_who_want_it(
        (group, current) in with_past(groups()),
        assignor in prop_oneof![Just(Assignor::Uniform), Just(Assignor::Range)],
    ) {
        group.check(&group.assign(assignor, &current));
    }

    #[test]
    fn uniform_is_balanced_within_one_where_all_want_the_same((group, current) in with_past(alike())) {
        let assigned = group.assign(Assignor::Uniform, &current);
        group.check(&assigned);
        prop_assert!(spread(&assigned) <= 1, "{assigned:?}");
    }

    #[test]
    fn no_single_move_would_even_out_two_members((group, current) in with_past(groups())) {
        let assigned = group.assign(Assignor::Uniform, &current);
        let counts = counts(&assigned);
        for (from, topics) in assigned.iter().enumerate() {
            for (to, wants) in group.wants.iter().enumerate() {
                let could = wants.iter().any(|t| topics.contains_key(&topic(*t)));
                prop_assert!(!could || counts[from] <= counts[to] + 1, "{from} to {to}: {counts:?}");
            }
        }
    }

    #[test]
    fn what_is_assigned_already_stays((group, current) in with_past(groups())) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let once = group.assign(assignor, &current);
            prop_assert_eq!(&group.assign(assignor, &once), &once);
        }
    }

    #[test]
    fn a_new_member_takes_no_more_than_its_share((group, current) in with_past(alike())) {
        let before = group.assign(Assignor::Uniform, &current);
        let mut larger = group;
        larger.wants.push(larger.wants[0].clone());
        let mut past = before;
        past.push(Partitions::new());
        let after = larger.assign(Assignor::Uniform, &past);
        larger.check(&after);
        prop_assert_eq!(moved(&past, &after), counts(&after)[after.len() - 1]);
    }

    #[test]
    fn what_a_leaver_had_is_all_that_moves((group, current) in with_past(alike())) {
        let mut before = group.assign(Assignor::Uniform, &current);
        let mut smaller = group;
        if smaller.wants.len() > 1 {
            smaller.wants.pop();
            before.pop();
            let after = smaller.assign(Assignor::Uniform, &before);
            smaller.check(&after);
            prop_assert_eq!(moved(&before, &after), 0);
        }
    }

    #[test]
    fn range_cuts_topics_of_one_size_alike(members in 1_usize..7, size in 0_i32..20) {
        let group = Group { wants: vec![BTreeSet::from([0, 1]); members], sizes: vec![size; 2] };
        let assigned = group.assign_anew(Assignor::Range);
        group.check(&assigned);
        for partitions in &assigned {
            prop_assert_eq!(partitions.get(&topic(0)), partitions.get(&topic(1)));
            let Some(stretch) = partitions.get(&topic(0)) else { continue };
            let (first, last) = (stretch.first().unwrap(), stretch.last().unwrap());
            prop_assert_eq!(usize::try_from(last - first + 1).unwrap(), stretch.len());
        }
    }
}

/// The example of Kafka's documentation of `range`: 3 partitions each, the extra to the first.
#[test]
fn range_gives_the_extra_partitions_to_the_first_members() {
    let group = Group { wants: vec![BTreeSet::from([0, 1]); 2], sizes: vec![3, 3] };
    let assigned = group.assign_anew(Assignor::Range);
    let both = |partitions: &[i32]| -> Partitions {
        [topic(0), topic(1)].map(|t| (t, partitions.iter().copied().collect())).into()
    };
    assert_eq!(assigned, [both(&[0, 1]), both(&[2])]);
}

#[test]
fn range_places_static_members_first_by_instance() {
    let topics = Arc::new(BTreeSet::from([topic(0)]));
    let nothing = Partitions::new();
    let member = |id, instance_id| Subscriber {
        id,
        instance_id,
        topics: Arc::clone(&topics),
        current: &nothing,
    };
    let subscribers = Subscribers {
        members: vec![member("a", None), member("b", Some("i2")), member("c", Some("i1"))],
        partitions: BTreeMap::from([(topic(0), 3)]),
    };
    let assigned = assign(Assignor::Range, &subscribers);
    let firsts: Vec<i32> = assigned.iter().map(|p| *p[&topic(0)].first().unwrap()).collect();
    assert_eq!(firsts, [2, 1, 0]);
}

#[test]
fn a_thousand_uneven_members_are_shared_out() {
    let wants = (0..1000).map(|n| BTreeSet::from([n % 10, (n + 3) % 10])).collect();
    let group = Group { wants, sizes: vec![300; 10] };
    let assigned = group.assign_anew(Assignor::Uniform);
    group.check(&assigned);
    assert!(spread(&assigned) <= 2, "{:?}", counts(&assigned));
}
