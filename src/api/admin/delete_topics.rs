//! DeleteTopics. A topic is out of sight and its partitions are closed when the answer comes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use rustc_hash::FxHashSet;

use super::{duplicate, outcomes, repeated};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::catalog::{Catalog, Change, Command, TopicKey};

/// v1 throttle time. v2 throttled after the answer. v3 its own code where deletion is disabled.
/// v4 flexible. v5 messages. v6 topics by id, and ids in the answer.
pub struct DeleteTopics;

impl Endpoint for DeleteTopics {
    const KEY: ApiKey = ApiKey::DeleteTopics;
    const VERSIONS: RangeInclusive<i16> = 1..=6;
    type Request = DeleteTopicsRequest;
    type Response = DeleteTopicsResponse;

    fn begin(cx: &mut Cx<'_>, request: DeleteTopicsRequest) -> Begun<DeleteTopicsResponse> {
        let services = Arc::clone(cx.services);
        let version = cx.version;
        let named = request.topic_names.into_iter().map(Wanted::named);
        let topics: Vec<Wanted> = request.topics.into_iter().map(Wanted::of).chain(named).collect();
        if !services.settings.delete_topic_enable {
            let code = if version < 3 { Code::InvalidRequest } else { Code::TopicDeletionDisabled };
            let results = topics.into_iter().map(|topic| topic.failed(&code.into())).collect();
            return Begun::Done(DeleteTopicsResponse::default().with_responses(results));
        }
        let (mut results, wanted) = sort_out(&services.metadata.catalog(), topics);
        let commands = wanted.iter().map(|topic| Command::DeleteTopic(topic.key())).collect();
        let pending = services.metadata.submit(commands);
        Begun::later(async move {
            let outcomes = outcomes(pending.wait().await, wanted.len());
            let told = wanted.into_iter().zip(outcomes).map(|(topic, outcome)| match outcome {
                Ok(change) => topic.deleted(&change),
                Err(fault) => topic.failed(&fault),
            });
            results.extend(told);
            DeleteTopicsResponse::default().with_responses(results)
        })
    }
}

/// A topic as the request has it: a name, or an id that is not nil.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Wanted {
    name: Option<TopicName>,
    id: Uuid,
}

impl Wanted {
    fn of(topic: DeleteTopicState) -> Self {
        Self { name: topic.name, id: topic.topic_id }
    }

    fn named(name: TopicName) -> Self {
        Self { name: Some(name), id: Uuid::nil() }
    }

    fn key(&self) -> TopicKey {
        match &self.name {
            Some(name) => TopicKey::Name(name.to_string()),
            None => TopicKey::Id(self.id),
        }
    }

    fn failed(self, fault: &Fault) -> DeletableTopicResult {
        DeletableTopicResult::default()
            .with_name(self.name)
            .with_topic_id(self.id)
            .with_error_code(fault.code())
            .with_error_message(fault.message().map(text))
    }

    fn deleted(self, change: &Change) -> DeletableTopicResult {
        let result = DeletableTopicResult::default().with_error_message(None);
        match change {
            Change::TopicDeleted(topic) => {
                result.with_name(Some(TopicName(text(&topic.name)))).with_topic_id(topic.id)
            }
            _ => result.with_name(self.name).with_topic_id(self.id),
        }
    }
}

