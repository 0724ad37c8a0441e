//! InitProducerId, idempotent produce with gaps and retries, DescribeProducers.

use bytes::Bytes;
use kafka_protocol::messages::describe_producers_request::{
    DescribeProducersRequest, TopicRequest,
};
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::{ProducerId, TransactionalId};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;

use super::{Cases, Draw, MADE_AT_MS, create, id_of, produce, text, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("producers: ids", ids),
    ("producers: sequences", sequences),
    ("producers: sequences drawn", drawn),
    ("producers: described", described),
];

fn init(id: i64, epoch: i16) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch)
}

fn ids(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=5 {
        // Kafka fetches its ids first, and says so.
        talk.ask_until(version, &init(-1, -1), |answer| answer.error_code == 0);
        let fresh = talk.ask(version, &init(-1, -1)).map_or(-1, |answer| answer.producer_id.0);
        if version >= 3 {
            for (id, epoch) in
                [(fresh, 0), (fresh, 5), (fresh, -1), (-1, 0), (123_456_789, 3), (-2, -2)]
            {
                talk.ask(version, &init(id, epoch));
            }
        }
        let empty = init(-1, -1).with_transactional_id(Some(TransactionalId(text(""))));
        talk.ask(version, &empty);
    }
}

/// A batch of `records` by a producer.
fn signed(id: i64, epoch: i16, sequence: i32, records: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None).producer(id, epoch, sequence);
    for n in 0..records {
        builder.push(MADE_AT_MS + n, Some(b"key"), Some(b"value"), [].into_iter());
    }
    builder.build().expect("a small batch")
}

/// A producer that both brokers know nothing of: its id is chosen here, so that it is the same.
const STRANGER: i64 = 4_000_000;

fn sequences(talk: &mut Talk, _: &mut Draw) {
    let steps: [(i16, i32, i64); 20] = [
        (0, 0, 3),
        (0, 3, 2),
        (0, 0, 3),
        (0, 3, 2),
        (0, 7, 1),
        (0, 5, 1),
        (0, 4, 1),
        (0, 6, 1),
        (0, 7, 1),
        (0, 8, 1),
        (0, 9, 1),
        (0, 0, 3),
        (0, 5, 1),
        (1, 3, 1),
        (1, 0, 1),
        (0, 10, 1),
        (1, 1, 1),
        (-1, 2, 1),
        (i16::MAX, 0, 1),
        (0, 0, 1),
    ];
    for version in [3, 8, 12] {
        let name = format!("sequences-{version}");
        create(talk, &name, 1, &[]);
        let id = id_of(talk, &name);
        for (epoch, sequence, records) in steps {
            let batch = signed(STRANGER, epoch, sequence, records);
            talk.ask(version, &produce(version, (&name, id), 0, batch));
        }
        // At the wrap, for a producer that is new here.
        for (sequence, records) in [(i32::MAX - 1, 4), (2, 1), (i32::MAX - 1, 4)] {
            let batch = signed(STRANGER + 1, 0, sequence, records);
            talk.ask(version, &produce(version, (&name, id), 0, batch));
        }
    }
}

fn drawn(talk: &mut Talk, draw: &mut Draw) {
    create(talk, "sequences-drawn", 1, &[]);
    let id = id_of(talk, "sequences-drawn");
    let mut next = 0;
    for _ in 0..120 {
        let epoch = draw.pick(&[0, 0, 0, 0, 0, 1]);
        let sequence = next + draw.pick(&[0, 0, 0, 0, -1, -2, -3, 1, 5]);
        let records = draw.pick(&[1, 1, 2, 3]);
        let batch = signed(STRANGER + 2, epoch, sequence.max(0), records);
        let answer = talk.ask(9, &produce(9, ("sequences-drawn", id), 0, batch));
        let accepted =
            answer.is_some_and(|a| a.responses[0].partition_responses[0].error_code == 0);
        if accepted && sequence >= next {
            next = sequence + i32::try_from(records).expect("a few");
        }
    }
}

fn described(talk: &mut Talk, _: &mut Draw) {
    create(talk, "producers", 2, &[]);
    let id = id_of(talk, "producers");
    talk.ask(9, &produce(9, ("producers", id), 0, signed(STRANGER + 3, 2, 0, 5)));
    for (name, partitions) in [
        ("producers", vec![0, 1, 2, -1]),
        ("producers-none", vec![0]),
        ("", vec![0]),
        ("producers", Vec::new()),
    ] {
        let topic =
            TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(partitions);
        talk.ask(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
    }
}
