//! Assignments and heartbeats, and what a restart of the broker leaves of a group.

use super::*;

#[test]
fn assignments_reach_each_member_unchanged_and_are_stored_first() {
    let mut kit = kit();
    let callers = [join(&mut kit, old_joining()), join(&mut kit, old_joining())];
    kit.pass(DELAY * 2);
    let mut members = callers.map(|caller| joined(&mut kit, caller));
    members.sort_by_key(|m| m.leader != m.member_id);
    let [leader, follower] = members;
    let waiting = sync(&mut kit, syncing(&follower, &[]));
    assert!(kit.answer(waiting).is_none(), "the leader has not assigned");
    let stored = kit.log().len();
    let ids = [(&*leader.member_id, "l\0l"), (&*follower.member_id, "f"), ("stranger", "s")];
    let caller = sync(&mut kit, syncing(&leader, &ids));
    assert_eq!(kit.log().len(), stored + 1);
    assert_eq!(synced(&mut kit, caller), Ok("l\0l".to_owned()));
    assert_eq!(synced(&mut kit, waiting), Ok("f".to_owned()));
    kit.assert_durable(durable);
    let again = sync(&mut kit, syncing(&follower, &[]));
    assert_eq!(synced(&mut kit, again), Ok("f".to_owned()), "told as often as it asks");
}

#[test]
fn whoever_is_left_out_gets_nothing() {
    let mut kit = kit();
    let caller = join(&mut kit, old_joining());
    kit.pass(DELAY);
    let leader = joined(&mut kit, caller);
    let caller = sync(&mut kit, syncing(&leader, &[]));
    assert_eq!(synced(&mut kit, caller), Ok(String::new()));
}

#[test]
fn a_group_too_large_to_be_stored_is_refused_and_harms_no_other() {
    let mut kit = kit();
    let caller = join(&mut kit, old_joining());
    kit.pass(DELAY);
    let leader = joined(&mut kit, caller);
    let stored = kit.log().len();
    let large = "x".repeat(9 << 20);
    let caller = sync(&mut kit, syncing(&leader, &[(&leader.member_id, &large)]));
    assert_eq!(synced(&mut kit, caller), Err(Code::UnknownServerError));
    assert_eq!((kit.log().len(), state(&kit)), (stored, "PreparingRebalance"));
    let caller = join(&mut kit, joining(&leader.member_id));
    let again = joined(&mut kit, caller);
    assign(&mut kit, &[again]);
}

#[test]
fn a_sync_is_checked() {
    let mut kit = kit();
    let lone = stable(&mut kit, vec![old_joining()]).remove(0);
    let ok = syncing(&lone, &[]);
    let wrong = [
        (Sync { group: String::new(), ..ok.clone() }, Code::InvalidGroupId),
        (Sync { group: "other".to_owned(), ..ok.clone() }, Code::UnknownMemberId),
        (Sync { member_id: "other".to_owned(), ..ok.clone() }, Code::UnknownMemberId),
        (Sync { generation: 2, ..ok.clone() }, Code::IllegalGeneration),
        (
            Sync { protocol_type: Some("connect".to_owned()), ..ok.clone() },
            Code::InconsistentGroupProtocol,
        ),
        (Sync { protocol: Some("x".to_owned()), ..ok.clone() }, Code::InconsistentGroupProtocol),
        (Sync { instance_id: Some("i".to_owned()), ..ok.clone() }, Code::UnknownMemberId),
    ];
    for (request, code) in wrong {
        let caller = sync(&mut kit, request);
        assert_eq!(synced(&mut kit, caller), Err(code));
    }
    let silent = Sync { protocol_type: None, protocol: None, ..ok };
    let caller = sync(&mut kit, silent);
    assert_eq!(synced(&mut kit, caller), Ok("0".to_owned()));
}

#[test]
fn a_rebalance_calls_back_those_who_wait_for_the_leader() {
    let mut kit = kit();
    let callers = [join(&mut kit, old_joining()), join(&mut kit, old_joining())];
    kit.pass(DELAY * 2);
    let members = callers.map(|caller| joined(&mut kit, caller));
    let follower = members.iter().find(|m| m.leader != m.member_id).expect("a follower");
    let waiting = sync(&mut kit, syncing(follower, &[]));
    join(&mut kit, old_joining());
    assert_eq!(synced(&mut kit, waiting), Err(Code::RebalanceInProgress));
    let late = sync(&mut kit, syncing(follower, &[]));
    assert_eq!(synced(&mut kit, late), Err(Code::RebalanceInProgress));
}

