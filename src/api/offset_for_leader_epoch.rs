//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, by which a consumer finds out that
//! its position was truncated away (KIP-320).
//!
//! | version | change | here |
//! |---|---|---|
//! | 2 | current leader epoch, throttle time | served from here, as in Kafka 4.0 |
//! | 3 | replica id, so that consumers are told from followers | ignored: there are no followers |
//! | 4 | flexible | |
//!
//! The answer names the largest epoch known that is not above the one asked for, never the
//! current one instead, and -1/-1 where none is. The current epoch ends at the next offset, as in
//! Kafka, tickets of delayed records included.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{ApiKey, TopicName};

use super::endpoint::{Begun, Cx, Endpoint};
use super::topics::{self, check_epoch};
use crate::base::fault::Fault;

/// The API itself.
pub struct OffsetForLeaderEpoch;

impl Endpoint for OffsetForLeaderEpoch {
    const KEY: ApiKey = ApiKey::OffsetForLeaderEpoch;
    const VERSIONS: std::ops::RangeInclusive<i16> = 2..=4;
    type Request = OffsetForLeaderEpochRequest;
    type Response = OffsetForLeaderEpochResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: OffsetForLeaderEpochRequest,
    ) -> Begun<OffsetForLeaderEpochResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let ends = topic.partitions.iter().map(|asked| response(cx, &topic.topic, asked));
            let partitions = ends.collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions)
        });
        let topics = topics.collect();
        Begun::Done(OffsetForLeaderEpochResponse::default().with_topics(topics))
    }
}

fn response(cx: &Cx<'_>, topic: &TopicName, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let response = EpochEndOffset::default().with_partition(asked.partition);
    match end_of_epoch(cx, topic, asked) {
        Ok((epoch, end_offset)) => response.with_leader_epoch(epoch).with_end_offset(end_offset),
        Err(fault) => {
            response.with_error_code(fault.code()).with_leader_epoch(-1).with_end_offset(-1)
        }
    }
}

fn end_of_epoch(
    cx: &Cx<'_>,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), Fault> {
    let partition = topics::by_name(cx.services, topic, asked.partition)?;
    let view = &partition.view;
    check_epoch(asked.current_leader_epoch, view.leader_epoch())?;
    Ok(view.end_offset_for_epoch(asked.leader_epoch))
}
