//! OffsetCommit (key 8).
//!
//! | version | change | here |
//! |---|---|---|
//! | 2 | retention time for the whole request | kept: such offsets expire by it |
//! | 3 | throttle time | |
//! | 5 | no retention time | |
//! | 6 | leader epochs (KIP-320) | stored |
//! | 7 | instance ids (KIP-345) | |
//! | 8 | flexible | |
//! | 9 | member epochs, GROUP_ID_NOT_FOUND, STALE_MEMBER_EPOCH (KIP-848) | |
//!
//! Version 10 has topic ids, which the codec cannot read.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

use super::Answered;
use super::offsets::{answered, code, name, topic_name};
use crate::api::Services;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::base::fault::{Code, Fault};
use crate::coord::group::offsets::{
    ByTopic, Command, Commit, CommitPartition, MovesBack, Outcome, Reply,
};
use crate::shard::retry::back;

/// "As the broker is configured", in requests that can name a retention time.
const DEFAULT_RETENTION: i64 = -1;
/// From this version on clients know member epochs.
const EPOCHS_SINCE: i16 = 9;

/// The API itself.
pub struct OffsetCommit;

impl Endpoint for OffsetCommit {
    const KEY: ApiKey = ApiKey::OffsetCommit;
    const VERSIONS: RangeInclusive<i16> = 2..=9;
    type Request = OffsetCommitRequest;
    type Response = OffsetCommitResponse;

    fn begin(cx: &mut Cx<'_>, request: OffsetCommitRequest) -> Begun<OffsetCommitResponse> {
        let asked: ByTopic<i32> = request.topics.iter().map(numbers).collect();
        let group = request.group_id.to_string();
        let retention = Some(request.retention_time_ms).filter(|ms| *ms != DEFAULT_RETENTION);
        let commit = Command::Commit(Commit {
            group: group.clone(),
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.map(|id| id.to_string()),
            generation: request.generation_id_or_member_epoch,
            knows_epochs: cx.version >= EPOCHS_SINCE,
            retention_ms: retention,
            may_move_back: false,
            topics: request.topics.into_iter().map(wanted).collect(),
        });
        let answer = cx.services.groups.ask(&group, commit);
        let services = Arc::clone(cx.services);
        Begun::later(async move {
            match committed(&services, &group, answer).await {
                Ok(outcomes) => respond(outcomes),
                Err(fault) => refuse(asked, &fault),
            }
        })
    }
}

/// Waits for a commit. One that moves the group back is stored only when what the group has failed
/// on is forgotten from there on: it may fail on that again, and whatever comes between, nothing
/// that it fails on then passes for known.
async fn committed(
    services: &Services,
    group: &str,
    answer: impl Future<Output = Answered>,
) -> Result<ByTopic<Outcome>, Fault> {
    let MovesBack { mut commit, moved_back } = match answered(answer, Some).await? {
        Reply::MovesBack(held) => *held,
        reply => return stored(reply),
    };
    let Services { shards, metadata, defaults, groups, .. } = services;
    back::forget(shards, metadata, defaults, group, moved_back).await?;
    commit.may_move_back = true;
    stored(answered(groups.ask(group, Command::Commit(commit)), Some).await?)
}

fn stored(reply: Reply) -> Result<ByTopic<Outcome>, Fault> {
    match reply {
        Reply::Commit(outcomes) => Ok(outcomes),
        _ => Err(Code::UnknownServerError.into()),
    }
}

fn numbers(topic: &OffsetCommitRequestTopic) -> (Arc<str>, Vec<i32>) {
    (name(&topic.name), topic.partitions.iter().map(|p| p.partition_index).collect())
}

fn wanted(topic: OffsetCommitRequestTopic) -> (Arc<str>, Vec<CommitPartition>) {
    let partitions = topic.partitions.into_iter().map(|asked| CommitPartition {
        partition: asked.partition_index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.as_deref().unwrap_or_default().into(),
    });
    (name(&topic.name), partitions.collect())
}

fn refuse(asked: ByTopic<i32>, fault: &Fault) -> OffsetCommitResponse {
    let refused = |(topic, partitions): (_, Vec<i32>)| {
        (topic, partitions.into_iter().map(|partition| (partition, Err(fault.kind()))).collect())
    };
    respond(asked.into_iter().map(refused).collect())
}

fn respond(outcomes: ByTopic<Outcome>) -> OffsetCommitResponse {
    let topics = outcomes.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, outcome)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(code(outcome))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
