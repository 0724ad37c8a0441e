//! SyncGroup (key 14): a member asks for its assignment; the leader brings all of them.
//!
//! | version | change |
//! |---|---|
//! | 0 | |
//! | 1 | throttle time |
//! | 2 | throttled after the answer |
//! | 3 | group.instance.id (KIP-345) |
//! | 4 | flexible |
//! | 5 | protocol type and name, compared with the group's (KIP-559) |

use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Answered, fault_of, name};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::base::fault::Code;
use crate::coord::group::Reply;
use crate::coord::group::classic::{Command, Reply as Classic, Sync};

const PROTOCOL_SINCE: i16 = 5;

/// The API itself.
pub struct SyncGroup;

impl Endpoint for SyncGroup {
    const KEY: ApiKey = ApiKey::SyncGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    type Request = SyncGroupRequest;
    type Response = SyncGroupResponse;

    fn begin(cx: &mut Cx<'_>, request: SyncGroupRequest) -> Begun<SyncGroupResponse> {
        if cx.version >= PROTOCOL_SINCE && !names_protocol(&request) {
            let code = Code::InconsistentGroupProtocol.code();
            return Begun::Done(SyncGroupResponse::default().with_error_code(code));
        }
        let command = Command::Sync(command(&request));
        let asked = cx.services.groups.ask(&request.group_id, command);
        Begun::later(async move { respond(asked.await) })
    }
}

/// Whether the request says what it must say since the fields are there.
const fn names_protocol(request: &SyncGroupRequest) -> bool {
    request.protocol_type.is_some() && request.protocol_name.is_some()
}

fn command(request: &SyncGroupRequest) -> Sync {
    let owned = |name: &Option<StrBytes>| name.as_ref().map(ToString::to_string);
    // Copies: what the group keeps must not keep the request's buffer.
    let assignments = request.assignments.iter().map(|assigned| {
        (assigned.member_id.to_string(), Bytes::copy_from_slice(&assigned.assignment))
    });
    Sync {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        protocol_type: owned(&request.protocol_type),
        protocol: owned(&request.protocol_name),
        assignments: assignments.collect(),
    }
}

fn respond(answer: Answered) -> SyncGroupResponse {
    match answer {
        Ok(Reply::Classic(Classic::Sync(Ok(synced)))) => SyncGroupResponse::default()
            .with_protocol_type(name(&synced.protocol_type))
            .with_protocol_name(name(&synced.protocol))
            .with_assignment(synced.assignment),
        Ok(Reply::Classic(Classic::Sync(Err(code)))) => {
            SyncGroupResponse::default().with_error_code(code.code())
        }
        other => SyncGroupResponse::default().with_error_code(fault_of(other).code()),
    }
}
