//! LeaveGroup (key 13): members leave a classic group, or are removed from it.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | one member | its outcome is the answer's |
//! | 1 | throttle time | |
//! | 2 | throttled after the answer | |
//! | 3 | many members, by id or by group.instance.id (KIP-345) | |
//! | 4 | flexible | |
//! | 5 | a reason | not kept |

use std::ops::RangeInclusive;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{ApiKey, LeaveGroupRequest, LeaveGroupResponse};

use super::{Answered, fault_of};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::Code;
use crate::coord::group::Reply;
use crate::coord::group::classic::{Command, Leave, Leaver, Reply as Classic};

const BATCHED_SINCE: i16 = 3;

/// The API itself.
pub struct LeaveGroup;

impl Endpoint for LeaveGroup {
    const KEY: ApiKey = ApiKey::LeaveGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    type Request = LeaveGroupRequest;
    type Response = LeaveGroupResponse;

    fn begin(cx: &mut Cx<'_>, request: LeaveGroupRequest) -> Begun<LeaveGroupResponse> {
        let batched = cx.version >= BATCHED_SINCE;
        let group = request.group_id.to_string();
        let members = leavers(&request, batched);
        cx.connection.heartbeat = None;
        let asked =
            cx.services.groups.ask(&group, Command::Leave(Leave { group: group.clone(), members }));
        Begun::later(async move { respond(asked.await, batched) })
    }
}

fn leavers(request: &LeaveGroupRequest, batched: bool) -> Vec<Leaver> {
    if !batched {
        return vec![Leaver { member_id: request.member_id.to_string(), instance_id: None }];
    }
    let leaver = |member: &kafka_protocol::messages::leave_group_request::MemberIdentity| Leaver {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
    };
    request.members.iter().map(leaver).collect()
}

fn respond(answer: Answered, batched: bool) -> LeaveGroupResponse {
    let refused = |code| LeaveGroupResponse::default().with_error_code(code);
    match answer {
        Ok(Reply::Classic(Classic::Leave(Ok(members)))) if batched => {
            LeaveGroupResponse::default().with_members(members.into_iter().map(member).collect())
        }
        Ok(Reply::Classic(Classic::Leave(Ok(members)))) => {
            refused(members.first().map_or(0, |(_, outcome)| code_of(*outcome)))
        }
        Ok(Reply::Classic(Classic::Leave(Err(code)))) => refused(code.code()),
        other => refused(fault_of(other).code()),
    }
}

fn member((leaver, outcome): (Leaver, Option<Code>)) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(text(&leaver.member_id))
        .with_group_instance_id(leaver.instance_id.as_deref().map(text))
        .with_error_code(code_of(outcome))
}

fn code_of(outcome: Option<Code>) -> i16 {
    outcome.map_or(0, |code| code.code())
}
