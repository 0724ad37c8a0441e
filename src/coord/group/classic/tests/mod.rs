//! Classic groups through the machine's own door, with the clock in hand.

mod joining;
mod leaving;
mod pulses;
mod schedule;
mod statics;
mod syncing;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::coord::group::kit::Kit;
use crate::coord::group::pulse::Pulse;
use crate::coord::group::record::ClassicValue;
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{Group, Reply as GroupReply};

const GROUP: &str = "orders";
const DELAY: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

/// A kit whose groups gather for [`DELAY`].
fn kit() -> Kit {
    Kit::new(GroupSettings::default())
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol {
        name: Arc::from(*name),
        metadata: Bytes::copy_from_slice(name.as_bytes()),
    };
    names.iter().map(protocol).collect()
}

/// A join as a current client sends it.
fn joining(member_id: &str) -> Join {
    Join {
        group: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "app".to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        needs_known_id: true,
        can_skip_assignment: true,
    }
}

/// A join of a client that needs no known id.
fn old_joining() -> Join {
    Join { needs_known_id: false, can_skip_assignment: false, ..joining("") }
}

fn static_joining(instance_id: &str, member_id: &str) -> Join {
    Join { instance_id: Some(instance_id.to_owned()), ..joining(member_id) }
}

fn join(kit: &mut Kit, request: Join) -> Caller {
    kit.send(Command::Join(Box::new(request)))
}

/// The answer to a join that has come by now.
fn joined(kit: &mut Kit, caller: Caller) -> Joined {
    match kit.answer(caller) {
        Some(GroupReply::Classic(Reply::Join(Ok(joined)))) => joined,
        other => panic!("no generation: {other:?}"),
    }
}

fn refused(kit: &mut Kit, caller: Caller) -> (Code, String) {
    match kit.answer(caller) {
        Some(GroupReply::Classic(Reply::Join(Err(refused)))) => {
            (refused.code, refused.member_id.to_string())
        }
        other => panic!("no refusal: {other:?}"),
    }
}

fn refusal(kit: &mut Kit, request: Join) -> Code {
    let caller = join(kit, request);
    refused(kit, caller).0
}

fn syncing(of: &Joined, assignments: &[(&str, &str)]) -> Sync {
    let assigned =
        |(id, bytes): &(&str, &str)| ((*id).to_owned(), Bytes::copy_from_slice(bytes.as_bytes()));
    Sync {
        group: GROUP.to_owned(),
        generation: of.generation,
        member_id: of.member_id.to_string(),
        instance_id: None,
        protocol_type: of.protocol_type.as_ref().map(ToString::to_string),
        protocol: of.protocol.as_ref().map(ToString::to_string),
        assignments: assignments.iter().map(assigned).collect(),
    }
}

fn sync(kit: &mut Kit, request: Sync) -> Caller {
    kit.send(Command::Sync(request))
}

fn synced(kit: &mut Kit, caller: Caller) -> Result<String, Code> {
    match kit.answer(caller) {
        Some(GroupReply::Classic(Reply::Sync(result))) => {
            result.map(|s| String::from_utf8_lossy(&s.assignment).into_owned())
        }
        other => panic!("no answer to a sync: {other:?}"),
    }
}

fn heartbeat(kit: &mut Kit, of: &Joined) -> Result<(), Code> {
    heartbeat_with(kit, of, &Arc::default())
}

/// A heartbeat of a connection that would answer the next ones itself.
fn heartbeat_with(kit: &mut Kit, of: &Joined, pulse: &Arc<Pulse>) -> Result<(), Code> {
    let request = Heartbeat {
        group: GROUP.to_owned(),
        generation: of.generation,
        member_id: of.member_id.to_string(),
        instance_id: None,
        pulse: Arc::clone(pulse),
    };
    match kit.ask(Command::Heartbeat(request)) {
        GroupReply::Classic(Reply::Heartbeat(result)) => result,
        other => panic!("no answer to a heartbeat: {other:?}"),
    }
}

fn leaver(member_id: &str, instance_id: Option<&str>) -> Leaver {
    Leaver { member_id: member_id.to_owned(), instance_id: instance_id.map(ToOwned::to_owned) }
}

fn leave(kit: &mut Kit, leavers: Vec<Leaver>) -> Vec<Option<Code>> {
    match kit.ask(Command::Leave(Leave { group: GROUP.to_owned(), members: leavers })) {
        GroupReply::Classic(Reply::Leave(Ok(outcomes))) => {
            outcomes.into_iter().map(|(_, outcome)| outcome).collect()
        }
        other => panic!("no answer to a leave: {other:?}"),
    }
}

fn group(kit: &Kit) -> &Group {
    kit.groups().get(GROUP).expect("the group")
}

fn classic(kit: &Kit) -> &Classic {
    match &group(kit).kind {
        Kind::Classic(classic) => classic,
        other => panic!("not classic: {other:?}"),
    }
}

fn state(kit: &Kit) -> &'static str {
    classic(kit).state().name()
}

/// What is stored of all classic groups.
fn durable(groups: &GroupMap) -> Vec<(Arc<str>, ClassicValue)> {
    let stored = |group: &Group| match &group.kind {
        Kind::Classic(classic) => Some((Arc::clone(&group.id), classic.stored())),
        Kind::Simple | Kind::Consumer(_) => None,
    };
    let mut all: Vec<_> = groups.iter().filter_map(stored).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A stable group of these members, the leader first. Each is assigned its number.
fn stable(kit: &mut Kit, joins: Vec<Join>) -> Vec<Joined> {
    let callers: Vec<_> = joins.into_iter().map(|request| join(kit, request)).collect();
    kit.pass(DELAY * 2);
    let mut members: Vec<_> = callers.into_iter().map(|caller| joined(kit, caller)).collect();
    members.sort_by_key(|m| m.leader != m.member_id);
    assign(kit, &members);
    members
}

/// The leader, who comes first, assigns each member its number.
fn assign(kit: &mut Kit, members: &[Joined]) {
    let numbers: Vec<_> = (0..members.len()).map(|n| n.to_string()).collect();
    let ids = members.iter().map(|m| &*m.member_id);
    let assignments: Vec<_> = ids.zip(numbers.iter().map(String::as_str)).collect();
    for (n, member) in members.iter().enumerate() {
        let theirs = if n == 0 { assignments.as_slice() } else { &[] };
        let instance_id = classic(kit).member(&member.member_id).expect("in").instance_id.clone();
        let instance_id = instance_id.map(|id| id.to_string());
        let caller = sync(kit, Sync { instance_id, ..syncing(member, theirs) });
        assert_eq!(synced(kit, caller), Ok(n.to_string()));
    }
    assert_eq!(state(kit), "Stable");
    kit.assert_durable(durable);
}
