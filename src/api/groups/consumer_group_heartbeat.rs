//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, reports and leaves, and
//! hears what it is assigned (KIP-848).
//!
//! | version | change |
//! |---|---|
//! | 0 | |
//! | 1 | topic patterns; the client makes its member id (KIP-1082) |

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Answered, client_host, fault_of};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::base::settings::Assignor;
use crate::coord::group::Reply;
use crate::coord::group::consumer::assignor::Partitions;
use crate::coord::group::consumer::{Beat, Command, Heartbeat, MemberEpoch, Reply as Consumer};

/// From this version on the broker makes no member ids.
const CLIENT_MADE_ID_SINCE: i16 = 1;

/// The API itself.
pub struct ConsumerGroupHeartbeat;

impl Endpoint for ConsumerGroupHeartbeat {
    const KEY: ApiKey = ApiKey::ConsumerGroupHeartbeat;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    type Request = ConsumerGroupHeartbeatRequest;
    type Response = ConsumerGroupHeartbeatResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Begun<ConsumerGroupHeartbeatResponse> {
        let heartbeat = match command(cx, &request) {
            Ok(heartbeat) => heartbeat,
            Err(fault) => return Begun::Done(refusal(&fault)),
        };
        let command = Command::Heartbeat(Box::new(heartbeat));
        let asked = cx.services.groups.ask(&request.group_id, command);
        Begun::later(async move { respond(asked.await) })
    }
}

fn command(cx: &Cx<'_>, request: &ConsumerGroupHeartbeatRequest) -> Result<Heartbeat, Fault> {
    let consumer = &cx.services.settings.groups.consumer;
    if !consumer.enabled {
        return Err(Code::UnsupportedVersion.into());
    }
    let epoch = check(cx.version, request)?;
    let assignor = match request.server_assignor.as_deref() {
        Some(name) => Some(offered(name, &consumer.assignors)?),
        None => None,
    };
    let topics = request.subscribed_topic_names.as_ref();
    let timeout_ms = request.rebalance_timeout_ms;
    Ok(Heartbeat {
        group: Arc::from(&**request.group_id),
        member_id: Arc::from(&*request.member_id),
        epoch,
        client_id: Arc::from(&**cx.client_id),
        client_host: Arc::from(client_host(cx.connection)),
        instance_id: shared(&request.instance_id),
        rack_id: shared(&request.rack_id),
        rebalance_timeout_ms: (timeout_ms != -1).then_some(timeout_ms),
        topics: topics.map(|topics| topics.iter().map(|topic| Arc::from(&***topic)).collect()),
        regex: shared(&request.subscribed_topic_regex),
        assignor,
        owned: request.topic_partitions.as_ref().map(|topics| {
            let mut owned = Partitions::new();
            for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
                owned.entry(topic.topic_id).or_default().extend(topic.partitions.iter().copied());
            }
            owned
        }),
    })
}

fn shared(text: &Option<StrBytes>) -> Option<Arc<str>> {
    text.as_deref().map(Arc::from)
}

/// What the request alone says against it.
fn check(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<MemberEpoch, Fault> {
    let invalid = |message: &str| Err(Fault::with(Code::InvalidRequest, message));
    let is_empty = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.is_empty());
    let epoch = match request.member_epoch {
        0 => MemberEpoch::Join,
        -1 => MemberEpoch::Leave,
        -2 => MemberEpoch::LeaveForNow,
        epoch if epoch > 0 => MemberEpoch::At(epoch),
        _ => return invalid("MemberEpoch is invalid."),
    };
    let has_id =
        version >= CLIENT_MADE_ID_SINCE || matches!(epoch, MemberEpoch::At(_) | MemberEpoch::Leave);
    if has_id && request.member_id.is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        MemberEpoch::Join if request.rebalance_timeout_ms == -1 => {
            invalid("RebalanceTimeoutMs must be provided in first request.")
        }
        MemberEpoch::Join if request.topic_partitions.as_ref().is_none_or(|t| !t.is_empty()) => {
            invalid("TopicPartitions must be empty when (re-)joining.")
        }
        MemberEpoch::Join
            if request.subscribed_topic_names.is_none()
                && request.subscribed_topic_regex.is_none() =>
        {
            invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            )
        }
        MemberEpoch::LeaveForNow if request.instance_id.is_none() => {
            invalid("InstanceId can't be null.")
        }
        epoch => Ok(epoch),
    }
}

