//! OffsetDelete (key 47): deletes committed offsets of topics that the group does not read.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | never flexible | |

use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest, OffsetDeleteResponse};

use super::Answered;
use super::offsets::{answered, code, name, topic_name};
use crate::api::Services;
use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::base::fault::Fault;
use crate::base::ids::TopicPartition;
use crate::catalog::Catalog;
use crate::coord::group::offsets::{ByTopic, Command, Delete, MovedBack, Outcome, Reply};
use crate::shard::retry::back;

/// The API itself.
pub struct OffsetDelete;

impl Endpoint for OffsetDelete {
    const KEY: ApiKey = ApiKey::OffsetDelete;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    type Request = OffsetDeleteRequest;
    type Response = OffsetDeleteResponse;

    fn begin(cx: &mut Cx<'_>, request: OffsetDeleteRequest) -> Begun<OffsetDeleteResponse> {
        let group = request.group_id.to_string();
        let topics = request.topics.iter().map(|topic| {
            (name(&topic.name), topic.partitions.iter().map(|p| p.partition_index).collect())
        });
        let asked = Delete { group: group.clone(), dry_run: true, topics: topics.collect() };
        let delete = Delete { dry_run: false, ..asked.clone() };
        let services = Arc::clone(cx.services);
        let answer = services.groups.ask(&group, Command::Delete(asked));
        Begun::later(async move {
            let forgotten = async {
                let Services { shards, metadata, defaults, groups, .. } = &*services;
                let anew = begun_anew(&metadata.catalog(), &deleted(answer).await?);
                // First: a crash in between must not leave a group that fails and is not heard.
                back::forget(shards, metadata, defaults, &group, anew).await?;
                deleted(groups.ask(&group, Command::Delete(delete))).await
            };
            match forgotten.await {
                Ok(outcomes) => respond(outcomes),
                Err(fault) => OffsetDeleteResponse::default().with_error_code(fault.code()),
            }
        })
    }
}

async fn deleted(answer: impl Future<Output = Answered>) -> Result<ByTopic<Outcome>, Fault> {
    let outcomes = answered(answer, |reply| match reply {
        Reply::Delete(outcomes) => Some(outcomes.map_err(Fault::from)),
        _ => None,
    });
    outcomes.await.flatten()
}

/// Without a committed offset a group may read a partition from its beginning.
fn begun_anew(catalog: &Catalog, outcomes: &ByTopic<Outcome>) -> Vec<MovedBack> {
    let of_topic = |(name, partitions): &(Arc<str>, Vec<Outcome>)| {
        let id = catalog.topic(name).map(|topic| topic.id);
        let deleted = partitions.iter().filter(|(_, outcome)| outcome.is_ok());
        let place =
            |(n, _): &Outcome| Some(MovedBack { tp: TopicPartition::new(id?, *n), offset: 0 });
        deleted.filter_map(place).collect::<Vec<_>>()
    };
    outcomes.iter().flat_map(of_topic).collect()
}

fn respond(outcomes: ByTopic<Outcome>) -> OffsetDeleteResponse {
    let topics = outcomes.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, outcome)| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(code(outcome))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
