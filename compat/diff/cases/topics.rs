//! CreateTopics, CreatePartitions, DeleteTopics, Metadata, DescribeTopicPartitions,
//! DescribeCluster, DescribeLogDirs.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use kafka_protocol::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use uuid::Uuid;

use super::{Cases, Draw, create, id_of, text, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("topics: created", created),
    ("topics: names", names),
    ("topics: configs at creation", configured),
    ("topics: partitions added", partitions),
    ("topics: deleted", deleted),
    ("topics: metadata", metadata),
    ("topics: described by partition", described),
    ("topics: cluster and log directories", cluster),
];

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn creation(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(9_000)
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    };
    topic(name, -1, -1).with_assignments(assignments.iter().map(assignment).collect())
}

fn created(talk: &mut Talk, _: &mut Draw) {
    for version in 2..=7 {
        for validate_only in [true, false] {
            let name = |n: usize| format!("created-{version}-{n}");
            for (n, (partitions, replicas)) in
                [(1, 1), (-1, -1), (0, 1), (-2, 1), (1, 2), (1, 0), (1, -2), (3, -1)]
                    .iter()
                    .enumerate()
            {
                let request = creation(vec![topic(&name(n), *partitions, *replicas)]);
                talk.ask(version, &request.with_validate_only(validate_only));
            }
            let assignments: [&[(i32, &[i32])]; 7] = [
                &[(0, &[1])],
                &[(1, &[1]), (0, &[1])],
                &[(1, &[1])],
                &[(0, &[2])],
                &[(0, &[1, 1])],
                &[(0, &[])],
                &[(0, &[1]), (0, &[1])],
            ];
            for (n, assignments) in assignments.iter().enumerate() {
                let request = creation(vec![assigned(&name(20 + n), assignments)]);
                talk.ask(version, &request.with_validate_only(validate_only));
            }
        }
        let both = assigned("created-both", &[(0, &[1])]).with_num_partitions(1);
        talk.ask(version, &creation(vec![both]));
        let twice = format!("created-{version}-twice");
        talk.ask(version, &creation(vec![topic(&twice, 1, 1), topic(&twice, 1, 1)]));
        talk.ask(version, &creation(vec![topic(&format!("created-{version}-0"), 1, 1)]));
        talk.ask(version, &creation(Vec::new()));
    }
}

fn names(talk: &mut Talk, _: &mut Draw) {
    let long = "n".repeat(249);
    let too_long = "n".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "a b",
        "ä",
        "a/b",
        "a,b",
        &long,
        &too_long,
        "__consumer_offsets",
        "clash.of",
        "clash_of",
        "__mine",
    ];
    for name in names {
        talk.ask(7, &creation(vec![topic(name, 1, 1)]));
    }
}

fn configured(talk: &mut Talk, _: &mut Draw) {
    let configs = [
        ("retention.ms", Some("1000")),
        ("retention.ms", Some("abc")),
        ("retention.ms", Some("-2")),
        ("retention.ms", None),
        ("cleanup.policy", Some("compact,delete")),
        ("cleanup.policy", Some("compact , delete")),
        ("cleanup.policy", Some("none")),
        ("cleanup.policy", Some("")),
        ("compression.type", Some("lz4")),
        ("compression.type", Some("LZ4")),
        ("segment.bytes", Some("13")),
        ("segment.bytes", Some("99999999999")),
        ("min.insync.replicas", Some("0")),
        ("max.message.bytes", Some("-1")),
        ("min.cleanable.dirty.ratio", Some("1.5")),
        ("message.timestamp.type", Some("Sometime")),
        ("preallocate", Some("yes")),
        ("no.such.key", Some("1")),
        ("", Some("1")),
    ];
    for (n, (key, value)) in configs.iter().enumerate() {
        for version in [2, 5, 7] {
            let config =
                CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
            let name = format!("configured-{version}-{n}");
            talk.ask(version, &creation(vec![topic(&name, 1, 1).with_configs(vec![config])]));
        }
    }
}

fn partitions(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=3 {
        let name = format!("partitions-{version}");
        create(talk, &name, 2, &[]);
        let more = |name: &str, count| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(count)
                .with_assignments(None)
        };
        let request =
            |topics| CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(9_000);
        for validate_only in [true, false] {
            for count in [3, 2, 1, 0, -1, 3] {
                let asked = request(vec![more(&name, count)]).with_validate_only(validate_only);
                talk.ask(version, &asked);
            }
        }
        for brokers in
            [vec![vec![1]], vec![vec![2]], vec![vec![1], vec![1]], vec![vec![]], vec![vec![1, 1]]]
        {
            let assignment = |ids: Vec<i32>| {
                CreatePartitionsAssignment::default()
                    .with_broker_ids(ids.into_iter().map(BrokerId).collect())
            };
            let assignments = brokers.into_iter().map(assignment).collect();
            talk.ask(version, &request(vec![more(&name, 4).with_assignments(Some(assignments))]));
        }
        talk.ask(version, &request(vec![more("partitions-none", 5), more("", 5)]));
        talk.ask(version, &request(vec![more(&name, 6), more(&name, 7)]));
        talk.ask(version, &request(Vec::new()));
    }
}

