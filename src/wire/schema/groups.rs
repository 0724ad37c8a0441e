//! Requests of consumer groups.

use kafka_protocol::messages::{
    consumer_group_heartbeat_request, join_group_request, leave_group_request, sync_group_request,
};

use super::{
    Api, BOOL, BYTES, Element, ElementKind, INT8, INT32, INT32S, Kind, STRING, STRINGS, UUID,
    array, field,
};

/// Names of groups that are asked for: each is a question to a coordinator.
pub(super) const GROUP_NAMES: Kind =
    Kind::Array(Element { kind: ElementKind::String, memory_bytes: 128 });

pub(super) static FIND_COORDINATOR: Api = Api {
    key: 10,
    name: "FindCoordinator",
    versions: (0, 6),
    flexible_since: 3,
    fields: &[
        field("Key", STRING).until(3),
        field("KeyType", INT8).since(1),
        field("CoordinatorKeys", STRINGS).since(4),
    ],
};

pub(super) static JOIN_GROUP: Api = Api {
    key: 11,
    name: "JoinGroup",
    versions: (0, 9),
    flexible_since: 6,
    fields: &[
        field("GroupId", STRING),
        field("SessionTimeoutMs", INT32),
        field("RebalanceTimeoutMs", INT32).since(1),
        field("MemberId", STRING),
        field("GroupInstanceId", STRING).since(5).nullable(),
        field("ProtocolType", STRING),
        field(
            "Protocols",
            array::<join_group_request::JoinGroupRequestProtocol>(&[
                field("Name", STRING),
                field("Metadata", BYTES),
            ]),
        ),
        field("Reason", STRING).since(8).nullable(),
    ],
};

pub(super) static HEARTBEAT: Api = Api {
    key: 12,
    name: "Heartbeat",
    versions: (0, 4),
    flexible_since: 4,
    fields: &[
        field("GroupId", STRING),
        field("GenerationId", INT32),
        field("MemberId", STRING),
        field("GroupInstanceId", STRING).since(3).nullable(),
    ],
};

pub(super) static LEAVE_GROUP: Api = Api {
    key: 13,
    name: "LeaveGroup",
    versions: (0, 5),
    flexible_since: 4,
    fields: &[
        field("GroupId", STRING),
        field("MemberId", STRING).until(2),
        field(
            "Members",
            array::<leave_group_request::MemberIdentity>(&[
                field("MemberId", STRING),
                field("GroupInstanceId", STRING).nullable(),
                field("Reason", STRING).since(5).nullable(),
            ]),
        )
        .since(3),
    ],
};

pub(super) static SYNC_GROUP: Api = Api {
    key: 14,
    name: "SyncGroup",
    versions: (0, 5),
    flexible_since: 4,
    fields: &[
        field("GroupId", STRING),
        field("GenerationId", INT32),
        field("MemberId", STRING),
        field("GroupInstanceId", STRING).since(3).nullable(),
        field("ProtocolType", STRING).since(5).nullable(),
        field("ProtocolName", STRING).since(5).nullable(),
        field(
            "Assignments",
            array::<sync_group_request::SyncGroupRequestAssignment>(&[
                field("MemberId", STRING),
                field("Assignment", BYTES),
            ]),
        ),
    ],
};

pub(super) static DESCRIBE_GROUPS: Api = Api {
    key: 15,
    name: "DescribeGroups",
    versions: (0, 6),
    flexible_since: 5,
    fields: &[field("Groups", GROUP_NAMES), field("IncludeAuthorizedOperations", BOOL).since(3)],
};

pub(super) static LIST_GROUPS: Api = Api {
    key: 16,
    name: "ListGroups",
    versions: (0, 5),
    flexible_since: 3,
    fields: &[field("StatesFilter", STRINGS).since(4), field("TypesFilter", STRINGS).since(5)],
};

pub(super) static CONSUMER_GROUP_HEARTBEAT: Api = Api {
    key: 68,
    name: "ConsumerGroupHeartbeat",
    versions: (0, 1),
    flexible_since: 0,
    fields: &[
        field("GroupId", STRING),
        field("MemberId", STRING),
        field("MemberEpoch", INT32),
        field("InstanceId", STRING).nullable(),
        field("RackId", STRING).nullable(),
        field("RebalanceTimeoutMs", INT32),
        field("SubscribedTopicNames", STRINGS).nullable(),
        field("SubscribedTopicRegex", STRING).since(1).nullable(),
        field("ServerAssignor", STRING).nullable(),
        field(
            "TopicPartitions",
            array::<consumer_group_heartbeat_request::TopicPartitions>(&[
                field("TopicId", UUID),
                field("Partitions", INT32S),
            ]),
        )
        .nullable(),
    ],
};

pub(super) static CONSUMER_GROUP_DESCRIBE: Api = Api {
    key: 69,
    name: "ConsumerGroupDescribe",
    versions: (0, 1),
    flexible_since: 0,
    fields: &[field("GroupIds", GROUP_NAMES), field("IncludeAuthorizedOperations", BOOL)],
};
