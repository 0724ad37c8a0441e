//! The APIs that the commands use, and which of their versions are spoken.
//!
//! The floor is what the commands need of an API; brokers from Kafka 3.0 on have all of them but
//! those of later protocols. The ceiling is what this client builds and reads correctly: later
//! versions name topics by id.

use std::ops::RangeInclusive;

use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeLogDirsRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::Request;

/// A request that this client can make.
pub trait Spoken: Request {
    /// Kafka's name of the API.
    const NAME: &'static str;
    const SPOKEN: RangeInclusive<i16>;
}

macro_rules! spoken {
    ($($request:ident $name:literal $versions:expr;)*) => {
        $(impl Spoken for $request {
            const NAME: &'static str = $name;
            const SPOKEN: RangeInclusive<i16> = $versions;
        })*

        /// Every spoken API's name and versions, against what kafka-protocol can encode.
        #[cfg(test)]
        pub(super) fn all() -> Vec<(&'static str, RangeInclusive<i16>, RangeInclusive<i16>)> {
            use kafka_protocol::protocol::Message;
            vec![$(($name, $versions, {
                let can = <$request as Message>::VERSIONS;
                can.min..=can.max
            }),)*]
        }
    };
}

spoken! {
    ApiVersionsRequest "ApiVersions" 0..=0;
    ConsumerGroupDescribeRequest "ConsumerGroupDescribe" 0..=1;
    CreatePartitionsRequest "CreatePartitions" 2..=3;
    CreateTopicsRequest "CreateTopics" 4..=7;
    DeleteGroupsRequest "DeleteGroups" 1..=2;
    DeleteTopicsRequest "DeleteTopics" 4..=5;
    DescribeConfigsRequest "DescribeConfigs" 3..=4;
    DescribeGroupsRequest "DescribeGroups" 4..=6;
    DescribeLogDirsRequest "DescribeLogDirs" 1..=4;
    FindCoordinatorRequest "FindCoordinator" 4..=6;
    IncrementalAlterConfigsRequest "IncrementalAlterConfigs" 0..=1;
    ListConfigResourcesRequest "ListConfigResources" 1..=1;
    ListGroupsRequest "ListGroups" 4..=5;
    ListOffsetsRequest "ListOffsets" 7..=10;
    MetadataRequest "Metadata" 5..=12;
    OffsetCommitRequest "OffsetCommit" 6..=9;
    OffsetDeleteRequest "OffsetDelete" 0..=0;
    OffsetFetchRequest "OffsetFetch" 8..=9;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_can_be_encoded() {
        for (name, spoken, can) in all() {
            assert!(can.contains(spoken.start()) && can.contains(spoken.end()), "{name}");
        }
    }
}
