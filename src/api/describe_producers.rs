//! DescribeProducers (key 61): the idempotent producers that a partition knows.
//!
//! | version | change | here |
//! |---|---|---|
//! | 0 | | coordinator epoch and open transaction are -1: no transactions yet |
//!
//! The broker's own producers (ids below 1,000) are left out.

use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState as ProducerRow, TopicResponse,
};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, ProducerId, TopicName};
use rustc_hash::FxHashSet;
use tokio::sync::oneshot::Receiver;

use super::endpoint::{Begun, Cx, Endpoint};
use super::topics;
use crate::base::fault::{Code, Fault};
use crate::base::ids::FIRST_CLIENT_PRODUCER_ID;
use crate::catalog::check_topic_name;
use crate::log::producers::ProducerState;
use crate::shard::control::Control;

/// The API itself.
pub struct DescribeProducers;

/// A shard's answer to come: nothing if it has given the partition away since.
type Producers = Receiver<Option<Vec<ProducerState>>>;

impl Endpoint for DescribeProducers {
    const KEY: ApiKey = ApiKey::DescribeProducers;
    const VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;
    type Request = DescribeProducersRequest;
    type Response = DescribeProducersResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: DescribeProducersRequest,
    ) -> Begun<DescribeProducersResponse> {
        // A partition is told of once, however often it is named: its list may be long.
        let mut named = FxHashSet::default();
        let mut asked = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in topic.partition_indexes {
                let answer = if named.insert((topic.name.clone(), index)) {
                    ask(cx, &topic.name, index)
                } else {
                    Err(Code::InvalidRequest.into())
                };
                partitions.push((index, answer));
            }
            asked.push((topic.name, partitions));
        }
        Begun::later(async move {
            let mut topics = Vec::with_capacity(asked.len());
            for (name, partitions) in asked {
                let mut responses = Vec::with_capacity(partitions.len());
                for (index, answer) in partitions {
                    responses.push(partition_response(index, listed(answer).await));
                }
                topics.push(TopicResponse::default().with_name(name).with_partitions(responses));
            }
            DescribeProducersResponse::default().with_topics(topics)
        })
    }
}

fn ask(cx: &Cx<'_>, topic: &TopicName, index: i32) -> Result<Producers, Fault> {
    check_topic_name(topic)?;
    let partition = topics::by_name(cx.services, topic, index)?;
    Ok(cx.services.shards.control(partition.shard, |done| Control::Producers(partition.tp, done)))
}

async fn listed(answer: Result<Producers, Fault>) -> Result<Vec<ProducerState>, Fault> {
    // A shard that has stopped drops its questions.
    answer?.await.ok().flatten().ok_or_else(|| Code::NotLeaderOrFollower.into())
}

fn partition_response(
    index: i32,
    producers: Result<Vec<ProducerState>, Fault>,
) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    match producers {
        Ok(producers) => {
            let of_clients = |p: &&ProducerState| p.producer_id >= FIRST_CLIENT_PRODUCER_ID;
            let rows = producers.iter().filter(of_clients).map(row).collect();
            response.with_active_producers(rows)
        }
        Err(fault) => response.with_error_code(fault.code()),
    }
}

fn row(producer: &ProducerState) -> ProducerRow {
    let last = producer.batches.last();
    ProducerRow::default()
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(last.map_or(-1, |batch| batch.last_sequence))
        .with_last_timestamp(last.map_or(-1, |batch| batch.timestamp_ms))
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
