//! Who comes in, when a generation begins, and by which protocol.

use super::*;

#[test]
fn a_member_without_an_id_gets_one_and_comes_again() {
    let mut kit = kit();
    let first = join(&mut kit, joining(""));
    let (code, id) = refused(&mut kit, first);
    assert_eq!(code, Code::MemberIdRequired);
    assert!(id.starts_with("app-") && id.len() == "app-".len() + 36, "{id}");
    let caller = join(&mut kit, joining(&id));
    assert!(kit.answer(caller).is_none(), "the group gathers");
    kit.pass(DELAY);
    let member = joined(&mut kit, caller);
    assert_eq!((&*member.member_id, member.generation), (id.as_str(), 1));
    assert_eq!(member.leader, member.member_id);
    assert_eq!(member.members.len(), 1);
    assert_eq!(&member.members[0].metadata[..], b"range");
    assert_eq!(state(&kit), "CompletingRebalance");
}

#[test]
fn an_id_that_nobody_comes_with_is_forgotten() {
    let mut kit = kit();
    let first = join(&mut kit, joining(""));
    let (_, id) = refused(&mut kit, first);
    kit.pass(SESSION);
    assert_eq!(refusal(&mut kit, joining(&id)), Code::UnknownMemberId);
    assert_eq!(state(&kit), "Empty");
}

#[test]
fn an_id_that_the_broker_did_not_give_is_refused() {
    let mut kit = kit();
    assert_eq!(refusal(&mut kit, joining("mine")), Code::UnknownMemberId);
    assert_eq!(kit.groups().iter().count(), 0, "and makes no group");
    stable(&mut kit, vec![old_joining()]);
    assert_eq!(refusal(&mut kit, joining("mine")), Code::UnknownMemberId);
}

#[test]
fn requests_out_of_bounds_are_refused() {
    let mut kit = kit();
    let nameless = Join { group: String::new(), ..joining("") };
    assert_eq!(refusal(&mut kit, nameless), Code::InvalidGroupId);
    for session_timeout in [Duration::from_millis(5999), Duration::from_millis(1_800_001)] {
        let request = Join { session_timeout, ..joining("") };
        assert_eq!(refusal(&mut kit, request), Code::InvalidSessionTimeout);
    }
    assert!(kit.log().is_empty());
    let request = Join { protocols: Vec::new(), ..joining("") };
    assert_eq!(refusal(&mut kit, request), Code::InconsistentGroupProtocol);
    let request = Join { protocol_type: String::new(), ..joining("") };
    assert_eq!(refusal(&mut kit, request), Code::InconsistentGroupProtocol);
}

#[test]
fn gathering_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    let mut kit = kit();
    let rebalance_timeout = DELAY * 3;
    let request = || Join { rebalance_timeout, ..old_joining() };
    let mut callers = vec![join(&mut kit, request())];
    for _ in 0..2 {
        kit.pass(DELAY - Duration::from_secs(1));
        callers.push(join(&mut kit, request()));
        kit.pass(Duration::from_secs(1));
        assert!(kit.answer(callers[0]).is_none(), "someone came: another delay");
    }
    callers.push(join(&mut kit, request()));
    kit.pass(DELAY);
    let members: Vec<_> = callers.into_iter().map(|caller| joined(&mut kit, caller)).collect();
    assert_eq!(members.iter().filter(|m| m.leader == m.member_id).count(), 1);
    let told: Vec<_> = members.iter().map(|m| m.members.len()).filter(|n| *n > 0).collect();
    assert_eq!(told, [4], "the leader alone is told of all");
}

#[test]
fn a_newcomer_begins_a_rebalance_that_ends_when_all_have_joined() {
    let mut kit = kit();
    let first = stable(&mut kit, vec![old_joining()]).remove(0);
    let newcomer = join(&mut kit, old_joining());
    assert_eq!(heartbeat(&mut kit, &first), Err(Code::RebalanceInProgress));
    assert_eq!(classic(&kit).generation(), 1, "no generation without a rebalance complete");
    let again = join(&mut kit, joining(&first.member_id));
    let (first, second) = (joined(&mut kit, again), joined(&mut kit, newcomer));
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!(second.leader, first.member_id, "who led goes on leading");
    assign(&mut kit, &[first, second]);
}

#[test]
fn members_that_do_not_join_in_time_are_out_and_another_leads() {
    let mut kit = kit();
    let first = stable(&mut kit, vec![old_joining()]).remove(0);
    let newcomer = join(&mut kit, old_joining());
    // Its heartbeats keep its session, but not its place.
    for _ in 0..12 {
        let _ = heartbeat(&mut kit, &first);
        kit.pass(REBALANCE / 12);
    }
    let second = joined(&mut kit, newcomer);
    assert_eq!((second.generation, &second.leader), (2, &second.member_id));
    assert_eq!(heartbeat(&mut kit, &first), Err(Code::UnknownMemberId));
}

