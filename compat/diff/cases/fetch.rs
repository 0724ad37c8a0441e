//! Fetch: offsets at every edge, sizes, epochs, sessions and their mistakes.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::fetch_request::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic,
};
use klamm::wire::compression::Codec;
use uuid::Uuid;

use super::{Cases, Draw, batch, create, id_of, produce, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("fetch: offsets and sizes", offsets_and_sizes),
    ("fetch: unknown targets", unknown_targets),
    ("fetch: epochs", epochs),
    ("fetch: sessions", sessions),
    ("fetch: session mistakes", session_mistakes),
];

/// A topic of one partition with four batches of three records.
fn filled(talk: &mut Talk, name: &str) -> Uuid {
    create(talk, name, 2, &[]);
    let id = id_of(talk, name);
    for codec in [Codec::None, Codec::Gzip, Codec::None, Codec::Zstd] {
        talk.ask(9, &produce(9, (name, id), 0, batch(codec, 3, 50)));
    }
    id
}

fn partition(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

fn topic(version: i16, name: &str, id: Uuid, partitions: Vec<FetchPartition>) -> FetchTopic {
    let topic = FetchTopic::default().with_partitions(partitions);
    if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(topic_name(name)) }
}

fn request(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(1)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

fn offsets_and_sizes(talk: &mut Talk, draw: &mut Draw) {
    let name = "fetch-offsets";
    let id = filled(talk, name);
    for version in 4..=17 {
        for offset in [0, 1, 3, 11, 12, 13, -1, i64::MAX] {
            talk.ask(version, &request(vec![topic(version, name, id, vec![partition(0, offset)])]));
        }
        for _ in 0..4 {
            let asked = partition(0, draw.pick(&[0, 2, 6, 9]))
                .with_partition_max_bytes(draw.pick(&[0, 1, 100, 1 << 20]));
            let whole = request(vec![topic(version, name, id, vec![asked, partition(1, 0)])])
                .with_max_bytes(draw.pick(&[0, 1, 200, 1 << 20]))
                .with_min_bytes(draw.pick(&[0, 1, 100_000]))
                .with_isolation_level(draw.pick(&[0, 1]));
            talk.ask(version, &whole);
        }
    }
}

fn unknown_targets(talk: &mut Talk, _: &mut Draw) {
    let name = "fetch-known";
    let id = filled(talk, name);
    for version in 4..=17 {
        for (name, id) in [(name, id), ("fetch-none", Uuid::from_u128(5)), ("", Uuid::from_u128(6))]
        {
            let partitions = vec![partition(0, 0), partition(9, 0), partition(-1, 0)];
            talk.ask(version, &request(vec![topic(version, name, id, partitions)]));
        }
        talk.ask(version, &request(Vec::new()));
    }
}

fn epochs(talk: &mut Talk, _: &mut Draw) {
    let name = "fetch-epochs";
    let id = filled(talk, name);
    for version in [9, 12, 13, 16] {
        for current in [-1, 0, 1, -2] {
            for last in [-1, 0, 1] {
                let mut asked = partition(0, 12).with_current_leader_epoch(current);
                if version >= 12 {
                    asked = asked.with_last_fetched_epoch(last);
                }
                talk.ask(version, &request(vec![topic(version, name, id, vec![asked])]));
            }
        }
    }
}

fn sessions(talk: &mut Talk, _: &mut Draw) {
    let name = "fetch-sessions";
    let id = filled(talk, name);
    for version in [7, 11, 13, 17] {
        let both = vec![partition(0, 12), partition(1, 0)];
        let open = request(vec![topic(version, name, id, both)]).with_session_epoch(0);
        let Some(opened) = talk.ask(version, &open) else { continue };
        let next = |epoch, topics| {
            request(topics).with_session_id(opened.session_id).with_session_epoch(epoch)
        };
        talk.ask(version, &next(1, Vec::new()));
        let back = vec![topic(version, name, id, vec![partition(0, 9)])];
        talk.ask(version, &next(2, back));
        let forgotten = ForgottenTopic::default().with_partitions(vec![0]);
        let forgotten = match version >= 13 {
            true => forgotten.with_topic_id(id),
            false => forgotten.with_topic(topic_name(name)),
        };
        talk.ask(version, &next(3, Vec::new()).with_forgotten_topics_data(vec![forgotten]));
        talk.ask(version, &next(4, Vec::new()));
        // Out of order, then closed.
        talk.ask(version, &next(9, Vec::new()));
        let last = topic(version, name, id, vec![partition(0, 0)]);
        talk.ask(version, &next(-1, vec![last]));
        talk.ask(version, &next(5, Vec::new()));
    }
}

fn session_mistakes(talk: &mut Talk, _: &mut Draw) {
    let name = "fetch-mistakes";
    let id = filled(talk, name);
    for version in [7, 12, 15] {
        for (session, epoch) in [(12_345, 1), (12_345, 0), (0, 1), (-1, 1), (12_345, -1), (0, -2)] {
            let asked = request(vec![topic(version, name, id, vec![partition(0, 12)])]);
            talk.ask(version, &asked.with_session_id(session).with_session_epoch(epoch));
        }
    }
}
