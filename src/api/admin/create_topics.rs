//! CreateTopics.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse, TopicName,
};
use rustc_hash::FxHashSet;

use super::{duplicate, outcomes, repeated};
use crate::api::configs::describe::source_number;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::{Services, text};
use crate::base::fault::{Code, Fault};
use crate::base::settings::{Described, describe_role, describe_topic_defaults};
use crate::catalog::{Change, Command, NewTopic, Topic};

/// Replicas of every partition.
const REPLICATION_FACTOR: i16 = 1;

/// v2 throttle time. v4 -1 for the broker's default of partitions and replicas, accepted below
/// too, as Kafka does. v5 flexible, and configs, partitions and replicas in the answer. v6 may be
/// throttled by quota. v7 topic ids.
pub struct CreateTopics;

impl Endpoint for CreateTopics {
    const KEY: ApiKey = ApiKey::CreateTopics;
    const VERSIONS: RangeInclusive<i16> = 2..=7;
    type Request = CreateTopicsRequest;
    type Response = CreateTopicsResponse;

    fn begin(cx: &mut Cx<'_>, request: CreateTopicsRequest) -> Begun<CreateTopicsResponse> {
        let services = Arc::clone(cx.services);
        let topics = request.topics;
        let twice = repeated(topics.iter().map(|topic| topic.name.clone()));
        let once = topics.into_iter().filter(|topic| !twice.contains(&topic.name));
        let (names, commands): (Vec<TopicName>, Vec<Command>) = once
            .map(|topic| (topic.name.clone(), new_topic(&services, topic)))
            .map(|(name, new)| (name, Command::CreateTopic(new)))
            .unzip();
        let answer = Answer { names, twice, version: cx.version };
        if request.validate_only {
            let judged = commands.iter().map(|command| services.metadata.check(command)).collect();
            return Begun::Done(answer.with(&services, judged));
        }
        let pending = services.metadata.submit(commands);
        Begun::later(async move {
            let outcomes = outcomes(pending.wait().await, answer.names.len());
            answer.with(&services, outcomes)
        })
    }
}

/// What is kept of a request until its outcomes are there.
struct Answer {
    /// One for each command.
    names: Vec<TopicName>,
    /// Names that the request has more than once.
    twice: FxHashSet<TopicName>,
    version: i16,
}

impl Answer {
    fn with(
        self,
        services: &Services,
        outcomes: Vec<Result<Change, Fault>>,
    ) -> CreateTopicsResponse {
        // Older versions do not tell configs.
        let defaults = if self.version >= 5 { topic_defaults(services) } else { Vec::new() };
        let one = |(name, outcome): (TopicName, Result<Change, Fault>)| match outcome {
            Ok(Change::TopicCreated(topic)) => created(&defaults, name, &topic, self.version),
            Ok(_) => failed(name, &Code::UnknownServerError.into()),
            Err(fault) => failed(name, &fault),
        };
        let twice = self.twice.into_iter().map(|name| failed(name, &duplicate("topic name")));
        let results = self.names.into_iter().zip(outcomes).map(one).chain(twice);
        CreateTopicsResponse::default().with_topics(results.collect())
    }
}

fn topic_defaults(services: &Services) -> Vec<Described> {
    describe_topic_defaults(&services.defaults.current(&services.metadata.catalog()))
}

