//! Metadata: which topics there are, and who leads their partitions.
//!
//! A topic is in the catalog only when its partitions are served, so an answer never promises
//! what a produce cannot use, also right after an automatic creation.

pub mod cache;
mod partitions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustc_hash::FxHashSet;
use uuid::Uuid;

use super::Services;
use super::connection::ListenerInfo;
use super::endpoint::{self, Begun, Cx, Endpoint, Row};
use super::reply::Outcome;
use super::text;
use crate::base::fault::{Code, Fault};
use crate::catalog::{Catalog, Change, Command, NewTopic, Topic, check_topic_name, is_internal};
use cache::Question;
pub use partitions::{Leadership, leadership};

/// Topic operations of a client that no authorizer limits: read, write, create, delete, alter,
/// describe, and describe and alter configs. Source: a running Kafka 4.3.1.
pub const ALL_TOPIC_OPERATIONS: i32 = 3576;
/// The same for the cluster.
pub const ALL_CLUSTER_OPERATIONS: i32 = 8096;
/// Operations that were not asked for.
pub const UNASKED_OPERATIONS: i32 = i32::MIN;

/// v0 empty = all topics. v1 null = all, empty = none; controller, rack, internal. v2 cluster id.
/// v3 throttle time. v4 whether to create missing topics. v5 offline replicas. v7 leader epoch.
/// v8 authorized operations. v9 flexible. v10 topic ids in the answer. v11 cluster operations are
/// gone. v12 topics by id. v13 error of the whole answer, never set here.
pub struct Metadata;

impl Endpoint for Metadata {
    const KEY: ApiKey = ApiKey::Metadata;
    const VERSIONS: RangeInclusive<i16> = 0..=13;
    type Request = MetadataRequest;
    type Response = MetadataResponse;

    fn begin(cx: &mut Cx<'_>, request: MetadataRequest) -> Begun<MetadataResponse> {
        let asked = Asked::of(&request, cx.version);
        let wanted = match wanted(request, cx.version) {
            Ok(wanted) => wanted,
            Err(refusal) => return Begun::Done(refusal),
        };
        let services = Arc::clone(cx.services);
        let listener = Arc::clone(&cx.connection.listener);
        let missing = missing(&services, asked, &wanted);
        if missing.is_empty() {
            let catalog = services.metadata.catalog();
            let topics = wanted.find(&catalog, &BTreeMap::new());
            return Begun::Done(respond(&services, &listener, asked, topics));
        }
        let command = |name: &StrBytes| {
            let new = NewTopic::with_defaults(name, services.env.random_uuid());
            Command::CreateTopic(NewTopic { role: services.steward.meant(name), ..new })
        };
        let pending = services.metadata.submit(missing.iter().map(command).collect());
        Begun::later(async move {
            let refused = refusals(missing, pending.wait().await);
            let topics = wanted.find(&services.metadata.catalog(), &refused);
            respond(&services, &listener, asked, topics)
        })
    }
}

/// The row of Metadata: answers to "all topics" come out of the cache.
#[must_use]
pub fn row() -> Row {
    Row { begin, ..Row::of::<Metadata>() }
}

