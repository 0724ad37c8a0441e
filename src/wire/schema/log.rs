//! Requests that read and write partitions: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch,
//! DeleteRecords, and those about idempotent producers.

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::{Api, BYTES, INT8, INT16, INT32, INT32S, INT64, Kind, STRING, UUID, array, field};

pub(super) static PRODUCE: Api = Api {
    key: 0,
    name: "Produce",
    versions: (3, 13),
    flexible_since: 9,
    fields: &[
        field("TransactionalId", STRING).nullable(),
        field("Acks", INT16),
        field("TimeoutMs", INT32),
        field(
            "TopicData",
            array::<TopicProduceData>(&[
                field("Name", STRING).until(12),
                field("TopicId", UUID).since(13),
                field(
                    "PartitionData",
                    array::<PartitionProduceData>(&[
                        field("Index", INT32),
                        field("Records", BYTES).nullable(),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) static FETCH: Api = Api {
    key: 1,
    name: "Fetch",
    versions: (4, 18),
    flexible_since: 12,
    fields: &[
        field("ClusterId", STRING).since(12).nullable().tagged(0),
        field("ReplicaId", INT32).until(14),
        field(
            "ReplicaState",
            Kind::Struct(&[field("ReplicaId", INT32), field("ReplicaEpoch", INT64)]),
        )
        .since(15)
        .tagged(1),
        field("MaxWaitMs", INT32),
        field("MinBytes", INT32),
        field("MaxBytes", INT32),
        field("IsolationLevel", INT8),
        field("SessionId", INT32).since(7),
        field("SessionEpoch", INT32).since(7),
        field(
            "Topics",
            array::<FetchTopic>(&[
                field("Topic", STRING).until(12),
                field("TopicId", UUID).since(13),
                field(
                    "Partitions",
                    array::<FetchPartition>(&[
                        field("Partition", INT32),
                        field("CurrentLeaderEpoch", INT32).since(9),
                        field("FetchOffset", INT64),
                        field("LastFetchedEpoch", INT32).since(12),
                        field("LogStartOffset", INT64).since(5),
                        field("PartitionMaxBytes", INT32),
                        field("ReplicaDirectoryId", UUID).since(17).tagged(0),
                        field("HighWatermark", INT64).since(18).tagged(1),
                    ]),
                ),
            ]),
        ),
        field(
            "ForgottenTopicsData",
            array::<ForgottenTopic>(&[
                field("Topic", STRING).until(12),
                field("TopicId", UUID).since(13),
                field("Partitions", INT32S),
            ]),
        )
        .since(7),
        field("RackId", STRING).since(11),
    ],
};

pub(super) static LIST_OFFSETS: Api = Api {
    key: 2,
    name: "ListOffsets",
    versions: (1, 10),
    flexible_since: 6,
    fields: &[
        field("ReplicaId", INT32),
        field("IsolationLevel", INT8).since(2),
        field(
            "Topics",
            array::<ListOffsetsTopic>(&[
                field("Name", STRING),
                field(
                    "Partitions",
                    array::<ListOffsetsPartition>(&[
                        field("PartitionIndex", INT32),
                        field("CurrentLeaderEpoch", INT32).since(4),
                        field("Timestamp", INT64),
                    ]),
                ),
            ]),
        ),
        field("TimeoutMs", INT32).since(10),
    ],
};

pub(super) static OFFSET_FOR_LEADER_EPOCH: Api = Api {
    key: 23,
    name: "OffsetForLeaderEpoch",
    versions: (2, 4),
    flexible_since: 4,
    fields: &[
        field("ReplicaId", INT32).since(3),
        field(
            "Topics",
            array::<OffsetForLeaderTopic>(&[
                field("Topic", STRING),
                field(
                    "Partitions",
                    array::<OffsetForLeaderPartition>(&[
                        field("Partition", INT32),
                        field("CurrentLeaderEpoch", INT32),
                        field("LeaderEpoch", INT32),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) static DELETE_RECORDS: Api = Api {
    key: 21,
    name: "DeleteRecords",
    versions: (0, 2),
    flexible_since: 2,
    fields: &[
        field(
            "Topics",
            array::<DeleteRecordsTopic>(&[
                field("Name", STRING),
                field(
                    "Partitions",
                    array::<DeleteRecordsPartition>(&[
                        field("PartitionIndex", INT32),
                        field("Offset", INT64),
                    ]),
                ),
            ]),
        ),
        field("TimeoutMs", INT32),
    ],
};

pub(super) static INIT_PRODUCER_ID: Api = Api {
    key: 22,
    name: "InitProducerId",
    versions: (0, 5),
    flexible_since: 2,
    fields: &[
        field("TransactionalId", STRING).nullable(),
        field("TransactionTimeoutMs", INT32),
        field("ProducerId", INT64).since(3),
        field("ProducerEpoch", INT16).since(3),
    ],
};

pub(super) static DESCRIBE_PRODUCERS: Api = Api {
    key: 61,
    name: "DescribeProducers",
    versions: (0, 0),
    flexible_since: 0,
    fields: &[field(
        "Topics",
        array::<TopicRequest>(&[field("Name", STRING), field("PartitionIndexes", INT32S)]),
    )],
};
