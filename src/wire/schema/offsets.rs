//! Requests about committed offsets, and the deletion of groups with theirs.

use kafka_protocol::messages::{
    offset_commit_request, offset_delete_request, offset_fetch_request,
};

use super::groups::GROUP_NAMES;
use super::{Api, BOOL, INT32, INT32S, INT64, STRING, array, field};

pub(super) static OFFSET_COMMIT: Api = Api {
    key: 8,
    name: "OffsetCommit",
    versions: (2, 9),
    flexible_since: 8,
    fields: &[
        field("GroupId", STRING),
        field("GenerationIdOrMemberEpoch", INT32),
        field("MemberId", STRING),
        field("GroupInstanceId", STRING).since(7).nullable(),
        field("RetentionTimeMs", INT64).until(4),
        field(
            "Topics",
            array::<offset_commit_request::OffsetCommitRequestTopic>(&[
                field("Name", STRING),
                field(
                    "Partitions",
                    array::<offset_commit_request::OffsetCommitRequestPartition>(&[
                        field("PartitionIndex", INT32),
                        field("CommittedOffset", INT64),
                        field("CommittedLeaderEpoch", INT32).since(6),
                        field("CommittedMetadata", STRING).nullable(),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) static OFFSET_FETCH: Api = Api {
    key: 9,
    name: "OffsetFetch",
    versions: (1, 9),
    flexible_since: 6,
    fields: &[
        field("GroupId", STRING).until(7),
        field(
            "Topics",
            array::<offset_fetch_request::OffsetFetchRequestTopic>(&[
                field("Name", STRING),
                field("PartitionIndexes", INT32S),
            ]),
        )
        .until(7)
        .nullable_since(2),
        field(
            "Groups",
            array::<offset_fetch_request::OffsetFetchRequestGroup>(&[
                field("GroupId", STRING),
                field("MemberId", STRING).since(9).nullable(),
                field("MemberEpoch", INT32).since(9),
                field(
                    "Topics",
                    array::<offset_fetch_request::OffsetFetchRequestTopics>(&[
                        field("Name", STRING),
                        field("PartitionIndexes", INT32S),
                    ]),
                )
                .nullable(),
            ]),
        )
        .since(8),
        field("RequireStable", BOOL).since(7),
    ],
};

pub(super) static DELETE_GROUPS: Api = Api {
    key: 42,
    name: "DeleteGroups",
    versions: (0, 2),
    flexible_since: 2,
    fields: &[field("GroupsNames", GROUP_NAMES)],
};

pub(super) static OFFSET_DELETE: Api = Api {
    key: 47,
    name: "OffsetDelete",
    versions: (0, 0),
    flexible_since: i16::MAX,
    fields: &[
        field("GroupId", STRING),
        field(
            "Topics",
            array::<offset_delete_request::OffsetDeleteRequestTopic>(&[
                field("Name", STRING),
                field(
                    "Partitions",
                    array::<offset_delete_request::OffsetDeleteRequestPartition>(&[field(
                        "PartitionIndex",
                        INT32,
                    )]),
                ),
            ]),
        ),
    ],
};
