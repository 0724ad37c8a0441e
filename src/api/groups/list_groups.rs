//! ListGroups (key 16): the groups that this node coordinates, of all protocols.
//!
//! v1 throttle time. v2 throttled after the answer. v3 flexible. v4 states, and a filter of them
//! (KIP-518). v5 types, and a filter of them (KIP-848).
//!
//! Groups that are still being loaded fail the whole answer, as in Kafka: a client that took a
//! part for all would be misled.

use std::ops::RangeInclusive;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse};

use super::{Answered, fault_of};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::Code;
use crate::coord::group::Reply;
use crate::coord::group::classic::{Command, List, Listed, Reply as Classic};

/// The API itself.
pub struct ListGroups;

impl Endpoint for ListGroups {
    const KEY: ApiKey = ApiKey::ListGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    type Request = ListGroupsRequest;
    type Response = ListGroupsResponse;

    fn begin(cx: &mut Cx<'_>, request: ListGroupsRequest) -> Begun<ListGroupsResponse> {
        let filter = List {
            states: request.states_filter.iter().map(ToString::to_string).collect(),
            types: request.types_filter.iter().map(ToString::to_string).collect(),
        };
        let asked = cx.services.groups.ask_all(|| Command::List(filter.clone()).into());
        Begun::later(async move { respond(asked.await) })
    }
}

fn respond(answers: Vec<Answered>) -> ListGroupsResponse {
    let mut groups = Vec::new();
    for answer in answers {
        match answer {
            Ok(Reply::Classic(Classic::List(listed))) => {
                groups.extend(listed.into_iter().map(listed_group));
            }
            Err(fault) if fault.kind() == Code::NotCoordinator => {}
            other => {
                return ListGroupsResponse::default().with_error_code(fault_of(other).code());
            }
        }
    }
    ListGroupsResponse::default().with_groups(groups)
}

fn listed_group(listed: Listed) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(GroupId(text(&listed.group)))
        .with_protocol_type(text(&listed.protocol_type))
        .with_group_state(text(listed.state))
        .with_group_type(text(listed.kind))
}
