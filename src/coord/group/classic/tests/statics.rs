//! Static members (KIP-345): an instance keeps its place through restarts, and only its newest
//! member id counts.

use super::*;

/// A stable group of two static members, the leader first, with their instance ids.
fn two_statics(kit: &mut Kit) -> (Vec<Joined>, Vec<String>) {
    let members = stable(kit, vec![static_joining("i1", ""), static_joining("i2", "")]);
    let instance = |m: &Joined| classic(kit).member(&m.member_id)?.instance_id.clone();
    let instances = members.iter().map(|m| instance(m).expect("static").to_string()).collect();
    (members, instances)
}

#[test]
fn a_follower_restarts_without_a_rebalance() {
    let mut kit = kit();
    let (members, instances) = two_statics(&mut kit);
    let caller = join(&mut kit, static_joining(&instances[1], ""));
    let reborn = joined(&mut kit, caller);
    assert_eq!((reborn.generation, state(&kit)), (1, "Stable"));
    assert_eq!(reborn.leader, members[0].member_id);
    assert_ne!(reborn.member_id, members[1].member_id);
    let instance_id = Some(instances[1].clone());
    let caller = sync(&mut kit, Sync { instance_id, ..syncing(&reborn, &[]) });
    assert_eq!(synced(&mut kit, caller), Ok("1".to_owned()), "it has its assignment back");
    kit.assert_durable(durable);
    kit.failover();
    assert_eq!(heartbeat(&mut kit, &reborn), Ok(()), "the new id was stored");
    assert_eq!(heartbeat(&mut kit, &members[1]), Err(Code::UnknownMemberId));
}

#[test]
fn a_leader_restarts_without_a_rebalance_and_is_told_to_skip_the_assignment() {
    let mut kit = kit();
    let (members, instances) = two_statics(&mut kit);
    let caller = join(&mut kit, static_joining(&instances[0], ""));
    let reborn = joined(&mut kit, caller);
    assert_eq!((&reborn.leader, reborn.skip_assignment), (&reborn.member_id, true));
    assert_eq!(reborn.members.len(), 2);
    let old_client = Join { can_skip_assignment: false, ..static_joining(&instances[0], "") };
    let caller = join(&mut kit, old_client);
    let again = joined(&mut kit, caller);
    assert_eq!((&again.leader, again.skip_assignment), (&reborn.member_id, false));
    assert_eq!((again.members.len(), state(&kit)), (0, "Stable"));
    assert_eq!(classic(&kit).leader(), Some(&*again.member_id));
    assert_eq!(heartbeat(&mut kit, &members[1]), Ok(()));
}

#[test]
fn the_old_id_is_fenced_and_so_is_a_wrong_instance() {
    let mut kit = kit();
    let (members, instances) = two_statics(&mut kit);
    join(&mut kit, static_joining(&instances[1], ""));
    let old = static_joining(&instances[1], &members[1].member_id);
    assert_eq!(refusal(&mut kit, old), Code::FencedInstanceId);
    let swapped = static_joining(&instances[1], &members[0].member_id);
    assert_eq!(refusal(&mut kit, swapped), Code::FencedInstanceId);
    let unknown = static_joining("i9", &members[0].member_id);
    assert_eq!(refusal(&mut kit, unknown), Code::UnknownMemberId);
    let request = Heartbeat {
        group: GROUP.to_owned(),
        generation: 1,
        member_id: members[1].member_id.to_string(),
        instance_id: Some(instances[1].clone()),
        pulse: Arc::default(),
    };
    let reply = kit.ask(Command::Heartbeat(request));
    let GroupReply::Classic(Reply::Heartbeat(Err(code))) = reply else { panic!("{reply:?}") };
    assert_eq!(code, Code::FencedInstanceId);
}

#[test]
fn a_restart_fences_the_join_that_waits_in_the_old_ones_name() {
    let mut kit = kit();
    let waiting = join(&mut kit, static_joining("i1", ""));
    let newer = join(&mut kit, static_joining("i1", ""));
    let (code, _) = refused(&mut kit, waiting);
    assert_eq!(code, Code::FencedInstanceId);
    kit.pass(DELAY * 2);
    assert_eq!(joined(&mut kit, newer).members.len(), 1);
}

#[test]
fn a_restart_before_the_assignments_rebalances() {
    let mut kit = kit();
    let callers =
        [join(&mut kit, static_joining("i1", "")), join(&mut kit, static_joining("i2", ""))];
    kit.pass(DELAY * 2);
    let members = callers.map(|caller| joined(&mut kit, caller));
    let leads = |m: &&Joined| m.leader == m.member_id;
    let leader = members.iter().find(leads).expect("a leader");
    let id = classic(&kit).member(&leader.member_id).and_then(|m| m.instance_id.clone());
    let waiting = sync(&mut kit, {
        let follower = members.iter().find(|m| !leads(m)).expect("a follower");
        syncing(follower, &[])
    });
    let caller = join(&mut kit, static_joining(&id.expect("static"), ""));
    assert_eq!(synced(&mut kit, waiting), Err(Code::RebalanceInProgress));
    assert_eq!((kit.answer(caller).is_none(), state(&kit)), (true, "PreparingRebalance"));
}

#[test]
fn a_restart_that_changes_the_protocol_rebalances() {
    let mut kit = kit();
    let both =
        |instance| Join { protocols: protocols(&["a", "b"]), ..static_joining(instance, "") };
    let members = stable(&mut kit, vec![both("i1"), both("i2")]);
    assert_eq!(members[0].protocol.as_deref(), Some("a"));
    let only_b = Join { protocols: protocols(&["b"]), ..static_joining("i1", "") };
    let caller = join(&mut kit, only_b);
    assert_eq!((kit.answer(caller).is_none(), state(&kit)), (true, "PreparingRebalance"));
    let stays = classic(&kit).static_id("i2").expect("static").to_string();
    let again = Join { member_id: stays, ..both("i2") };
    let again = join(&mut kit, again);
    assert_eq!(joined(&mut kit, again).protocol.as_deref(), Some("b"));
    assert_eq!(joined(&mut kit, caller).generation, 2);
}

#[test]
fn a_static_member_outlives_a_rebalance_but_not_its_session() {
    let mut kit = kit();
    let session_timeout = REBALANCE * 3;
    let lasting = Join { session_timeout, ..static_joining("i1", "") };
    let members = stable(&mut kit, vec![lasting, old_joining()]);
    let absent = classic(&kit).static_id("i1").expect("static").clone();
    let other = members.iter().find(|m| m.member_id != absent).expect("the other");
    let changed = Join {
        protocols: protocols(&["range", "x"]),
        session_timeout: REBALANCE * 2,
        ..joining(&other.member_id)
    };
    let caller = join(&mut kit, changed);
    kit.pass(REBALANCE);
    let led = joined(&mut kit, caller);
    assert_eq!((&led.leader, led.members.len()), (&other.member_id, 2), "it has kept its place");
    assign(&mut kit, &[led]);
    kit.pass(REBALANCE);
    assert!(classic(&kit).static_id("i1").is_none(), "it never synced");
}
