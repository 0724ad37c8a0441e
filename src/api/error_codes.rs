//! Where each response carries its error codes, so that what clients are told is counted in one
//! place (`klamm_api_errors_total`). Code 0 is no error and not counted.

use kafka_protocol::messages::{
    AlterConfigsResponse, ApiVersionsResponse, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteGroupsResponse, DeleteRecordsResponse, DeleteTopicsResponse, DescribeClusterResponse,
    DescribeConfigsResponse, DescribeGroupsResponse, DescribeLogDirsResponse,
    DescribeProducersResponse, DescribeTopicPartitionsResponse, FindCoordinatorResponse,
    HeartbeatResponse, IncrementalAlterConfigsResponse, InitProducerIdResponse, JoinGroupResponse,
    LeaveGroupResponse, ListConfigResourcesResponse, ListGroupsResponse, ListOffsetsResponse,
    MetadataResponse, OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse,
    OffsetForLeaderEpochResponse, SyncGroupResponse,
};

/// A response whose error codes can be counted.
pub trait ErrorCodes {
    /// Calls `count` with every code in the response, 0 included.
    fn each_code(&self, count: &mut dyn FnMut(i16));
}

/// One code at the top.
macro_rules! top {
    ($($response:ty),+ $(,)?) => {$(
        impl ErrorCodes for $response {
            fn each_code(&self, count: &mut dyn FnMut(i16)) {
                count(self.error_code);
            }
        }
    )+};
}

/// One code per element of a list.
macro_rules! listed {
    ($($response:ty: $list:ident),+ $(,)?) => {$(
        impl ErrorCodes for $response {
            fn each_code(&self, count: &mut dyn FnMut(i16)) {
                self.$list.iter().for_each(|element| count(element.error_code));
            }
        }
    )+};
}

/// One code per partition of each topic.
macro_rules! partitioned {
    ($($response:ty: $topics:ident),+ $(,)?) => {$(
        impl ErrorCodes for $response {
            fn each_code(&self, count: &mut dyn FnMut(i16)) {
                let partitions = self.$topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|partition| count(partition.error_code));
            }
        }
    )+};
}

top! {
    ApiVersionsResponse, ConsumerGroupHeartbeatResponse, DescribeClusterResponse, HeartbeatResponse, InitProducerIdResponse,
    JoinGroupResponse, ListConfigResourcesResponse, ListGroupsResponse, SyncGroupResponse,
}

listed! {
    AlterConfigsResponse: responses,
    ConsumerGroupDescribeResponse: groups,
    CreatePartitionsResponse: results,
    CreateTopicsResponse: topics,
    DeleteGroupsResponse: results,
    DeleteTopicsResponse: responses,
    DescribeGroupsResponse: groups,
    DescribeConfigsResponse: results,
    DescribeTopicPartitionsResponse: topics,
    IncrementalAlterConfigsResponse: responses,
    MetadataResponse: topics,
}

partitioned! {
    DeleteRecordsResponse: topics,
    DescribeProducersResponse: topics,
    ListOffsetsResponse: topics,
    OffsetCommitResponse: topics,
    OffsetForLeaderEpochResponse: topics,
}

impl ErrorCodes for FindCoordinatorResponse {
    fn each_code(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        self.coordinators.iter().for_each(|coordinator| count(coordinator.error_code));
    }
}

impl ErrorCodes for LeaveGroupResponse {
    fn each_code(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        self.members.iter().for_each(|member| count(member.error_code));
    }
}

impl ErrorCodes for DescribeLogDirsResponse {
    fn each_code(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        self.results.iter().for_each(|dir| count(dir.error_code));
    }
}

impl ErrorCodes for OffsetDeleteResponse {
    fn each_code(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.for_each(|partition| count(partition.error_code));
    }
}

/// Of one group up to v7, of many since.
impl ErrorCodes for OffsetFetchResponse {
    fn each_code(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.for_each(|partition| count(partition.error_code));
        for group in &self.groups {
            count(group.error_code);
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.for_each(|partition| count(partition.error_code));
        }
    }
}
