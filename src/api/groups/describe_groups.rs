//! DescribeGroups (key 15): classic groups and their members, as they joined.
//!
//! | version | change |
//! |---|---|
//! | 0 | |
//! | 1 | throttle time |
//! | 2 | throttled after the answer |
//! | 3 | authorized operations |
//! | 4 | group.instance.id (KIP-345) |
//! | 5 | flexible |
//! | 6 | `GROUP_ID_NOT_FOUND` and a message; before, such a group is `Dead` (KIP-1043) |
//!
//! A group of another protocol is not found here, as in Kafka: its own API describes it.

use std::ops::RangeInclusive;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::{ALL_GROUP_OPERATIONS, Answered, fault_of, name};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::metadata::UNASKED_OPERATIONS;
use crate::api::text;
use crate::base::fault::Code;
use crate::coord::group::Reply;
use crate::coord::group::classic::{Command, DescribedMember, Description, Reply as Classic};

const NOT_FOUND_SINCE: i16 = 6;

/// The API itself.
pub struct DescribeGroups;

impl Endpoint for DescribeGroups {
    const KEY: ApiKey = ApiKey::DescribeGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
    type Request = DescribeGroupsRequest;
    type Response = DescribeGroupsResponse;

    fn begin(cx: &mut Cx<'_>, request: DescribeGroupsRequest) -> Begun<DescribeGroupsResponse> {
        let tells_not_found = cx.version >= NOT_FOUND_SINCE;
        let operations = if request.include_authorized_operations {
            ALL_GROUP_OPERATIONS
        } else {
            UNASKED_OPERATIONS
        };
        let groups = &cx.services.groups;
        let mut asked = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            let answer = groups.ask(&group, Command::Describe(group.to_string()));
            asked.push((answer, group));
        }
        Begun::later(async move {
            let mut described = Vec::with_capacity(asked.len());
            for (answer, group) in asked {
                let told = respond(answer.await, &group, operations, tells_not_found);
                described.push(told.with_group_id(group));
            }
            DescribeGroupsResponse::default().with_groups(described)
        })
    }
}

fn respond(
    answer: Answered,
    group: &GroupId,
    operations: i32,
    tells_not_found: bool,
) -> DescribedGroup {
    match answer {
        Ok(Reply::Classic(Classic::Describe(Some(description)))) => {
            found(description).with_authorized_operations(operations)
        }
        Ok(Reply::Classic(Classic::Describe(None))) if tells_not_found => dead()
            .with_error_code(Code::GroupIdNotFound.code())
            .with_error_message(Some(text(&format!("Group {} not found.", &**group)))),
        Ok(Reply::Classic(Classic::Describe(None))) => {
            dead().with_authorized_operations(operations)
        }
        other => DescribedGroup::default().with_error_code(fault_of(other).code()),
    }
}

/// How a group is described that is not there.
fn dead() -> DescribedGroup {
    DescribedGroup::default().with_group_state(text("Dead"))
}

fn found(description: Description) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_state(text(description.state))
        .with_protocol_type(text(&description.protocol_type))
        .with_protocol_data(text(&description.protocol))
        .with_members(description.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(name(&member.instance_id))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
