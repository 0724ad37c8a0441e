//! FindCoordinator (key 10): which node answers for a group.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | a group's coordinator | |
//! | 1 | key type, error message, throttle time | |
//! | 3 | flexible | |
//! | 4 | many keys (KIP-699) | |
//! | 5 | TRANSACTION_ABORTABLE (KIP-890) | never answered |
//! | 6 | share coordinators (KIP-932) | refused: there are none |
//!
//! The offsets topic is created by the first question for a group, as in Kafka, which answers
//! that question with COORDINATOR_NOT_AVAILABLE; here it waits until the topic is there.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::connection::ListenerInfo;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::{Services, text, topics};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::catalog::{Command, NewTopic};
use crate::coord::group::GROUPS_TOPIC;
use crate::coord::partition::partition_of;

/// Key types of the request.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// From this version on there are many keys.
const BATCHED_SINCE: i16 = 4;

/// The API itself.
pub struct FindCoordinator;

impl Endpoint for FindCoordinator {
    const KEY: ApiKey = ApiKey::FindCoordinator;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
    type Request = FindCoordinatorRequest;
    type Response = FindCoordinatorResponse;

    fn begin(cx: &mut Cx<'_>, request: FindCoordinatorRequest) -> Begun<FindCoordinatorResponse> {
        let services = Arc::clone(cx.services);
        let listener = Arc::clone(&cx.connection.listener);
        let asked = Asked::of(request, cx.version);
        let topic_is_missing = services.metadata.catalog().topic(GROUPS_TOPIC).is_none();
        if asked.key_type != GROUP || !topic_is_missing {
            return Begun::Done(asked.answer(&services, &listener));
        }
        let created = services.metadata.submit(vec![offsets_topic(&services)]);
        Begun::later(async move {
            let fault = match created.wait().await {
                Ok(outcomes) => outcomes.into_iter().find_map(Result::err),
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault.filter(|fault| fault.kind() != Code::TopicAlreadyExists) {
                tracing::warn!(%fault, "{GROUPS_TOPIC} cannot be created");
            }
            asked.answer(&services, &listener)
        })
    }
}

/// The topic that holds what groups store, as Kafka creates it.
fn offsets_topic(services: &Services) -> Command {
    let offsets = &services.settings.groups.offsets;
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    Command::CreateTopic(NewTopic {
        partitions: offsets.topic_partitions,
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", offsets.topic_segment_bytes.to_string()),
        ],
        ..NewTopic::with_defaults(GROUPS_TOPIC, services.env.random_uuid())
    })
}

struct Asked {
    key_type: i8,
    keys: Vec<StrBytes>,
    batched: bool,
}

impl Asked {
    fn of(request: FindCoordinatorRequest, version: i16) -> Self {
        let batched = version >= BATCHED_SINCE;
        let keys = if batched { request.coordinator_keys } else { vec![request.key] };
        Self { key_type: request.key_type, keys, batched }
    }

    fn answer(self, services: &Services, listener: &ListenerInfo) -> FindCoordinatorResponse {
        let found = self.keys.into_iter().map(|key| {
            let outcome = find(services, self.key_type, &key);
            coordinator(services, listener, outcome).with_key(key)
        });
        if self.batched {
            return FindCoordinatorResponse::default().with_coordinators(found.collect());
        }
        let one = found.last().unwrap_or_default();
        FindCoordinatorResponse::default()
            .with_error_code(one.error_code)
            .with_error_message(one.error_message)
            .with_node_id(one.node_id)
            .with_host(one.host)
            .with_port(one.port)
    }
}

/// Whether the coordinator is this node: the only one whose address is known.
fn find(services: &Services, key_type: i8, key: &str) -> Result<(), Fault> {
    match key_type {
        GROUP => find_group(services, key),
        TRANSACTION => Err(topics::refuse_transactional(&services.metrics, key)),
        SHARE => Err(Fault::with(Code::InvalidRequest, "Share groups are not served.")),
        other => {
            Err(Fault::with(Code::InvalidRequest, format!("Coordinator type {other} is unknown.")))
        }
    }
}

fn find_group(services: &Services, group_id: &str) -> Result<(), Fault> {
    let catalog = services.metadata.catalog();
    let topic = catalog.topic(GROUPS_TOPIC).ok_or(Code::CoordinatorNotAvailable)?;
    let tp = TopicPartition::new(topic.id, partition_of(group_id, topic.partitions));
    match catalog.leader(tp) {
        node if node == services.node.node_id => Ok(()),
        _ => Err(Code::CoordinatorNotAvailable.into()),
    }
}

fn coordinator(
    services: &Services,
    listener: &ListenerInfo,
    outcome: Result<(), Fault>,
) -> Coordinator {
    match outcome {
        Ok(()) => Coordinator::default()
            .with_node_id(BrokerId(services.node.node_id))
            .with_host(text(&listener.advertised_host))
            .with_port(i32::from(listener.advertised_port)),
        Err(fault) => Coordinator::default()
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(fault.code())
            .with_error_message(fault.message().map(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kit::{Kit, NODE};

    fn request(version: i16, key_type: i8, key: &str) -> FindCoordinatorRequest {
        let request = FindCoordinatorRequest::default();
        let request = if version >= 1 { request.with_key_type(key_type) } else { request };
        if version >= BATCHED_SINCE {
            request.with_coordinator_keys(vec![text(key)])
        } else {
            request.with_key(text(key))
        }
    }

    /// Code, node, host and port, whatever the version's form.
    fn found(kit: &mut Kit, version: i16, key_type: i8) -> (i16, BrokerId, String, i32) {
        let request = request(version, key_type, "g");
        let response = kit.ask::<FindCoordinator>(version, &request);
        if version < BATCHED_SINCE {
            let FindCoordinatorResponse { error_code, node_id, host, port, .. } = response;
            return (error_code, node_id, host.to_string(), port);
        }
        let [one] = &response.coordinators[..] else { panic!("{response:?}") };
        assert_eq!(&*one.key, "g");
        (one.error_code, one.node_id, one.host.to_string(), one.port)
    }

    #[test]
    fn every_version_finds_this_node_and_the_first_creates_the_topic() {
        for version in FindCoordinator::VERSIONS {
            let mut kit = Kit::with(&[("offsets.topic.num.partitions", "5")]);
            let here = (0, NODE, "broker.example".to_owned(), 9092);
            assert_eq!(found(&mut kit, version, GROUP), here);
            let topic = kit.topic(GROUPS_TOPIC).expect("created");
            assert_eq!((topic.partitions, &*topic.configs["cleanup.policy"]), (5, "compact"));
            assert_eq!(found(&mut kit, version, GROUP), here, "v{version}, the second time");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_and_creates_nothing() {
        let mut kit = Kit::new();
        for (key_type, code) in [
            (TRANSACTION, Code::TransactionalIdAuthorizationFailed),
            (SHARE, Code::InvalidRequest),
            (9, Code::InvalidRequest),
        ] {
            for version in 1..=6 {
                let none = (code.code(), BrokerId(-1), String::new(), -1);
                assert_eq!(found(&mut kit, version, key_type), none);
            }
        }
        assert!(kit.topic(GROUPS_TOPIC).is_none());
    }
}
