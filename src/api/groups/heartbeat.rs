//! Heartbeat (key 12): a member of a classic group is alive, and hears whether to join again.
//!
//! v1 throttle time. v2 throttled after the answer. v3 group.instance.id (KIP-345). v4 flexible.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

use super::{Answered, fault_of};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::base::fault::Code;
use crate::coord::group::Reply;
use crate::coord::group::classic::{Command, Heartbeat as Beat, Reply as Classic};

/// The API itself.
pub struct Heartbeat;

impl Endpoint for Heartbeat {
    const KEY: ApiKey = ApiKey::Heartbeat;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    type Request = HeartbeatRequest;
    type Response = HeartbeatResponse;

    fn begin(cx: &mut Cx<'_>, request: HeartbeatRequest) -> Begun<HeartbeatResponse> {
        if let Some(last) = &cx.connection.heartbeat
            && is_same(last, &request)
            && last.pulse.beat(cx.services.env.monotonic())
        {
            return Begun::Done(HeartbeatResponse::default());
        }
        let beat = Beat {
            group: request.group_id.to_string(),
            generation: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
            pulse: Arc::default(),
        };
        cx.connection.heartbeat = Some(beat.clone());
        let asked = cx.services.groups.ask(&request.group_id, Command::Heartbeat(beat));
        Begun::later(async move { HeartbeatResponse::default().with_error_code(code(asked.await)) })
    }
}

fn is_same(last: &Beat, request: &HeartbeatRequest) -> bool {
    *last.group == **request.group_id
        && last.generation == request.generation_id
        && *last.member_id == *request.member_id
        && last.instance_id.as_deref() == request.group_instance_id.as_deref()
}

fn code(answer: Answered) -> i16 {
    match answer {
        Ok(Reply::Classic(Classic::Heartbeat(Ok(())))) => 0,
        Ok(Reply::Classic(Classic::Heartbeat(Err(code)))) => code.code(),
        // Sessions begin anew when the groups are loaded, so nothing is lost.
        Err(fault) if fault.kind() == Code::CoordinatorLoadInProgress => 0,
        other => fault_of(other).code(),
    }
}
