//! Heartbeats that the member's own connection answers.

use super::*;

/// A stable group of two, and the pulses of their first heartbeats.
fn beating(kit: &mut Kit) -> Vec<(Joined, Arc<Pulse>)> {
    let members = stable(kit, vec![old_joining(), old_joining()]);
    let beat = |member: Joined| {
        let pulse = Arc::default();
        assert_eq!(heartbeat_with(kit, &member, &pulse), Ok(()));
        (member, pulse)
    };
    members.into_iter().map(beat).collect()
}

#[test]
fn a_pulse_keeps_its_member_and_a_silent_one_goes_in_time() {
    let mut kit = kit();
    let members = beating(&mut kit);
    for _ in 0..5 {
        kit.pass(SESSION * 3 / 4);
        for (_, pulse) in &members {
            assert!(pulse.beat(kit.now()));
        }
    }
    // The second falls silent.
    kit.pass(SESSION - Duration::from_millis(1));
    assert!(members[0].1.beat(kit.now()));
    assert_eq!(classic(&kit).len(), 2);
    kit.pass(Duration::from_millis(1));
    assert_eq!((classic(&kit).len(), state(&kit)), (1, "PreparingRebalance"));
    assert!(members.iter().all(|(_, pulse)| !pulse.beat(kit.now())), "both must ask");
    assert_eq!(heartbeat(&mut kit, &members[0].0), Err(Code::RebalanceInProgress));
    assert_eq!(heartbeat(&mut kit, &members[1].0), Err(Code::UnknownMemberId));
}

#[test]
fn whatever_changes_the_answer_closes_the_pulse_before() {
    let changes: [fn(&mut Kit, &Joined); 4] = [
        |kit, _| _ = join(kit, old_joining()),
        |kit, other| _ = join(kit, joining(&other.member_id)),
        |kit, other| _ = leave(kit, vec![leaver(&other.member_id, None)]),
        |kit, _| kit.failover(),
    ];
    for change in changes {
        let mut kit = kit();
        let members = beating(&mut kit);
        change(&mut kit, &members[0].0);
        assert!(!members[1].1.beat(kit.now()));
    }
}

#[test]
fn the_newest_connection_of_a_member_has_its_pulse() {
    let mut kit = kit();
    let (member, old) = beating(&mut kit).remove(0);
    let new = Arc::default();
    assert_eq!(heartbeat_with(&mut kit, &member, &new), Ok(()));
    assert!(!old.beat(kit.now()));
    assert!(new.beat(kit.now()));
}

#[test]
fn no_pulse_beats_while_the_group_rebalances() {
    let mut kit = kit();
    let (member, _) = beating(&mut kit).remove(0);
    join(&mut kit, old_joining());
    let pulse = Arc::default();
    assert_eq!(heartbeat_with(&mut kit, &member, &pulse), Err(Code::RebalanceInProgress));
    assert!(!pulse.beat(kit.now()));
}

#[test]
fn what_a_pulse_has_heard_counts_after_it_is_closed() {
    let mut kit = kit();
    let members = beating(&mut kit);
    kit.pass(SESSION * 3 / 4);
    assert!(members.iter().all(|(_, pulse)| pulse.beat(kit.now())));
    join(&mut kit, old_joining());
    kit.pass(SESSION / 2);
    for (member, _) in &members {
        assert_eq!(heartbeat(&mut kit, member), Err(Code::RebalanceInProgress), "heard in time");
    }
}