fn deleted(talk: &mut Talk, _: &mut Draw) {
    for version in 1..=5 {
        let name = format!("deleted-{version}");
        create(talk, &name, 1, &[]);
        let names = [name.as_str(), "deleted-none", "", name.as_str()];
        let request = DeleteTopicsRequest::default().with_timeout_ms(9_000);
        for name in names {
            talk.ask(version, &request.clone().with_topic_names(vec![topic_name(name)]));
        }
        let twice = vec![topic_name("deleted-none"), topic_name("deleted-none")];
        talk.ask(version, &request.clone().with_topic_names(twice));
        talk.ask(version, &request);
    }
    create(talk, "deleted-6", 1, &[]);
    let id = id_of(talk, "deleted-6");
    let states = [
        (None, Uuid::from_u128(9)),
        (None, Uuid::nil()),
        (Some("deleted-6"), id),
        (Some("deleted-none"), Uuid::nil()),
        (None, id),
        (None, id),
    ];
    for (name, id) in states {
        let state = DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(id);
        let request = DeleteTopicsRequest::default().with_timeout_ms(9_000);
        talk.ask(6, &request.with_topics(vec![state]));
    }
}

fn metadata(talk: &mut Talk, _: &mut Draw) {
    create(talk, "metadata", 3, &[]);
    let id = id_of(talk, "metadata");
    for version in 0..=13 {
        let ask = |name: Option<&str>, id| {
            MetadataRequestTopic::default().with_name(name.map(topic_name)).with_topic_id(id)
        };
        let request = |topics| {
            MetadataRequest::default()
                .with_topics(Some(topics))
                .with_allow_auto_topic_creation(false)
        };
        let request = |topics: Vec<MetadataRequestTopic>| match version < 4 {
            true => request(topics).with_allow_auto_topic_creation(true),
            false => request(topics),
        };
        talk.ask(version, &request(vec![ask(Some("metadata"), Uuid::nil())]));
        talk.ask(version, &request(vec![ask(Some("a b"), Uuid::nil())]));
        if version >= 4 {
            talk.ask(version, &request(vec![ask(Some("metadata-none"), Uuid::nil())]));
            talk.ask(
                version,
                &request(vec![
                    ask(Some("metadata"), Uuid::nil()),
                    ask(Some("metadata-none"), Uuid::nil()),
                ]),
            );
        }
        if version >= 1 {
            talk.ask(version, &request(Vec::new()));
        }
        if version >= 8 {
            let whole = request(vec![ask(Some("metadata"), Uuid::nil())])
                .with_include_topic_authorized_operations(true);
            talk.ask(version, &whole);
        }
        if version >= 10 {
            talk.ask(version, &request(vec![ask(None, id)]));
            talk.ask(version, &request(vec![ask(None, Uuid::from_u128(3))]));
            talk.ask(version, &request(vec![ask(None, Uuid::nil())]));
            talk.ask(version, &request(vec![ask(Some("metadata"), id)]));
        }
    }
}

fn described(talk: &mut Talk, _: &mut Draw) {
    create(talk, "described-a", 3, &[]);
    create(talk, "described-b", 2, &[]);
    let ask = |name: &str| TopicRequest::default().with_name(topic_name(name));
    let all = || vec![ask("described-a"), ask("described-b"), ask("described-none")];
    let nameless = DescribeTopicPartitionsRequest::default().with_topics(vec![ask("")]);
    talk.ask(0, &nameless.with_response_partition_limit(2_000));
    for limit in [2_000, 4, 1, 0, -1] {
        let request =
            DescribeTopicPartitionsRequest::default().with_response_partition_limit(limit);
        talk.ask(0, &request.clone().with_topics(all()));
        for (name, index) in [
            ("described-a", 1),
            ("described-b", 0),
            ("described-a", -1),
            ("zzz", 0),
            ("described-a", 9),
        ] {
            let cursor =
                Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index);
            talk.ask(0, &request.clone().with_topics(all()).with_cursor(Some(cursor)));
        }
    }
}

fn cluster(talk: &mut Talk, _: &mut Draw) {
    create(talk, "cluster", 2, &[]);
    for version in 0..=2 {
        for endpoint_type in [1, 2, 3] {
            let mut request =
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
            if version >= 1 {
                request = request.with_endpoint_type(endpoint_type);
            }
            talk.ask(version, &request);
        }
    }
    for version in 1..=4 {
        let topic = |name: &str| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(vec![0, 1, 9])
        };
        for topics in [vec![topic("cluster")], vec![topic("cluster-none")], Vec::new()] {
            talk.ask(version, &DescribeLogDirsRequest::default().with_topics(Some(topics)));
        }
    }
}
