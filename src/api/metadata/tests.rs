use bytes::BytesMut;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::api::kit::{DEFAULT_PARTITIONS, Kit, NODE, topic_name};
use crate::api::reply::{Chunk, Ending};
use crate::base::ids::TopicPartition;
use crate::catalog::NO_LEADER;
use crate::wire::encode;

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic_name(name)))
}

fn by_id(id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(None).with_topic_id(id)
}

fn request(topics: Vec<MetadataRequestTopic>) -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(true)
}

/// Name, error code and number of partitions of each topic.
fn lines(response: &MetadataResponse) -> Vec<(String, i16, usize)> {
    let name = |topic: &MetadataResponseTopic| {
        topic.name.as_ref().map_or("<none>".to_owned(), |name| name.to_string())
    };
    response.topics.iter().map(|t| (name(t), t.error_code, t.partitions.len())).collect()
}

fn line(name: &str, error: Option<Code>, partitions: usize) -> (String, i16, usize) {
    (name.to_owned(), error.map_or(0, |code| code.code()), partitions)
}

#[test]
fn every_version_tells_brokers_and_partitions() {
    let mut kit = Kit::with_topics(&[("orders", 2)]);
    for version in Metadata::VERSIONS {
        let response = kit.ask::<Metadata>(version, &request(vec![by_name("orders")]));
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id, &broker.host[..], broker.port), (NODE, "broker.example", 9092));
        assert_eq!(response.controller_id == NODE, version >= 1, "v{version}");
        let cluster = response.cluster_id.as_deref();
        assert_eq!(cluster == Some("MkU3OEVBNTcwNTJENDM2Qg"), version >= 2, "v{version}");
        assert_eq!(lines(&response), [line("orders", None, 2)]);
        let topic = &response.topics[0];
        assert_eq!(!topic.topic_id.is_nil(), version >= 10, "v{version}");
        let partition = &topic.partitions[1];
        assert_eq!((partition.partition_index, partition.leader_id), (1, NODE));
        assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
        assert_eq!(
            (&partition.replica_nodes[..], &partition.isr_nodes[..]),
            (&[NODE][..], &[NODE][..])
        );
        assert!(partition.offline_replicas.is_empty());
    }
}

#[test]
fn no_topics_named_means_all_or_none_by_version() {
    let mut kit = Kit::with_topics(&[("b", 1), ("a", 1)]);
    for version in Metadata::VERSIONS {
        let none = kit.ask::<Metadata>(version, &request(vec![]));
        assert_eq!(none.topics.len(), if version == 0 { 2 } else { 0 }, "v{version}");
        if version >= 1 {
            let all = kit.ask::<Metadata>(version, &MetadataRequest::default().with_topics(None));
            assert_eq!(lines(&all), [line("a", None, 1), line("b", None, 1)]);
        }
    }
}

#[test]
fn a_missing_topic_is_created_with_defaults_and_usable_at_once() {
    let mut kit = Kit::new();
    for (version, name) in [(0, "v0"), (4, "v4"), (13, "v13")] {
        let response = kit.ask::<Metadata>(version, &request(vec![by_name(name), by_name(name)]));
        let partitions = usize::try_from(DEFAULT_PARTITIONS).unwrap();
        assert_eq!(lines(&response), [line(name, None, partitions)]);
        assert!(kit.topic(name).is_some());
    }
}

#[test]
fn nothing_is_created_when_client_or_broker_forbid_it() {
    let unknown = line("orders", Some(Code::UnknownTopicOrPartition), 0);
    let asked = request(vec![by_name("orders")]);
    let mut kit = Kit::new();
    let forbidden = asked.clone().with_allow_auto_topic_creation(false);
    assert_eq!(lines(&kit.ask::<Metadata>(4, &forbidden))[0], unknown);
    let mut kit = Kit::with(&[("auto.create.topics.enable", "false")]);
    assert_eq!(lines(&kit.ask::<Metadata>(13, &asked))[0], unknown);
    assert!(kit.topic("orders").is_none());
}

#[test]
fn internal_topics_are_not_created_by_being_asked_for() {
    let mut kit = Kit::new();
    let response = kit.ask::<Metadata>(9, &request(vec![by_name("__consumer_offsets")]));
    let unknown = line("__consumer_offsets", Some(Code::UnknownTopicOrPartition), 0);
    assert_eq!(lines(&response), [unknown]);
}

#[test]
fn illegal_and_colliding_names_say_so() {
    let mut kit = Kit::with_topics(&[("a.b", 1)]);
    let names = ["a b", "", "a_b", "fine"].map(by_name).to_vec();
    let response = kit.ask::<Metadata>(9, &request(names));
    let invalid = Some(Code::InvalidTopicException);
    assert_eq!(
        lines(&response),
        [
            line("a b", invalid, 0),
            line("", invalid, 0),
            line("a_b", invalid, 0),
            line("fine", None, 3),
        ]
    );
}

