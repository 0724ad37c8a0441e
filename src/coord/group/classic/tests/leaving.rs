//! Leaving, alone, by the batch, and at an administrator's hand.

use super::*;

#[test]
fn who_leaves_is_out_at_once_and_the_others_rebalance() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    let (leader, follower) = (&members[0], &members[1]);
    assert_eq!(leave(&mut kit, vec![leaver(&leader.member_id, None)]), [None]);
    assert_eq!(heartbeat(&mut kit, follower), Err(Code::RebalanceInProgress));
    assert_eq!(heartbeat(&mut kit, leader), Err(Code::UnknownMemberId));
    let caller = join(&mut kit, joining(&follower.member_id));
    let heir = joined(&mut kit, caller);
    assert_eq!((&heir.leader, heir.members.len()), (&heir.member_id, 1));
    assign(&mut kit, &[heir]);
}

#[test]
fn the_last_to_leave_empties_the_group() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    let all = members.iter().map(|m| leaver(&m.member_id, None)).collect();
    assert_eq!(leave(&mut kit, all), [None, None]);
    assert_eq!((state(&kit), classic(&kit).generation()), ("Empty", 2));
    assert_eq!(classic(&kit).empty_since_ms(), Some(kit.wall_ms()));
    kit.assert_durable(durable);
}

#[test]
fn each_leaver_has_its_own_outcome() {
    let mut kit = kit();
    let joins = vec![static_joining("i1", ""), static_joining("i2", ""), old_joining()];
    stable(&mut kit, joins);
    let id = |instance: &str| classic(&kit).static_id(instance).expect("static").to_string();
    let (one, two) = (id("i1"), id("i2"));
    let batch = vec![
        leaver("", Some("i1")),
        leaver("", Some("i3")),
        leaver("", None),
        leaver(&one, Some("i2")),
        leaver(&two, Some("i2")),
        leaver("other", None),
    ];
    let unknown = Some(Code::UnknownMemberId);
    let outcomes = [None, unknown, unknown, Some(Code::FencedInstanceId), None, unknown];
    assert_eq!(leave(&mut kit, batch), outcomes);
    assert_eq!(classic(&kit).len(), 1);
}

#[test]
fn leaving_answers_whoever_waits_in_the_leavers_name() {
    let mut kit = kit();
    let first = join(&mut kit, joining(""));
    let (_, id) = refused(&mut kit, first);
    let joining_one = join(&mut kit, joining(&id));
    assert_eq!(leave(&mut kit, vec![leaver(&id, None)]), [None]);
    assert_eq!(refused(&mut kit, joining_one), (Code::UnknownMemberId, String::new()));
    kit.pass(DELAY);
    assert_eq!(state(&kit), "Empty");

    let callers = [join(&mut kit, old_joining()), join(&mut kit, old_joining())];
    kit.pass(DELAY * 2);
    let members = callers.map(|caller| joined(&mut kit, caller));
    let follower = members.iter().find(|m| m.leader != m.member_id).expect("a follower");
    let waiting = sync(&mut kit, syncing(follower, &[]));
    assert_eq!(leave(&mut kit, vec![leaver(&follower.member_id, None)]), [None]);
    assert_eq!(synced(&mut kit, waiting), Err(Code::UnknownMemberId));
}

#[test]
fn one_who_has_an_id_but_has_not_joined_may_leave() {
    let mut kit = kit();
    let lone = stable(&mut kit, vec![old_joining()]).remove(0);
    let asking = join(&mut kit, joining(""));
    let (_, id) = refused(&mut kit, asking);
    let again = join(&mut kit, joining(&lone.member_id));
    assert!(kit.answer(again).is_none(), "the rebalance waits for the one to come");
    assert_eq!(leave(&mut kit, vec![leaver(&id, None)]), [None]);
    joined(&mut kit, again);
}

#[test]
fn nobody_leaves_a_group_that_is_not_there() {
    let mut kit = kit();
    assert_eq!(leave(&mut kit, vec![leaver("m", None)]), [Some(Code::UnknownMemberId)]);
    let nameless = Leave { group: String::new(), members: vec![leaver("m", None)] };
    let reply = kit.ask(Command::Leave(nameless));
    let GroupReply::Classic(Reply::Leave(Err(code))) = reply else { panic!("{reply:?}") };
    assert_eq!(code, Code::InvalidGroupId);
}