fn new_topic(services: &Services, topic: CreatableTopic) -> NewTopic {
    let replicas = |ids: Vec<BrokerId>| ids.into_iter().map(|id| id.0).collect();
    let role = services.steward.meant(&topic.name);
    let assignments = topic.assignments.into_iter();
    let configs = topic.configs.into_iter();
    NewTopic {
        name: topic.name.to_string(),
        id: services.env.random_uuid(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.map(|a| (a.partition_index, replicas(a.broker_ids))).collect(),
        configs: configs.map(|c| (c.name.to_string(), c.value.map(|v| v.to_string()))).collect(),
        role,
    }
}

fn created(
    defaults: &[Described],
    name: TopicName,
    topic: &Topic,
    version: i16,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(name)
        .with_topic_id(topic.id)
        .with_error_message(None);
    if version < 5 {
        return result;
    }
    let own = defaults.iter().map(|default| default.of_topic(&topic.configs));
    let described: Vec<_> =
        own.chain(topic.role.iter().flat_map(|role| describe_role(role))).collect();
    let config = |config: &Described| {
        CreatableTopicConfigs::default()
            .with_name(text(config.spec.name))
            .with_value(config.value.as_deref().map(text))
            .with_read_only(config.read_only)
            .with_config_source(source_number(config.source))
            .with_is_sensitive(config.spec.sensitive)
    };
    result
        .with_num_partitions(topic.partitions)
        .with_replication_factor(REPLICATION_FACTOR)
        .with_configs(Some(described.iter().map(config).collect()))
}

fn failed(name: TopicName, fault: &Fault) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_code(fault.code())
        .with_error_message(fault.message().map(text))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::create_topics_request::{
        CreatableReplicaAssignment, CreatableTopicConfig,
    };

    use super::*;
    use crate::api::kit::{DEFAULT_PARTITIONS, Kit, NODE, topic_name};
    use crate::base::ids::Uuid;

    fn topic(name: &str, partitions: i32) -> CreatableTopic {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
    }

    fn config(key: &str, value: &str) -> CreatableTopicConfig {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    }

    fn create(kit: &mut Kit, version: i16, topics: Vec<CreatableTopic>) -> CreateTopicsResponse {
        kit.ask::<CreateTopics>(version, &CreateTopicsRequest::default().with_topics(topics))
    }

    fn codes(response: &CreateTopicsResponse) -> Vec<(&str, i16)> {
        response.topics.iter().map(|topic| (&topic.name[..], topic.error_code)).collect()
    }

    #[test]
    fn every_version_creates_and_tells_what_it_can() {
        let mut kit = Kit::new();
        for version in CreateTopics::VERSIONS {
            let name = format!("v{version}");
            let asked = topic(&name, -1).with_configs(vec![config("retention.ms", "5")]);
            let response = create(&mut kit, version, vec![asked]);
            assert_eq!(codes(&response), [(name.as_str(), 0)]);
            assert_eq!(kit.topic(&name).unwrap().partitions, DEFAULT_PARTITIONS);
            assert_eq!(kit.topic(&name).unwrap().configs["retention.ms"], "5");
            let told = &response.topics[0];
            assert_eq!(told.error_message.as_deref(), None);
            if version >= 5 {
                assert_eq!((told.num_partitions, told.replication_factor), (DEFAULT_PARTITIONS, 1));
                let configs = told.configs.as_ref().unwrap();
                let source =
                    |key: &str| configs.iter().find(|c| *c.name == *key).unwrap().config_source;
                assert_eq!((source("retention.ms"), source("cleanup.policy")), (1, 5));
            }
            let id = if version >= 7 { kit.topic_id(&name) } else { Uuid::nil() };
            assert_eq!(told.topic_id, id);
        }
    }

    #[test]
    fn a_topic_that_is_refused_does_not_hold_up_the_others() {
        let mut kit = Kit::with_topics(&[("old", 1)]);
        let topics = vec![topic("new", 1), topic("old", 1), topic("a b", 1), topic("zero", 0)];
        let response = create(&mut kit, 7, topics);
        assert_eq!(
            codes(&response),
            [
                ("new", 0),
                ("old", Code::TopicAlreadyExists.code()),
                ("a b", Code::InvalidTopicException.code()),
                ("zero", Code::InvalidPartitions.code()),
            ]
        );
        let message = response.topics[1].error_message.as_deref();
        assert_eq!(message, Some("Topic 'old' already exists."));
    }

    #[test]
    fn a_name_that_comes_twice_is_refused_once() {
        let mut kit = Kit::new();
        let response = create(&mut kit, 7, vec![topic("d", 1), topic("e", 1), topic("d", 2)]);
        assert_eq!(codes(&response), [("e", 0), ("d", Code::InvalidRequest.code())]);
        assert!(kit.topic("d").is_none());
    }

    #[test]
    fn validation_alone_creates_nothing() {
        let mut kit = Kit::with_topics(&[("old", 1)]);
        let asked = CreateTopicsRequest::default()
            .with_topics(vec![topic("new", 4), topic("old", 1)])
            .with_validate_only(true);
        let response = kit.ask::<CreateTopics>(7, &asked);
        assert_eq!(codes(&response), [("new", 0), ("old", Code::TopicAlreadyExists.code())]);
        assert_eq!(response.topics[0].num_partitions, 4);
        assert!(kit.topic("new").is_none());
    }

    #[test]
    fn assignments_and_configs_reach_the_judge() {
        let mut kit = Kit::new();
        let assign = |broker| {
            CreatableReplicaAssignment::default()
                .with_partition_index(0)
                .with_broker_ids(vec![broker])
        };
        let here = topic("here", -1).with_assignments(vec![assign(NODE)]);
        let elsewhere = topic("elsewhere", -1).with_assignments(vec![assign(BrokerId(9))]);
        let bad = topic("bad", 1).with_configs(vec![config("retention.ms", "soon")]);
        let response = create(&mut kit, 4, vec![here, elsewhere, bad]);
        assert_eq!(
            codes(&response),
            [
                ("here", 0),
                ("elsewhere", Code::InvalidReplicaAssignment.code()),
                ("bad", Code::InvalidConfig.code()),
            ]
        );
    }
}