#[test]
fn topics_are_found_by_id_and_names_then_do_not_count() {
    let mut kit = Kit::with_topics(&[("a", 1), ("b", 1)]);
    let unknown = Uuid::from_u128(77);
    let asked = vec![by_id(kit.topic_id("a")), by_id(unknown), by_name("b"), by_id(unknown)];
    for version in [12, 13] {
        let response = kit.ask::<Metadata>(version, &request(asked.clone()));
        let missing = line("<none>", Some(Code::UnknownTopicId), 0);
        assert_eq!(lines(&response), [line("a", None, 1), missing]);
        assert_eq!(response.topics[1].topic_id, unknown);
    }
}

#[test]
fn ids_before_their_version_and_topics_without_name_or_id_are_refused() {
    let mut kit = Kit::with_topics(&[("a", 1)]);
    let id = kit.topic_id("a");
    let named = by_name("a").with_topic_id(id);
    for (version, topic) in [(10, named.clone()), (11, named), (12, by_id(Uuid::nil()))] {
        let response = kit.ask::<Metadata>(version, &request(vec![topic]));
        assert_eq!(response.topics[0].error_code, Code::InvalidRequest.code(), "v{version}");
        assert!(response.topics[0].partitions.is_empty());
    }
}

#[test]
fn operations_are_told_when_asked_for() {
    let mut kit = Kit::with_topics(&[("a", 1)]);
    let asked = request(vec![by_name("a")])
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let response = kit.ask::<Metadata>(10, &asked);
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
    assert_eq!(response.cluster_authorized_operations, 8096);
    let response = kit.ask::<Metadata>(10, &request(vec![by_name("a")]));
    assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
}

#[test]
fn a_partition_led_elsewhere_or_nowhere_is_told_so() {
    let kit = Kit::with_topics(&[("a", 3)]);
    let id = kit.topic_id("a");
    let catalog = Catalog::clone(&kit.services.metadata.catalog())
        .with_leader(TopicPartition::new(id, 1), 5)
        .with_leader(TopicPartition::new(id, 2), NO_LEADER);
    let topic = known(&catalog, catalog.topic("a").unwrap());
    let told =
        |p: &MetadataResponsePartition| (p.error_code, p.leader_id.0, p.offline_replicas.len());
    let told: Vec<_> = topic.partitions.iter().map(told).collect();
    assert_eq!(told, [(0, 1, 0), (0, 5, 0), (Code::LeaderNotAvailable.code(), -1, 1)]);
}

/// Asks for all topics the way a connection does.
fn ask_row(kit: &mut Kit, version: i16, correlation_id: i32) -> Vec<Bytes> {
    let request = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    let connection = &mut kit.connection;
    let mut cx = Cx {
        services: &kit.services,
        connection,
        version,
        client_id: &StrBytes::from_static_str("kit"),
    };
    let Outcome::Now(Ending::Reply(reply)) = (row().begin)(&mut cx, correlation_id, body.freeze())
    else {
        panic!("an answer at once");
    };
    let bytes = |chunk: Chunk| match chunk {
        Chunk::Bytes(bytes) => bytes,
        Chunk::File { .. } => panic!("no file is involved"),
    };
    reply.chunks.into_iter().map(bytes).collect()
}

#[test]
fn answers_about_all_topics_are_those_of_the_endpoint() {
    let mut kit = Kit::with_topics(&[("a", 2), ("b", 1)]);
    for version in Metadata::VERSIONS {
        let request = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        let expected = kit.ask::<Metadata>(version, &request);
        let expected = encode::response(9, version, &expected).unwrap();
        for _ in 0..2 {
            assert_eq!(ask_row(&mut kit, version, 9).concat(), expected, "v{version}");
        }
    }
}

#[test]
fn answers_about_all_topics_are_kept_until_the_catalog_changes() {
    let mut kit = Kit::with_topics(&[("a", 1)]);
    let body = |kit: &mut Kit, id| ask_row(kit, 12, id).pop().unwrap();
    let first = body(&mut kit, 1);
    assert_eq!(body(&mut kit, 2).as_ptr(), first.as_ptr(), "the same bytes");
    kit.connection.listener = Arc::new(ListenerInfo {
        advertised_port: 9999,
        ..ListenerInfo::clone(&kit.connection.listener)
    });
    assert_ne!(body(&mut kit, 3), first, "another listener is another answer");
    let new = NewTopic::with_defaults("b", Uuid::from_u128(5));
    kit.run(Command::CreateTopic(new)).unwrap();
    let mut changed = body(&mut kit, 4);
    let response = MetadataResponse::decode(&mut changed, 12).unwrap();
    assert_eq!(lines(&response), [line("a", None, 1), line("b", None, 3)]);
}
