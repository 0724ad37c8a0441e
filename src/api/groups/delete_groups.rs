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

use super::Answered;
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
                let answer = groups.ask(&id, delete(&id, true));
                (id, answer)
            })
            .collect();
        Begun::later(async move {
            let mut results = Vec::with_capacity(asked.len());
            for (id, answer) in asked {
                let outcome = delete_known(&services, &id, answer).await;
                let code = outcome.err().map_or(0, |fault| fault.code());
                let result = DeletableGroupResult::default().with_group_id(id);
                results.push(result.with_error_code(code));
            }
            DeleteGroupsResponse::default().with_results(results)
        })
    }
}

fn delete(group: &str, dry_run: bool) -> Command {
    Command::DeleteGroup { group: group.to_owned(), dry_run }
}

/// Deletes a group once it is known that it may be. What it has failed on is forgotten first: a
/// crash in between must not leave it to a group that is not that one any more.
async fn delete_known(
    services: &Services,
    group: &str,
    answer: impl Future<Output = Answered>,
) -> Result<(), Fault> {
    deleted(answer).await?;
    let Services { shards, metadata, defaults, groups, .. } = services;
    back::forget_group(shards, metadata, defaults, group).await?;
    deleted(groups.ask(group, delete(group, false))).await
}

async fn deleted(answer: impl Future<Output = Answered>) -> Result<(), Fault> {
    let outcome = answered(answer, |reply| match reply {
        Reply::DeleteGroup(outcome) => Some(outcome.map_err(Fault::from)),
        _ => None,
    });
    outcome.await.flatten()
}
