//! How a member moves from what it has to its target, one step per heartbeat (KIP-848).
//!
//! A member first lets go of what its target does not hold and stays in its epoch until it has;
//! then it enters the target's epoch and gets what is free. What another member still holds it
//! gets later, when that one has let go or is out of the group: so no partition ever has two
//! owners. This file is the whole of that rule, as a pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::Partitions;
use super::member::{Current, Owned, State};
use crate::base::ids::Uuid;

/// What a step depends on besides the member's own state.
pub struct Goal<'a> {
    pub target_epoch: i32,
    pub target: &'a Partitions,
    /// Whether the member wants this topic now; the target may be older than its subscription.
    pub wants: &'a dyn Fn(Uuid) -> bool,
    /// Whether another member holds this partition.
    pub held_by_other: &'a dyn Fn(Uuid, i32) -> bool,
    /// What the member says it has; `None` if this heartbeat does not say.
    pub owned: Option<&'a Partitions>,
    /// Its subscription changed in this heartbeat.
    pub subscription_changed: bool,
}

/// Why there is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MustRejoin;

/// The member's next state, which may be the present one.
///
/// # Errors
/// A newer broker left it in a state that is unknown here: it must come again without partitions.
pub fn next(current: &Current, goal: &Goal<'_>) -> Result<Current, MustRejoin> {
    match current.state {
        State::Stable if current.epoch != goal.target_epoch => Ok(advance(current, goal)),
        State::UnreleasedPartitions => Ok(advance(current, goal)),
        State::UnrevokedPartitions if !still_owns(goal, &current.revoking) => {
            Ok(advance(current, goal))
        }
        State::Stable | State::UnrevokedPartitions if goal.subscription_changed => {
            Ok(drop_unwanted(current, goal))
        }
        State::Stable | State::UnrevokedPartitions => Ok(current.clone()),
        State::Unknown if goal.owned.is_some_and(BTreeMap::is_empty) => {
            Ok(advance(&Current { epoch: goal.target_epoch, ..current.clone() }, goal))
        }
        State::Unknown => Err(MustRejoin),
    }
}

/// A member that does not say what it has, has what it was told to let go of.
fn still_owns(goal: &Goal<'_>, revoking: &Owned) -> bool {
    let Some(owned) = goal.owned else { return true };
    revoking.iter().any(|(topic, revoking)| {
        owned.get(topic).is_some_and(|of| of.iter().any(|p| revoking.contains_key(p)))
    })
}

/// Takes away topics that the member no longer wants, ahead of its next target.
fn drop_unwanted(current: &Current, goal: &Goal<'_>) -> Current {
    let (assigned, unwanted): (Owned, Owned) =
        current.assigned.clone().into_iter().partition(|(topic, _)| (goal.wants)(*topic));
    if unwanted.is_empty() {
        return current.clone();
    }
    let mut revoking = current.revoking.clone();
    for (topic, of) in unwanted {
        revoking.entry(topic).or_default().extend(of);
    }
    if still_owns(goal, &revoking) {
        return Current {
            state: State::UnrevokedPartitions,
            previous_epoch: current.epoch,
            assigned,
            revoking,
            ..current.clone()
        };
    }
    Current { previous_epoch: current.epoch, assigned, ..current.clone() }
}

