//! ListOffsets and DeleteRecords.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use klamm::wire::compression::Codec;

use super::{Cases, Draw, MADE_AT_MS, batch, create, id_of, produce, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("offsets: by time and name", by_time),
    ("offsets: unknown targets and epochs", unknown),
    ("offsets: records deleted", deleted),
];

fn list(name: &str, partitions: Vec<ListOffsetsPartition>) -> ListOffsetsRequest {
    let topic = ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

fn at(index: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp)
}

fn filled(talk: &mut Talk, name: &str) {
    create(talk, name, 2, &[]);
    let id = id_of(talk, name);
    for codec in [Codec::None, Codec::Lz4] {
        talk.ask(9, &produce(9, (name, id), 0, batch(codec, 5, 30)));
    }
}

fn by_time(talk: &mut Talk, _: &mut Draw) {
    filled(talk, "offsets-time");
    for version in 1..=10 {
        for time in
            [-1, -2, -3, -4, -5, -6, 0, MADE_AT_MS, MADE_AT_MS + 1, MADE_AT_MS + 4_000, i64::MAX]
        {
            for isolation in [0, 1] {
                let mut request = list("offsets-time", vec![at(0, time), at(1, time)]);
                if version >= 2 {
                    request = request.with_isolation_level(isolation);
                }
                if version >= 10 {
                    request = request.with_timeout_ms(1_000);
                }
                talk.ask(version, &request);
            }
        }
    }
}

fn unknown(talk: &mut Talk, _: &mut Draw) {
    filled(talk, "offsets-known");
    for version in 1..=10 {
        talk.ask(version, &list("offsets-none", vec![at(0, -1)]));
        talk.ask(version, &list("", vec![at(0, -1)]));
        talk.ask(version, &list("offsets-known", vec![at(2, -1), at(-1, -1), at(0, -1)]));
        talk.ask(version, &list("offsets-known", vec![at(0, -1), at(0, -2)]));
        talk.ask(version, &list("offsets-known", Vec::new()));
        if version >= 4 {
            for epoch in [-1, 0, 1, -2] {
                let asked = at(0, -1).with_current_leader_epoch(epoch);
                talk.ask(version, &list("offsets-known", vec![asked]));
            }
        }
    }
}

fn deleted(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=2 {
        let name = format!("offsets-deleted-{version}");
        filled(talk, &name);
        let delete = |index, offset| {
            let partition =
                DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset);
            let topic = DeleteRecordsTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(9_000)
        };
        for (index, offset) in
            [(0, 3), (0, 2), (0, 11), (0, -2), (1, 0), (1, 1), (5, 0), (0, -1), (1, -1)]
        {
            talk.ask(version, &delete(index, offset));
            talk.ask(5, &list(&name, vec![at(0, -2), at(0, -1), at(0, MADE_AT_MS), at(0, -3)]));
        }
        let mut strangers = delete(0, 0);
        strangers.topics[0].name = topic_name("offsets-none");
        talk.ask(version, &strangers);
    }
}