#[test]
fn members_that_never_sync_are_out_after_the_rebalance_timeout() {
    let mut kit = kit();
    let session_timeout = REBALANCE * 2;
    let request = || Join { session_timeout, ..old_joining() };
    let callers = [join(&mut kit, request()), join(&mut kit, request())];
    kit.pass(DELAY * 2);
    let mut members = callers.map(|caller| joined(&mut kit, caller));
    members.sort_by_key(|m| m.leader != m.member_id);
    let [leader, follower] = members;
    let caller = sync(&mut kit, syncing(&leader, &[]));
    assert_eq!(synced(&mut kit, caller), Ok(String::new()));
    kit.pass(REBALANCE);
    assert_eq!(heartbeat(&mut kit, &follower), Err(Code::UnknownMemberId));
    assert_eq!(heartbeat(&mut kit, &leader), Err(Code::RebalanceInProgress));
}

#[test]
fn a_session_lasts_as_long_as_heartbeats_come() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    for _ in 0..5 {
        kit.pass(SESSION - Duration::from_millis(1));
        for member in &members {
            assert_eq!(heartbeat(&mut kit, member), Ok(()));
        }
    }
    kit.pass(SESSION - Duration::from_millis(1));
    assert_eq!(heartbeat(&mut kit, &members[0]), Ok(()));
    kit.pass(Duration::from_millis(1));
    assert_eq!(heartbeat(&mut kit, &members[1]), Err(Code::UnknownMemberId));
    assert_eq!(heartbeat(&mut kit, &members[0]), Err(Code::RebalanceInProgress));
    kit.pass(SESSION);
    assert_eq!((state(&kit), classic(&kit).generation()), ("Empty", 2));
}

#[test]
fn a_heartbeat_is_checked() {
    let mut kit = kit();
    let lone = stable(&mut kit, vec![old_joining()]).remove(0);
    let old = Joined { generation: 0, ..lone.clone() };
    assert_eq!(heartbeat(&mut kit, &old), Err(Code::IllegalGeneration));
    let other = Joined { member_id: Arc::from("other"), ..lone };
    assert_eq!(heartbeat(&mut kit, &other), Err(Code::UnknownMemberId));
}

#[test]
fn a_group_survives_the_broker_and_its_sessions_begin_anew() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    kit.pass(SESSION - Duration::from_millis(1));
    kit.failover();
    kit.pass(SESSION - Duration::from_millis(1));
    assert_eq!(heartbeat(&mut kit, &members[0]), Ok(()));
    let caller = sync(&mut kit, syncing(&members[0], &[]));
    assert_eq!(synced(&mut kit, caller), Ok("0".to_owned()));
    kit.pass(Duration::from_millis(1));
    assert_eq!(heartbeat(&mut kit, &members[1]), Err(Code::UnknownMemberId));
}

#[test]
fn a_rebalance_that_the_broker_did_not_survive_is_begun_again_by_the_members() {
    let mut kit = kit();
    let first = stable(&mut kit, vec![old_joining()]).remove(0);
    join(&mut kit, old_joining());
    kit.failover();
    assert_eq!((state(&kit), classic(&kit).len()), ("Stable", 1));
    assert_eq!(heartbeat(&mut kit, &first), Ok(()), "it is back in its last generation");
    let newcomer = join(&mut kit, old_joining());
    assert_eq!(heartbeat(&mut kit, &first), Err(Code::RebalanceInProgress));
    let again = join(&mut kit, joining(&first.member_id));
    let (first, second) = (joined(&mut kit, again), joined(&mut kit, newcomer));
    assign(&mut kit, &[first, second]);
}

#[test]
fn a_group_over_a_limit_that_was_lowered_shrinks_to_it() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    let log = kit.log().to_vec();
    let mut kit = Kit::new(GroupSettings { max_size: 1, ..GroupSettings::default() });
    kit.set_log(log);
    kit.failover();
    assert_eq!(state(&kit), "PreparingRebalance");
    let stays = join(&mut kit, joining(&members[1].member_id));
    assert_eq!(refusal(&mut kit, joining(&members[0].member_id)), Code::GroupMaxSizeReached);
    assert_eq!(joined(&mut kit, stays).members.len(), 1);
}
