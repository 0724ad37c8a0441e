//! DeleteGroups (key 42): deletes groups without members, with all that they committed.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | | |
//! | 1 | throttled after the answer | |
//! | 2 | flexible | |

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{ApiKey, DeleteGroupsRequest, DeleteGroupsResponse};
use rustc_hash::FxHashSet;

use super::offsets::answered;
use crate::api::Services;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::base::fault::Fault;
use crate::coord::group::offsets::{Command, Reply};
use crate::shard::retry::back;

/// The API itself.
pub struct DeleteGroups;

impl Endpoint for DeleteGroups {
    const KEY: ApiKey = ApiKey::DeleteGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    type Request = DeleteGroupsRequest;
    type Response = DeleteGroupsResponse;

    fn begin(cx: &mut Cx<'_>, request: DeleteGroupsRequest) -> Begun<DeleteGroupsResponse> {
        let services = Arc::clone(cx.services);
        let groups = &services.groups;
        let mut named = FxHashSet::default();
        let asked: Vec<_> = request
            .groups_names
            .into_iter()
            // A group is deleted and told of once, however often it is named.
            .filter(|id| named.insert(id.clone()))
            .map(|id| {
                let answer = groups.ask(&id, Command::DeleteGroup(id.to_string()));
                (id, answer)
            })
            .collect();
        Begun::later(async move {
            let mut results = Vec::with_capacity(asked.len());
            for (id, answer) in asked {
                let outcome = answered(answer, |reply| match reply {
                    Reply::DeleteGroup(outcome) => Some(outcome.map_err(Fault::from)),
                    _ => None,
                });
                let mut outcome = outcome.await.flatten();
                if outcome.is_ok() {
                    let Services { shards, metadata, defaults, .. } = &*services;
                    let anew = back::everywhere(&metadata.catalog(), &id);
                    outcome = back::forget(shards, metadata, defaults, &id, anew).await;
                }
                let code = outcome.err().map_or(0, |fault| fault.code());
                let result = DeletableGroupResult::default().with_group_id(id);
                results.push(result.with_error_code(code));
            }
            DeleteGroupsResponse::default().with_results(results)
        })
    }
}
