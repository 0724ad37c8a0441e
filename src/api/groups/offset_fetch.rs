//! OffsetFetch (key 9).
//!
//! | version | change | here |
//! |---|---|---|
//! | 1 | offsets in the broker; errors stand on partitions alone | |
//! | 2 | a null list asks for every offset; an error for the whole group | |
//! | 3 | throttle time | |
//! | 5 | leader epochs (KIP-320) | |
//! | 6 | flexible | |
//! | 7 | `require_stable` (KIP-447) | always so: no answer leaves before what it shows is durable |
//! | 8 | many groups (KIP-709) | |
//! | 9 | member id and epoch (KIP-848) | |
//!
//! In version 1 an error of the group must go on each partition: a client that saw none would
//! take "no offset" for an answer and start over.

use std::future::Future;
use std::ops::RangeInclusive;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetFetchRequest, OffsetFetchResponse};
use rustc_hash::FxHashSet;

use super::Groups;
use super::offsets::{answered, name, topic_name};
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::text;
use crate::base::fault::{Code, Fault};
use crate::coord::group::offsets::{ByTopic, Command, Committed, Fetch, Fetched, Reply};

/// From this version on an error may stand for the whole group.
const GROUP_ERRORS_SINCE: i16 = 2;
/// From this version on there are many groups.
const BATCHED_SINCE: i16 = 8;

/// The API itself.
pub struct OffsetFetch;

impl Endpoint for OffsetFetch {
    const KEY: ApiKey = ApiKey::OffsetFetch;
    const VERSIONS: RangeInclusive<i16> = 1..=9;
    type Request = OffsetFetchRequest;
    type Response = OffsetFetchResponse;

    fn begin(cx: &mut Cx<'_>, request: OffsetFetchRequest) -> Begun<OffsetFetchResponse> {
        let groups = &cx.services.groups;
        if cx.version < BATCHED_SINCE {
            let topics = request.topics.map(|topics| {
                topics.iter().map(|t| (name(&t.name), t.partition_indexes.clone())).collect()
            });
            let (asked, found) = fetch(groups, &request.group_id, None, -1, topics);
            let version = cx.version;
            return Begun::later(async move { one_group(version, asked, found.await) });
        }
        // A group is told of once, however often it is named: it may have much to tell.
        let mut named = FxHashSet::default();
        let begun: Vec<_> = request
            .groups
            .into_iter()
            .map(|group| {
                let member_id = group.member_id.map(|id| id.to_string());
                let topics = group.topics.map(|topics| {
                    topics.iter().map(|t| (name(&t.name), t.partition_indexes.clone())).collect()
                });
                let found = named.insert(group.group_id.clone()).then(|| {
                    fetch(groups, &group.group_id, member_id, group.member_epoch, topics).1
                });
                (group.group_id, found)
            })
            .collect();
        Begun::later(async move {
            let mut groups = Vec::with_capacity(begun.len());
            for (group_id, found) in begun {
                let found = match found {
                    Some(found) => found.await,
                    None => Err(Code::InvalidRequest.into()),
                };
                groups.push(one_of_many(group_id, found));
            }
            OffsetFetchResponse::default().with_groups(groups)
        })
    }
}

type Found = Result<ByTopic<Fetched>, Fault>;

/// Asks for the offsets of one group; gives back what was asked for.
fn fetch(
    groups: &Groups,
    group_id: &GroupId,
    member_id: Option<String>,
    member_epoch: i32,
    topics: Option<ByTopic<i32>>,
) -> (ByTopic<i32>, impl Future<Output = Found> + Send + use<>) {
    let asked = topics.clone().unwrap_or_default();
    let group = group_id.to_string();
    let command = Command::Fetch(Fetch { group, member_id, member_epoch, topics });
    let answer = groups.ask(group_id, command);
    let found = async move {
        let found = answered(answer, |reply| match reply {
            Reply::Fetch(found) => Some(found),
            _ => None,
        });
        found.await?.map_err(Fault::from)
    };
    (asked, found)
}

/// No offset, or none that may be told.
fn nothing() -> Committed {
    Committed { offset: -1, leader_epoch: -1, metadata: "".into() }
}

fn one_group(version: i16, asked: ByTopic<i32>, found: Found) -> OffsetFetchResponse {
    let (found, of_group, of_partition) = match found {
        Ok(found) => (found, 0, 0),
        Err(fault) if version >= GROUP_ERRORS_SINCE => (Vec::new(), fault.code(), 0),
        Err(fault) => {
            let none = |partition| Fetched { partition, committed: None };
            let topics = asked.into_iter();
            let refused = topics.map(|(topic, of)| (topic, of.into_iter().map(none).collect()));
            (refused.collect(), 0, fault.code())
        }
    };
    let topics = found.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|fetched| {
            let committed = fetched.committed.unwrap_or_else(nothing);
            OffsetFetchResponsePartition::default()
                .with_partition_index(fetched.partition)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(&committed.metadata)))
                .with_error_code(of_partition)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect()).with_error_code(of_group)
}

fn one_of_many(group_id: GroupId, found: Found) -> OffsetFetchResponseGroup {
    let group = OffsetFetchResponseGroup::default().with_group_id(group_id);
    let found = match found {
        Ok(found) => found,
        Err(fault) => return group.with_error_code(fault.code()),
    };
    let topics = found.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|fetched| {
            let committed = fetched.committed.unwrap_or_else(nothing);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(fetched.partition)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(&committed.metadata)))
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    group.with_topics(topics.collect())
}