fn begin(cx: &mut Cx<'_>, correlation_id: i32, body: Bytes) -> Outcome {
    let request = match endpoint::decode::<Metadata>(cx.version, body) {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    if !is_all(&request, cx.version) {
        return endpoint::begin_decoded::<Metadata>(cx, correlation_id, request);
    }
    let asked = Asked::of(&request, cx.version);
    let question = Question {
        version: cx.version,
        listener: Arc::clone(&cx.connection.listener),
        topic_operations: asked.topic_operations,
        cluster_operations: asked.cluster_operations,
    };
    let services = cx.services;
    let catalog = services.metadata.catalog();
    let listener = &cx.connection.listener;
    let respond =
        || respond(services, listener, asked, Wanted::All.find(&catalog, &BTreeMap::new()));
    match services.all_topics.reply(correlation_id, &catalog, question, respond) {
        Ok(reply) => Outcome::reply(reply),
        Err(error) => Outcome::close(error),
    }
}

/// v0 has no null: it says "all" by naming none.
fn is_all(request: &MetadataRequest, version: i16) -> bool {
    request.topics.as_ref().is_none_or(|topics| topics.is_empty() && version == 0)
}

/// Which topics a request is about.
enum Wanted {
    All,
    Names(Vec<StrBytes>),
    Ids(Vec<Uuid>),
}

impl Wanted {
    /// What the catalog says of each; `refused` are topics that could not be created.
    fn find(
        &self,
        catalog: &Catalog,
        refused: &BTreeMap<StrBytes, Code>,
    ) -> Vec<MetadataResponseTopic> {
        match self {
            Self::All => catalog.topics().map(|topic| known(catalog, topic)).collect(),
            Self::Names(names) => {
                names.iter().map(|name| named(catalog, name, refused.get(name).copied())).collect()
            }
            Self::Ids(ids) => ids.iter().map(|id| identified(catalog, *id)).collect(),
        }
    }
}

/// What a request asks besides its topics.
#[derive(Clone, Copy)]
struct Asked {
    may_create: bool,
    topic_operations: bool,
    cluster_operations: bool,
}

impl Asked {
    fn of(request: &MetadataRequest, version: i16) -> Self {
        Self {
            may_create: request.allow_auto_topic_creation,
            topic_operations: request.include_topic_authorized_operations,
            cluster_operations: request.include_cluster_authorized_operations && version <= 10,
        }
    }
}

/// Names of topics that are to be created now.
fn missing(services: &Services, asked: Asked, wanted: &Wanted) -> Vec<StrBytes> {
    let Wanted::Names(names) = wanted else { return Vec::new() };
    if !asked.may_create || !services.settings.auto_create_topics_enable {
        return Vec::new();
    }
    let catalog = services.metadata.catalog();
    // The brokers' own topics come with what needs them, not by being asked for.
    let missing = |name: &&StrBytes| {
        catalog.topic(name).is_none() && check_topic_name(name).is_ok() && !is_internal(name)
    };
    names.iter().filter(missing).cloned().collect()
}

/// Ids win: Kafka looks at no name once a request has an id. Each topic is answered once.
fn wanted(request: MetadataRequest, version: i16) -> Result<Wanted, MetadataResponse> {
    if is_all(&request, version) {
        return Ok(Wanted::All);
    }
    let topics = request.topics.unwrap_or_default();
    let has_id = |topic: &MetadataRequestTopic| !topic.topic_id.is_nil();
    let unheard_of = |topic: &MetadataRequestTopic| match version {
        ..12 => topic.name.is_none() || has_id(topic),
        _ => topic.name.is_none() && !has_id(topic),
    };
    if topics.iter().any(unheard_of) {
        return Err(refuse_all(topics));
    }
    if topics.iter().any(has_id) {
        let mut seen = FxHashSet::default();
        let ids = topics.iter().map(|topic| topic.topic_id);
        return Ok(Wanted::Ids(ids.filter(|id| !id.is_nil() && seen.insert(*id)).collect()));
    }
    let mut seen = FxHashSet::default();
    let names = topics.into_iter().filter_map(|topic| topic.name).map(|name| name.0);
    Ok(Wanted::Names(names.filter(|name| seen.insert(name.clone())).collect()))
}

/// The answer to a request that names no topic, or names it as its version does not know.
fn refuse_all(topics: Vec<MetadataRequestTopic>) -> MetadataResponse {
    let refuse = |topic: MetadataRequestTopic| {
        MetadataResponseTopic::default()
            .with_error_code(Code::InvalidRequest.code())
            .with_name(Some(topic.name.unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    };
    MetadataResponse::default()
        .with_controller_id(BrokerId(-1))
        .with_topics(topics.into_iter().map(refuse).collect())
}

/// What creating missing topics came to, by name, where it failed.
fn refusals(
    missing: Vec<StrBytes>,
    created: Result<Vec<Result<Change, Fault>>, Fault>,
) -> BTreeMap<StrBytes, Code> {
    let outcomes = match created {
        Ok(outcomes) => outcomes,
        Err(fault) => missing.iter().map(|_| Err(fault.clone())).collect(),
    };
    let failed = |(name, outcome): (StrBytes, Result<Change, Fault>)| match outcome.err()?.kind() {
        // Somebody else was faster: the topic is there.
        Code::TopicAlreadyExists => None,
        code @ (Code::InvalidTopicException
        | Code::InvalidReplicationFactor
        | Code::PolicyViolation) => Some((name, code)),
        // Anything else may pass: the client asks again.
        _ => Some((name, Code::LeaderNotAvailable)),
    };
    missing.into_iter().zip(outcomes).filter_map(failed).collect()
}

fn respond(
    services: &Services,
    listener: &ListenerInfo,
    asked: Asked,
    mut topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    if asked.topic_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = ALL_TOPIC_OPERATIONS;
        }
    }
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(services.node.node_id))
        .with_host(text(&listener.advertised_host))
        .with_port(i32::from(listener.advertised_port))
        .with_rack(services.settings.broker_rack.as_deref().map(text));
    let operations =
        if asked.cluster_operations { ALL_CLUSTER_OPERATIONS } else { UNASKED_OPERATIONS };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&services.node.cluster_id)))
        .with_controller_id(BrokerId(services.node.node_id))
        .with_cluster_authorized_operations(operations)
        .with_topics(topics)
}

fn named(catalog: &Catalog, name: &StrBytes, refused: Option<Code>) -> MetadataResponseTopic {
    if let Some(topic) = catalog.topic(name) {
        return known(catalog, topic);
    }
    let code = match check_topic_name(name) {
        Ok(()) => refused.unwrap_or(Code::UnknownTopicOrPartition),
        Err(fault) => fault.kind(),
    };
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(name.clone())))
}

fn identified(catalog: &Catalog, id: Uuid) -> MetadataResponseTopic {
    match catalog.topic_by_id(id) {
        Some(topic) => known(catalog, topic),
        None => MetadataResponseTopic::default()
            .with_error_code(Code::UnknownTopicId.code())
            .with_name(None)
            .with_topic_id(id),
    }
}

fn known(catalog: &Catalog, topic: &Topic) -> MetadataResponseTopic {
    let epoch = catalog.leader_epoch(topic);
    let partition = |index| {
        let Leadership { error_code, leader, replicas, offline } =
            leadership(catalog, topic, index);
        MetadataResponsePartition::default()
            .with_error_code(error_code)
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(epoch)
            .with_isr_nodes(replicas.clone())
            .with_replica_nodes(replicas)
            .with_offline_replicas(offline)
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions((0..topic.partitions).map(partition).collect())
}
