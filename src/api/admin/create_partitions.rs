//! CreatePartitions.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreatePartitionsResponse, TopicName,
};

use super::{duplicate, outcomes, repeated};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::Fault;
use crate::catalog::{Change, Command, NewPartitions};

/// v1 throttled after the answer. v2 flexible. v3 may be throttled by quota.
pub struct CreatePartitions;

impl Endpoint for CreatePartitions {
    const KEY: ApiKey = ApiKey::CreatePartitions;
    const VERSIONS: RangeInclusive<i16> = 0..=3;
    type Request = CreatePartitionsRequest;
    type Response = CreatePartitionsResponse;

    fn begin(cx: &mut Cx<'_>, request: CreatePartitionsRequest) -> Begun<CreatePartitionsResponse> {
        let services = Arc::clone(cx.services);
        let topics = request.topics;
        let twice = repeated(topics.iter().map(|topic| topic.name.clone()));
        let once = topics.into_iter().filter(|topic| !twice.contains(&topic.name));
        let (names, commands): (Vec<TopicName>, Vec<Command>) = once
            .map(|topic| (topic.name.clone(), Command::AddPartitions(new_partitions(topic))))
            .unzip();
        let mut results: Vec<_> =
            twice.into_iter().map(|name| result(name, Err(duplicate("topic name")))).collect();
        if request.validate_only {
            let judged = commands.iter().map(|command| services.metadata.check(command));
            results
                .extend(names.into_iter().zip(judged).map(|(name, judged)| result(name, judged)));
            return Begun::Done(CreatePartitionsResponse::default().with_results(results));
        }
        let pending = services.metadata.submit(commands);
        Begun::later(async move {
            let outcomes = outcomes(pending.wait().await, names.len());
            results.extend(names.into_iter().zip(outcomes).map(|(name, done)| result(name, done)));
            CreatePartitionsResponse::default().with_results(results)
        })
    }
}

fn new_partitions(topic: CreatePartitionsTopic) -> NewPartitions {
    let replicas = |ids: Vec<_>| ids.into_iter().map(|id: kafka_protocol::messages::BrokerId| id.0);
    let assignments = topic.assignments.map(|assignments| {
        assignments.into_iter().map(|a| replicas(a.broker_ids).collect()).collect()
    });
    NewPartitions { topic: topic.name.to_string(), count: topic.count, assignments }
}

fn result(name: TopicName, outcome: Result<Change, Fault>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match outcome {
        Ok(_) => result.with_error_message(None),
        Err(fault) => {
            result.with_error_code(fault.code()).with_error_message(fault.message().map(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    use super::*;
    use crate::api::kit::{Kit, NODE, topic_name};
    use crate::base::fault::Code;

    fn topic(name: &str, count: i32) -> CreatePartitionsTopic {
        CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None)
    }

    fn ask(kit: &mut Kit, version: i16, topics: Vec<CreatePartitionsTopic>) -> Vec<(String, i16)> {
        let asked = CreatePartitionsRequest::default().with_topics(topics);
        let response = kit.ask::<CreatePartitions>(version, &asked);
        response.results.into_iter().map(|r| (r.name.to_string(), r.error_code)).collect()
    }

    #[test]
    fn every_version_adds_partitions() {
        let mut kit = Kit::with_topics(&[("t", 1)]);
        for version in CreatePartitions::VERSIONS {
            let count = i32::from(version) + 2;
            assert_eq!(ask(&mut kit, version, vec![topic("t", count)]), [("t".to_owned(), 0)]);
            assert_eq!(kit.topic("t").unwrap().partitions, count);
        }
    }

    #[test]
    fn refusals_are_told_by_topic() {
        let mut kit = Kit::with_topics(&[("t", 2), ("u", 2), ("v", 2)]);
        let assign = |broker| CreatePartitionsAssignment::default().with_broker_ids(vec![broker]);
        let elsewhere = topic("u", 3).with_assignments(Some(vec![assign(BrokerId(9))]));
        let here = topic("v", 3).with_assignments(Some(vec![assign(NODE)]));
        let topics = vec![topic("t", 2), topic("nope", 3), elsewhere, here];
        assert_eq!(
            ask(&mut kit, 3, topics),
            [
                ("t".to_owned(), Code::InvalidPartitions.code()),
                ("nope".to_owned(), Code::UnknownTopicOrPartition.code()),
                ("u".to_owned(), Code::InvalidReplicaAssignment.code()),
                ("v".to_owned(), 0),
            ]
        );
    }

    #[test]
    fn a_topic_that_comes_twice_is_refused_and_validation_changes_nothing() {
        let mut kit = Kit::with_topics(&[("t", 2), ("u", 2)]);
        let told = ask(&mut kit, 3, vec![topic("t", 3), topic("u", 3), topic("t", 4)]);
        assert_eq!(told, [("t".to_owned(), Code::InvalidRequest.code()), ("u".to_owned(), 0)]);
        let asked = CreatePartitionsRequest::default()
            .with_topics(vec![topic("t", 9), topic("u", 1)])
            .with_validate_only(true);
        let response = kit.ask::<CreatePartitions>(3, &asked);
        let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, Code::InvalidPartitions.code()]);
        assert_eq!(kit.topic("t").unwrap().partitions, 2);
    }
}
