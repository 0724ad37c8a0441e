//! Requests about the cluster: ApiVersions, Metadata, DescribeTopicPartitions, DescribeCluster.

use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

use super::{Api, BOOL, INT8, INT32, Kind, STRING, UUID, array, field};

pub(super) static API_VERSIONS: Api = Api {
    key: 18,
    name: "ApiVersions",
    versions: (0, 4),
    flexible_since: 3,
    fields: &[
        field("ClientSoftwareName", STRING).since(3),
        field("ClientSoftwareVersion", STRING).since(3),
    ],
};

pub(super) static METADATA: Api = Api {
    key: 3,
    name: "Metadata",
    versions: (0, 13),
    flexible_since: 9,
    fields: &[
        field(
            "Topics",
            array::<MetadataRequestTopic>(&[
                field("TopicId", UUID).since(10),
                field("Name", STRING).nullable_since(10),
            ]),
        )
        .nullable_since(1),
        field("AllowAutoTopicCreation", BOOL).since(4),
        field("IncludeClusterAuthorizedOperations", BOOL).since(8).until(10),
        field("IncludeTopicAuthorizedOperations", BOOL).since(8),
    ],
};

pub(super) static DESCRIBE_TOPIC_PARTITIONS: Api = Api {
    key: 75,
    name: "DescribeTopicPartitions",
    versions: (0, 0),
    flexible_since: 0,
    fields: &[
        field("Topics", array::<TopicRequest>(&[field("Name", STRING)])),
        field("ResponsePartitionLimit", INT32),
        field(
            "Cursor",
            Kind::Struct(&[field("TopicName", STRING), field("PartitionIndex", INT32)]),
        )
        .nullable(),
    ],
};

pub(super) static DESCRIBE_CLUSTER: Api = Api {
    key: 60,
    name: "DescribeCluster",
    versions: (0, 2),
    flexible_since: 0,
    fields: &[
        field("IncludeClusterAuthorizedOperations", BOOL),
        field("EndpointType", INT8).since(1),
        field("IncludeFencedBrokers", BOOL).since(2),
    ],
};