/// Refuses what the request says twice or not clearly: the refusals, and what is left to delete.
fn sort_out(catalog: &Catalog, topics: Vec<Wanted>) -> (Vec<DeletableTopicResult>, Vec<Wanted>) {
    let invalid = |message| Fault::with(Code::InvalidRequest, message);
    let mut refused = Vec::new();
    let clear = |topic: &Wanted| match (&topic.name, topic.id.is_nil()) {
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        _ => Ok(()),
    };
    let mut wanted: Vec<Wanted> = Vec::new();
    for topic in topics {
        match clear(&topic) {
            Ok(()) => wanted.push(topic),
            Err(fault) => refused.push(topic.failed(&fault)),
        }
    }
    for topic in repeated(wanted.iter().cloned()) {
        wanted.retain(|other| *other != topic);
        let what = if topic.name.is_some() { "topic name" } else { "topic id" };
        refused.push(topic.failed(&duplicate(what)));
    }
    // A name and an id may still be one topic, which is then not deleted at all.
    let id_of = |topic: &Wanted| match &topic.name {
        Some(name) => catalog.topic(name).map(|topic| topic.id),
        None => Some(topic.id),
    };
    let same: FxHashSet<Uuid> = repeated(wanted.iter().filter_map(id_of));
    wanted.retain(|topic| {
        let twice = id_of(topic).filter(|id| same.contains(id));
        if let (Some(id), Some(_)) = (twice, &topic.name) {
            let fault = invalid("The topic is named both by its name and by its id.");
            refused.push(Wanted { id, ..topic.clone() }.failed(&fault));
        }
        twice.is_none()
    });
    (refused, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kit::{Kit, topic_name};

    fn by_names(version: i16, names: &[&str]) -> DeleteTopicsRequest {
        let names = names.iter().map(|name| topic_name(name));
        if version < 6 {
            return DeleteTopicsRequest::default().with_topic_names(names.collect());
        }
        let state = |name| DeleteTopicState::default().with_name(Some(name));
        DeleteTopicsRequest::default().with_topics(names.map(state).collect())
    }

    fn ask(kit: &mut Kit, topics: &[(Option<&str>, Uuid)]) -> Vec<(Option<String>, Uuid, i16)> {
        let state = |(name, id): &(Option<&str>, Uuid)| {
            DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(*id)
        };
        let topics = topics.iter().map(state).collect();
        let asked = DeleteTopicsRequest::default().with_topics(topics);
        let response = kit.ask::<DeleteTopics>(6, &asked);
        let told = |result: DeletableTopicResult| {
            (result.name.map(|name| name.to_string()), result.topic_id, result.error_code)
        };
        response.responses.into_iter().map(told).collect()
    }

    #[test]
    fn every_version_deletes_by_name() {
        for version in DeleteTopics::VERSIONS {
            let mut kit = Kit::with_topics(&[("t", 2)]);
            let id = kit.topic_id("t");
            let response = kit.ask::<DeleteTopics>(version, &by_names(version, &["t", "nope"]));
            let codes: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
            assert_eq!(codes, [0, Code::UnknownTopicOrPartition.code()]);
            let told = &response.responses[0];
            assert_eq!(told.topic_id, if version >= 6 { id } else { Uuid::nil() });
            assert!(kit.topic("t").is_none());
        }
    }

    #[test]
    fn ids_delete_too_and_the_answer_has_the_name() {
        let mut kit = Kit::with_topics(&[("t", 1)]);
        let id = kit.topic_id("t");
        assert_eq!(ask(&mut kit, &[(None, id)]), [(Some("t".to_owned()), id, 0)]);
        let unknown = Code::UnknownTopicId.code();
        assert_eq!(ask(&mut kit, &[(None, id)]), [(None, id, unknown)]);
    }

    #[test]
    fn what_is_unclear_or_said_twice_is_refused_and_nothing_deleted() {
        let mut kit = Kit::with_topics(&[("t", 1)]);
        let id = kit.topic_id("t");
        let (nil, bad) = (Uuid::nil(), Code::InvalidRequest.code());
        let t = || Some("t".to_owned());
        assert_eq!(ask(&mut kit, &[(None, nil)]), [(None, nil, bad)]);
        assert_eq!(ask(&mut kit, &[(Some("t"), id)]), [(t(), id, bad)]);
        assert_eq!(ask(&mut kit, &[(Some("t"), nil), (Some("t"), nil)]), [(t(), nil, bad)]);
        assert_eq!(ask(&mut kit, &[(None, id), (None, id)]), [(None, id, bad)]);
        assert_eq!(ask(&mut kit, &[(None, id), (Some("t"), nil)]), [(t(), id, bad)]);
        assert!(kit.topic("t").is_some());
    }

    #[test]
    fn deletion_can_be_disabled() {
        for (version, code) in [(1, Code::InvalidRequest), (3, Code::TopicDeletionDisabled)] {
            let mut kit = Kit::with(&[("delete.topic.enable", "false")]);
            let response = kit.ask::<DeleteTopics>(version, &by_names(version, &["t"]));
            assert_eq!(response.responses[0].error_code, code.code());
        }
    }
}