#[test]
fn the_protocol_is_the_one_that_most_like_best_among_the_common() {
    let mut kit = kit();
    let offers = [&["a", "sticky", "range"][..], &["range", "sticky"], &["sticky", "b", "range"]];
    let joins = offers.map(|names| Join { protocols: protocols(names), ..old_joining() });
    let members = stable(&mut kit, joins.into());
    assert!(members.iter().all(|m| m.protocol.as_deref() == Some("sticky")));
    let leader = &members[0];
    assert!(leader.members.iter().all(|m| &m.metadata[..] == b"sticky"));

    let stranger = Join { protocols: protocols(&["a", "b"]), ..old_joining() };
    assert_eq!(refusal(&mut kit, stranger), Code::InconsistentGroupProtocol);
    let worker = Join { protocol_type: "connect".to_owned(), ..old_joining() };
    assert_eq!(refusal(&mut kit, worker), Code::InconsistentGroupProtocol);
    assert_eq!(state(&kit), "Stable");
}

#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    let mut kit = kit();
    let twice = Join { protocols: protocols(&["range", "range"]), ..old_joining() };
    let members = stable(&mut kit, vec![twice, old_joining()]);
    assert_eq!(members[0].protocol.as_deref(), Some("range"));
}

#[test]
fn joining_a_stable_group_again_tells_of_the_generation_unless_something_changed() {
    let mut kit = kit();
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    let (leader, follower) = (&members[0], &members[1]);
    let caller = join(&mut kit, joining(&follower.member_id));
    assert_eq!(joined(&mut kit, caller), *follower);
    assert_eq!(state(&kit), "Stable");

    let changed = Join { protocols: protocols(&["range", "x"]), ..joining(&follower.member_id) };
    let caller = join(&mut kit, changed);
    assert_eq!((kit.answer(caller).is_none(), state(&kit)), (true, "PreparingRebalance"));
    let other = join(&mut kit, joining(&leader.member_id));
    let members = [joined(&mut kit, other), joined(&mut kit, caller)];
    assign(&mut kit, &members);

    let caller = join(&mut kit, joining(&leader.member_id));
    assert!(kit.answer(caller).is_none(), "a leader that joins wants a rebalance");
    assert_eq!(state(&kit), "PreparingRebalance");
}

#[test]
fn an_answer_that_got_lost_is_given_again_before_the_sync() {
    let mut kit = kit();
    let caller = join(&mut kit, old_joining());
    kit.pass(DELAY);
    let first = joined(&mut kit, caller);
    let caller = join(&mut kit, joining(&first.member_id));
    assert_eq!(joined(&mut kit, caller), first);
}

#[test]
fn a_second_join_of_one_member_answers_the_first() {
    let mut kit = kit();
    let first = join(&mut kit, joining(""));
    let (_, id) = refused(&mut kit, first);
    let lost = join(&mut kit, joining(&id));
    let caller = join(&mut kit, joining(&id));
    assert_eq!(refused(&mut kit, lost), (Code::RebalanceInProgress, id));
    kit.pass(DELAY);
    joined(&mut kit, caller);
    assert_eq!(kit.waiting(), 0);
}

#[test]
fn a_full_group_takes_no_newcomers() {
    let mut kit = Kit::new(GroupSettings { max_size: 2, ..GroupSettings::default() });
    let members = stable(&mut kit, vec![old_joining(), old_joining()]);
    assert_eq!(refusal(&mut kit, old_joining()), Code::GroupMaxSizeReached);
    let again = join(&mut kit, joining(&members[1].member_id));
    joined(&mut kit, again);
}

#[test]
fn a_newcomer_whose_client_is_gone_is_out_after_five_minutes() {
    let mut kit = kit();
    let rebalance_timeout = Duration::from_secs(3600);
    let lasting =
        || Join { rebalance_timeout, session_timeout: rebalance_timeout / 2, ..old_joining() };
    let first = join(&mut kit, lasting());
    kit.pass(DELAY);
    let first = joined(&mut kit, first);
    assign(&mut kit, &[first]);
    let newcomer = join(&mut kit, lasting());
    kit.pass(NEW_MEMBER_JOIN_TIMEOUT);
    assert_eq!(refused(&mut kit, newcomer), (Code::UnknownMemberId, String::new()));
    assert_eq!(classic(&kit).len(), 1);
}

#[test]
fn an_emptied_group_is_remembered_and_joined_again() {
    let mut kit = kit();
    let joins = vec![old_joining()];
    stable(&mut kit, joins);
    let id = classic(&kit).leader().expect("a leader").to_owned();
    leave(&mut kit, vec![leaver(&id, None)]);
    assert_eq!(state(&kit), "Empty");
    let since = classic(&kit).empty_since_ms().expect("it is empty");
    kit.pass(SESSION);
    kit.failover();
    assert_eq!(classic(&kit).empty_since_ms(), Some(since), "kept for the expiry of offsets");
    assert_eq!(classic(&kit).protocol_type(), Some("consumer"));
    stable(&mut kit, vec![old_joining()]);
    assert_eq!(classic(&kit).generation(), 3);
}
