//! ConsumerGroupDescribe (key 69): consumer groups and their members, with what each has and shall
//! have (KIP-848).
//!
//! v1 tells which protocol a member speaks (KIP-1099). A classic group is not found here, as in
//! Kafka: DescribeGroups describes it.

use std::ops::RangeInclusive;

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, TopicName,
};

use super::{ALL_GROUP_OPERATIONS, Answered, fault_of, name};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::metadata::UNASKED_OPERATIONS;
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::coord::group::Reply;
use crate::coord::group::consumer::{
    Command, DescribedMember, DescribedTopic, Description, Reply as Consumer,
};

/// The API itself.
pub struct ConsumerGroupDescribe;

impl Endpoint for ConsumerGroupDescribe {
    const KEY: ApiKey = ApiKey::ConsumerGroupDescribe;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    type Request = ConsumerGroupDescribeRequest;
    type Response = ConsumerGroupDescribeResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: ConsumerGroupDescribeRequest,
    ) -> Begun<ConsumerGroupDescribeResponse> {
        let version = cx.version;
        let operations = if request.include_authorized_operations {
            ALL_GROUP_OPERATIONS
        } else {
            UNASKED_OPERATIONS
        };
        let groups = &cx.services.groups;
        let mut asked = Vec::with_capacity(request.group_ids.len());
        for group in request.group_ids {
            let answer = groups.ask(&group, Command::Describe(group.as_str().into()));
            asked.push((answer, group));
        }
        Begun::later(async move {
            let mut described = Vec::with_capacity(asked.len());
            for (answer, group) in asked {
                let told = match answer.await {
                    _ if group.is_empty() => refused(&Fault::new(Code::InvalidGroupId)),
                    answer => respond(answer, operations, version),
                };
                described.push(told.with_group_id(group));
            }
            ConsumerGroupDescribeResponse::default().with_groups(described)
        })
    }
}

fn respond(answer: Answered, operations: i32, version: i16) -> DescribedGroup {
    match answer {
        Ok(Reply::Consumer(Consumer::Describe(Ok(description)))) => {
            found(description, version).with_authorized_operations(operations)
        }
        Ok(Reply::Consumer(Consumer::Describe(Err(fault)))) => refused(&fault),
        other => refused(&fault_of(other)),
    }
}

fn refused(fault: &Fault) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(fault.code())
        .with_error_message(fault.message().map(text))
}

fn found(description: Description, version: i16) -> DescribedGroup {
    let members = description.members.into_iter().map(|member| described(member, version));
    DescribedGroup::default()
        .with_group_state(text(description.state.name()))
        .with_group_epoch(description.epoch)
        .with_assignment_epoch(description.assignment_epoch)
        .with_assignor_name(text(description.assignor.name()))
        .with_members(members.collect())
}

fn described(member: DescribedMember, version: i16) -> Member {
    // -1 is "unknown", the only value that version 0 can carry.
    let member_type = if version >= 1 { i8::from(!member.speaks_classic) } else { -1 };
    let topics = member.topics.iter().map(|topic| TopicName(text(topic)));
    Member::default()
        .with_member_id(text(&member.member_id))
        .with_instance_id(name(&member.instance_id))
        .with_rack_id(name(&member.rack_id))
        .with_member_epoch(member.epoch)
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_subscribed_topic_names(topics.collect())
        .with_subscribed_topic_regex(Some(text(&member.regex)))
        .with_assignment(assignment(member.assigned))
        .with_target_assignment(assignment(member.target))
        .with_member_type(member_type)
}

fn assignment(topics: Vec<DescribedTopic>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.id)
            .with_topic_name(TopicName(text(&topic.name)))
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