/// Towards the target as far as it goes now.
fn advance(current: &Current, goal: &Goal<'_>) -> Current {
    let target = |topic: &Uuid| goal.target.get(topic).filter(|_| (goal.wants)(*topic));
    let mut assigned = Owned::new();
    let mut revoking = Owned::new();
    for (topic, of) in &current.assigned {
        let target = target(topic);
        for (partition, epoch) in of {
            let stays = target.is_some_and(|target| target.contains(partition));
            let side = if stays { &mut assigned } else { &mut revoking };
            side.entry(*topic).or_default().insert(*partition, *epoch);
        }
    }
    if !revoking.is_empty() && still_owns(goal, &revoking) {
        return Current {
            epoch: current.epoch,
            previous_epoch: current.epoch,
            state: State::UnrevokedPartitions,
            assigned,
            revoking,
        };
    }

    let mut waits = false;
    let none = BTreeSet::new();
    for topic in goal.target.keys() {
        for partition in target(topic).unwrap_or(&none) {
            if assigned.get(topic).is_some_and(|of| of.contains_key(partition)) {
                continue;
            }
            if (goal.held_by_other)(*topic, *partition) {
                waits = true;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, goal.target_epoch);
            }
        }
    }
    Current {
        epoch: goal.target_epoch,
        previous_epoch: current.epoch,
        state: if waits { State::UnreleasedPartitions } else { State::Stable },
        assigned,
        revoking: Owned::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coord::group::consumer::member::since;

    const TOPIC: Uuid = Uuid::from_u128(7);

    fn partitions(of: &[i32]) -> Partitions {
        let of: BTreeSet<i32> = of.iter().copied().collect();
        if of.is_empty() { Partitions::new() } else { Partitions::from([(TOPIC, of)]) }
    }

    fn current(state: State, epoch: i32, assigned: &[i32], revoking: &[i32]) -> Current {
        Current {
            epoch,
            previous_epoch: epoch - 1,
            state,
            assigned: since(&partitions(assigned), epoch),
            revoking: since(&partitions(revoking), epoch),
        }
    }

    /// State, epoch, assigned and revoking partitions after a step towards epoch 9.
    fn step(
        current: &Current,
        target: &[i32],
        held: &[i32],
        owned: Option<&[i32]>,
    ) -> (State, i32, Vec<i32>, Vec<i32>) {
        let owned = owned.map(partitions);
        let goal = Goal {
            target_epoch: 9,
            target: &partitions(target),
            wants: &|_| true,
            held_by_other: &|_, partition| held.contains(&partition),
            owned: owned.as_ref(),
            subscription_changed: false,
        };
        let next = next(current, &goal).expect("a known state");
        let list = |owned: &Owned| owned.values().flat_map(|of| of.keys().copied()).collect();
        (next.state, next.epoch, list(&next.assigned), list(&next.revoking))
    }

    #[test]
    fn a_stable_member_at_the_target_stays() {
        let at = current(State::Stable, 9, &[1, 2], &[]);
        assert_eq!(step(&at, &[5], &[], Some(&[])), (State::Stable, 9, vec![1, 2], vec![]));
    }

    #[test]
    fn what_the_target_lacks_is_let_go_of_in_the_old_epoch_first() {
        let at = current(State::Stable, 8, &[1, 2], &[]);
        let revoking = (State::UnrevokedPartitions, 8, vec![2], vec![1]);
        assert_eq!(step(&at, &[2, 3], &[], None), revoking);
        assert_eq!(step(&at, &[2, 3], &[], Some(&[1, 2])), revoking);
        let lost_it_already = (State::Stable, 9, vec![2, 3], vec![]);
        assert_eq!(step(&at, &[2, 3], &[], Some(&[2])), lost_it_already);
    }

    #[test]
    fn only_a_heartbeat_without_them_confirms_the_revocation() {
        let at = current(State::UnrevokedPartitions, 8, &[2], &[1]);
        let waits = (State::UnrevokedPartitions, 8, vec![2], vec![1]);
        assert_eq!(step(&at, &[2, 3], &[], None), waits);
        assert_eq!(step(&at, &[2, 3], &[], Some(&[1, 2])), waits);
        assert_eq!(step(&at, &[2, 3], &[], Some(&[2])), (State::Stable, 9, vec![2, 3], vec![]));
    }

    #[test]
    fn what_others_hold_is_withheld_until_it_is_free() {
        let at = current(State::Stable, 8, &[2], &[]);
        let waits = (State::UnreleasedPartitions, 9, vec![2, 4], vec![]);
        assert_eq!(step(&at, &[2, 3, 4], &[3], Some(&[2])), waits);
        let at = current(State::UnreleasedPartitions, 9, &[2, 4], &[]);
        assert_eq!(step(&at, &[2, 3, 4], &[3], None), waits);
        assert_eq!(step(&at, &[2, 3, 4], &[], None), (State::Stable, 9, vec![2, 3, 4], vec![]));
    }

    #[test]
    fn a_member_that_waits_goes_after_a_newer_target_too() {
        let at = current(State::UnreleasedPartitions, 8, &[2, 4], &[]);
        let revoking = (State::UnrevokedPartitions, 8, vec![4], vec![2]);
        assert_eq!(step(&at, &[4], &[], None), revoking);
    }

    #[test]
    fn partitions_keep_the_epoch_at_which_they_were_assigned() {
        let at = current(State::Stable, 8, &[1], &[]);
        let goal = Goal {
            target_epoch: 9,
            target: &partitions(&[1, 2]),
            wants: &|_| true,
            held_by_other: &|_, _| false,
            owned: None,
            subscription_changed: false,
        };
        let next = next(&at, &goal).expect("a known state");
        assert_eq!(next.assigned[&TOPIC], BTreeMap::from([(1, 8), (2, 9)]));
        assert_eq!(next.previous_epoch, 8);
    }

    #[test]
    fn topics_that_are_no_longer_wanted_go_at_once() {
        let nothing = Partitions::new();
        let goal = |owned| Goal {
            target_epoch: 8,
            target: &nothing,
            wants: &|_| false,
            held_by_other: &|_, _| false,
            owned,
            subscription_changed: true,
        };
        let at = current(State::Stable, 8, &[1], &[]);
        let told = next(&at, &goal(None)).expect("a known state");
        assert_eq!((told.state, told.epoch), (State::UnrevokedPartitions, 8));
        assert_eq!((told.assigned.len(), told.revoking.len()), (0, 1));
        let gone = next(&at, &goal(Some(&nothing))).expect("a known state");
        assert_eq!((gone.state, gone.assigned.len()), (State::Stable, 0));
    }

    #[test]
    fn a_state_of_a_newer_broker_begins_anew_without_partitions() {
        let at = current(State::Unknown, 8, &[1], &[]);
        let nothing = Partitions::new();
        let goal = |owned| Goal {
            target_epoch: 9,
            target: &nothing,
            wants: &|_| true,
            held_by_other: &|_, _| false,
            owned,
            subscription_changed: false,
        };
        assert_eq!(next(&at, &goal(None)), Err(MustRejoin));
        let next = next(&at, &goal(Some(&nothing))).expect("it has nothing");
        assert_eq!((next.state, next.epoch), (State::Stable, 9));
    }
}
