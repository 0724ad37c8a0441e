//! Requests of administrators: topics, configurations, log directories.

use kafka_protocol::messages::{
    alter_configs_request, create_partitions_request, create_topics_request, delete_topics_request,
    describe_configs_request, describe_log_dirs_request, incremental_alter_configs_request,
};

use super::{Api, BOOL, INT8, INT8S, INT16, INT32, INT32S, STRING, STRINGS, UUID, array, field};

pub(super) static CREATE_TOPICS: Api = Api {
    key: 19,
    name: "CreateTopics",
    versions: (2, 7),
    flexible_since: 5,
    fields: &[
        field(
            "Topics",
            array::<create_topics_request::CreatableTopic>(&[
                field("Name", STRING),
                field("NumPartitions", INT32),
                field("ReplicationFactor", INT16),
                field(
                    "Assignments",
                    array::<create_topics_request::CreatableReplicaAssignment>(&[
                        field("PartitionIndex", INT32),
                        field("BrokerIds", INT32S),
                    ]),
                ),
                field(
                    "Configs",
                    array::<create_topics_request::CreatableTopicConfig>(&[
                        field("Name", STRING),
                        field("Value", STRING).nullable(),
                    ]),
                ),
            ]),
        ),
        field("TimeoutMs", INT32),
        field("ValidateOnly", BOOL),
    ],
};

pub(super) static DELETE_TOPICS: Api = Api {
    key: 20,
    name: "DeleteTopics",
    versions: (1, 6),
    flexible_since: 4,
    fields: &[
        field(
            "Topics",
            array::<delete_topics_request::DeleteTopicState>(&[
                field("Name", STRING).nullable(),
                field("TopicId", UUID),
            ]),
        )
        .since(6),
        field("TopicNames", STRINGS).until(5),
        field("TimeoutMs", INT32),
    ],
};

pub(super) static CREATE_PARTITIONS: Api = Api {
    key: 37,
    name: "CreatePartitions",
    versions: (0, 3),
    flexible_since: 2,
    fields: &[
        field(
            "Topics",
            array::<create_partitions_request::CreatePartitionsTopic>(&[
                field("Name", STRING),
                field("Count", INT32),
                field(
                    "Assignments",
                    array::<create_partitions_request::CreatePartitionsAssignment>(&[field(
                        "BrokerIds",
                        INT32S,
                    )]),
                )
                .nullable(),
            ]),
        ),
        field("TimeoutMs", INT32),
        field("ValidateOnly", BOOL),
    ],
};

pub(super) static DESCRIBE_CONFIGS: Api = Api {
    key: 32,
    name: "DescribeConfigs",
    versions: (1, 4),
    flexible_since: 4,
    fields: &[
        field(
            "Resources",
            array::<describe_configs_request::DescribeConfigsResource>(&[
                field("ResourceType", INT8),
                field("ResourceName", STRING),
                field("ConfigurationKeys", STRINGS).nullable(),
            ]),
        ),
        field("IncludeSynonyms", BOOL),
        field("IncludeDocumentation", BOOL).since(3),
    ],
};

pub(super) static ALTER_CONFIGS: Api = Api {
    key: 33,
    name: "AlterConfigs",
    versions: (0, 2),
    flexible_since: 2,
    fields: &[
        field(
            "Resources",
            array::<alter_configs_request::AlterConfigsResource>(&[
                field("ResourceType", INT8),
                field("ResourceName", STRING),
                field(
                    "Configs",
                    array::<alter_configs_request::AlterableConfig>(&[
                        field("Name", STRING),
                        field("Value", STRING).nullable(),
                    ]),
                ),
            ]),
        ),
        field("ValidateOnly", BOOL),
    ],
};

pub(super) static INCREMENTAL_ALTER_CONFIGS: Api = Api {
    key: 44,
    name: "IncrementalAlterConfigs",
    versions: (0, 1),
    flexible_since: 1,
    fields: &[
        field(
            "Resources",
            array::<incremental_alter_configs_request::AlterConfigsResource>(&[
                field("ResourceType", INT8),
                field("ResourceName", STRING),
                field(
                    "Configs",
                    array::<incremental_alter_configs_request::AlterableConfig>(&[
                        field("Name", STRING),
                        field("ConfigOperation", INT8),
                        field("Value", STRING).nullable(),
                    ]),
                ),
            ]),
        ),
        field("ValidateOnly", BOOL),
    ],
};

pub(super) static LIST_CONFIG_RESOURCES: Api = Api {
    key: 74,
    name: "ListConfigResources",
    versions: (0, 1),
    flexible_since: 0,
    fields: &[field("ResourceTypes", INT8S).since(1)],
};

pub(super) static DESCRIBE_LOG_DIRS: Api = Api {
    key: 35,
    name: "DescribeLogDirs",
    versions: (1, 4),
    flexible_since: 2,
    fields: &[field(
        "Topics",
        array::<describe_log_dirs_request::DescribableLogDirTopic>(&[
            field("Topic", STRING),
            field("Partitions", INT32S),
        ]),
    )
    .nullable()],
};