fn offered(name: &str, assignors: &[Assignor]) -> Result<Assignor, Fault> {
    let found = Assignor::named(name).filter(|assignor| assignors.contains(assignor));
    found.ok_or_else(|| {
        let offered: Vec<_> = assignors.iter().map(|assignor| assignor.name()).collect();
        let message = format!(
            "ServerAssignor {name} is not supported. Supported assignors: {}.",
            offered.join(", ")
        );
        Fault::with(Code::UnsupportedAssignor, message)
    })
}

fn refusal(fault: &Fault) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(fault.code())
        .with_error_message(fault.message().map(text))
}

fn respond(answer: Answered) -> ConsumerGroupHeartbeatResponse {
    match answer {
        Ok(Reply::Consumer(Consumer::Heartbeat(Ok(beat)))) => success(&beat),
        Ok(Reply::Consumer(Consumer::Heartbeat(Err(fault)))) => refusal(&fault),
        other => refusal(&fault_of(other)),
    }
}

fn success(beat: &Beat) -> ConsumerGroupHeartbeatResponse {
    let topic = |(id, of): (&crate::base::ids::Uuid, &BTreeSet<i32>)| {
        TopicPartitions::default().with_topic_id(*id).with_partitions(of.iter().copied().collect())
    };
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(&beat.member_id)))
        .with_member_epoch(beat.epoch)
        .with_heartbeat_interval_ms(beat.heartbeat_interval_ms)
        .with_assignment(beat.assignment.as_ref().map(|assignment| {
            Assignment::default().with_topic_partitions(assignment.iter().map(topic).collect())
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;

    fn join() -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(text("g").into())
            .with_member_id(text("m"))
            .with_rebalance_timeout_ms(1)
            .with_subscribed_topic_names(Some(Vec::new()))
            .with_topic_partitions(Some(Vec::new()))
    }

    #[test]
    fn a_request_says_all_that_its_kind_needs() {
        let some = |value: &str| Some(text(value));
        let report = || {
            ConsumerGroupHeartbeatRequest::default()
                .with_group_id(text("g").into())
                .with_member_id(text("m"))
                .with_rebalance_timeout_ms(-1)
        };
        let pattern =
            join().with_subscribed_topic_names(None).with_subscribed_topic_regex(some(""));
        for (good, epoch) in [
            (join(), MemberEpoch::Join),
            (pattern, MemberEpoch::Join),
            (report().with_member_epoch(7), MemberEpoch::At(7)),
            (report().with_member_epoch(-1), MemberEpoch::Leave),
            (report().with_member_epoch(-2).with_instance_id(some("i")), MemberEpoch::LeaveForNow),
        ] {
            assert_eq!(check(1, &good), Ok(epoch), "{good:?}");
        }
        for bad in [
            join().with_group_id(text("").into()),
            join().with_member_id(text("")),
            join().with_instance_id(some("")),
            join().with_rack_id(some("")),
            join().with_rebalance_timeout_ms(-1),
            join().with_topic_partitions(None),
            join().with_topic_partitions(Some(vec![Owned::default()])),
            join().with_subscribed_topic_names(None),
            report().with_member_epoch(-2),
            report().with_member_epoch(-3),
            report().with_member_epoch(7).with_member_id(text("")),
        ] {
            assert_eq!(check(1, &bad).map_err(|f| f.kind()), Err(Code::InvalidRequest), "{bad:?}");
        }
    }

    #[test]
    fn an_old_client_may_leave_its_id_to_the_broker() {
        assert_eq!(check(0, &join().with_member_id(text(""))), Ok(MemberEpoch::Join));
    }

    #[test]
    fn an_assignor_must_be_offered() {
        assert_eq!(offered("range", &[Assignor::Range]), Ok(Assignor::Range));
        for name in ["uniform", "Range", ""] {
            let refused = offered(name, &[Assignor::Range]).map_err(|fault| fault.kind());
            assert_eq!(refused, Err(Code::UnsupportedAssignor), "{name}");
        }
    }
}
