//! JoinGroup (key 11): a member joins its group and waits until the rebalance has gathered all.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | the session time-out is the time to rejoin, too | |
//! | 1 | a rebalance time-out | |
//! | 4 | a member without an id gets one and comes again (KIP-394) | |
//! | 5 | group.instance.id (KIP-345) | |
//! | 6 | flexible | |
//! | 7 | protocol type in the answer, where both names may be null (KIP-559) | |
//! | 8 | a reason | not kept |
//! | 9 | a leader may be told to skip the assignment (KIP-814) | |

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};

use super::{Answered, client_host, fault_of, name};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::coord::group::Reply;
use crate::coord::group::classic::{
    Command, Join, Joined, JoinedMember, Protocol, Reply as Classic,
};

const REBALANCE_TIMEOUT_SINCE: i16 = 1;
const KNOWN_ID_SINCE: i16 = 4;
const NULL_PROTOCOL_SINCE: i16 = 7;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

/// The API itself.
pub struct JoinGroup;

impl Endpoint for JoinGroup {
    const KEY: ApiKey = ApiKey::JoinGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=9;
    type Request = JoinGroupRequest;
    type Response = JoinGroupResponse;

    fn begin(cx: &mut Cx<'_>, request: JoinGroupRequest) -> Begun<JoinGroupResponse> {
        let version = cx.version;
        let member_id = request.member_id.clone();
        let join = command(cx, &request);
        cx.connection.heartbeat = None;
        let asked = cx.services.groups.ask(&request.group_id, Command::Join(Box::new(join)));
        Begun::later(async move {
            let response = respond(asked.await, &member_id);
            if version < NULL_PROTOCOL_SINCE && response.protocol_name.is_none() {
                return response.with_protocol_name(Some(text("")));
            }
            response
        })
    }
}

fn command(cx: &Cx<'_>, request: &JoinGroupRequest) -> Join {
    let rebalance_timeout_ms = if cx.version >= REBALANCE_TIMEOUT_SINCE {
        request.rebalance_timeout_ms
    } else {
        request.session_timeout_ms
    };
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: (*protocol.name).into(),
        // A copy: what the group keeps must not keep the request's buffer.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    Join {
        group: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: cx.client_id.to_string(),
        client_host: client_host(cx.connection),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance_timeout_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        needs_known_id: cx.version >= KNOWN_ID_SINCE,
        can_skip_assignment: cx.version >= SKIP_ASSIGNMENT_SINCE,
    }
}

/// A time-out of a request; below zero there is none.
fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn respond(answer: Answered, member_id: &str) -> JoinGroupResponse {
    let refused = |code, member_id| {
        JoinGroupResponse::default()
            .with_error_code(code)
            .with_protocol_name(None)
            .with_member_id(text(member_id))
    };
    match answer {
        Ok(Reply::Classic(Classic::Join(Ok(joined)))) => success(&joined),
        Ok(Reply::Classic(Classic::Join(Err(told)))) => refused(told.code.code(), &told.member_id),
        other => refused(fault_of(other).code(), member_id),
    }
}

fn success(joined: &Joined) -> JoinGroupResponse {
    let member = |member: &JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(name(&member.instance_id))
            .with_metadata(member.metadata.clone())
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(name(&joined.protocol_type))
        .with_protocol_name(name(&joined.protocol))
        .with_leader(text(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&joined.member_id))
        .with_members(joined.members.iter().map(member).collect())
}
