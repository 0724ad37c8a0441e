//! ListOffsets (key 2).
//!
//! | version | change | here |
//! |---|---|---|
//! | 1 | one offset instead of a list | served from here |
//! | 2 | isolation level, throttle time | |
//! | 4 | leader epoch, asked and answered | |
//! | 6 | flexible | |
//! | 7 | timestamp -3: the record with the highest timestamp (KIP-734) | |
//! | 8 | timestamp -4: earliest on local disk (KIP-405) | the log start: nothing is tiered |
//! | 9 | timestamp -5: highest tiered offset (KIP-1005) | -1: nothing is tiered |
//! | 10 | time-out for remote look-ups | not needed |
//! | 11 | timestamp -6: earliest not yet uploaded | not served by the codec |
//!
//! No match is an answer (-1), not an error. Replicas are answered like consumers: offsets that
//! are not visible are told to nobody.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ApiKey, TopicName};
use rustc_hash::FxHashMap;

use super::endpoint::{Begun, Cx, Endpoint};
use super::topics::{self, check_epoch};
use crate::base::fault::{Code, Fault};
use crate::shard::registry::Partition;

/// The API itself.
pub struct ListOffsets;

impl Endpoint for ListOffsets {
    const KEY: ApiKey = ApiKey::ListOffsets;
    const VERSIONS: std::ops::RangeInclusive<i16> = 1..=10;
    type Request = ListOffsetsRequest;
    type Response = ListOffsetsResponse;

    fn begin(cx: &mut Cx<'_>, request: ListOffsetsRequest) -> Begun<ListOffsetsResponse> {
        let version = cx.version;
        let questions = questions(cx, request);
        if questions.iter().any(Question::needs_disk) {
            Begun::blocking(move || answer(version, questions))
        } else {
            Begun::Done(answer(version, questions))
        }
    }
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Latest,
    Earliest,
    MaxTimestamp,
    /// The first record at or after this time.
    Time(i64),
    /// Nothing is tiered, so there is no such offset.
    Tiered,
}

impl Target {
    /// Reads a request's timestamp; each special one exists from some version on.
    fn from_wire(timestamp: i64, version: i16) -> Result<Self, Fault> {
        match timestamp {
            0.. => Ok(Self::Time(timestamp)),
            -1 => Ok(Self::Latest),
            -2 => Ok(Self::Earliest),
            -3 if version >= 7 => Ok(Self::MaxTimestamp),
            -4 if version >= 8 => Ok(Self::Earliest),
            -5 if version >= 9 => Ok(Self::Tiered),
            _ => Err(Code::UnsupportedVersion.into()),
        }
    }
}

/// One partition of a request, resolved.
struct Question {
    topic: TopicName,
    index: i32,
    ask: Result<Ask, Fault>,
}

struct Ask {
    partition: Arc<Partition>,
    target: Target,
    /// Whether only committed records count (isolation level 1).
    committed: bool,
}

impl Question {
    fn needs_disk(&self) -> bool {
        let target = self.ask.as_ref().map(|ask| ask.target);
        matches!(target, Ok(Target::MaxTimestamp | Target::Time(_)))
    }
}

fn questions(cx: &Cx<'_>, request: ListOffsetsRequest) -> Vec<Question> {
    let mut times_named: FxHashMap<(TopicName, i32), usize> = FxHashMap::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times_named.entry((topic.name.clone(), partition.partition_index)).or_default() += 1;
        }
    }
    let mut questions = Vec::with_capacity(times_named.len());
    for topic in request.topics {
        for wanted in topic.partitions {
            let index = wanted.partition_index;
            let ask = match times_named.remove(&(topic.name.clone(), index)) {
                Some(1) => ask(cx, &topic.name, &wanted, request.isolation_level),
                Some(_) => Err(Fault::with(Code::InvalidRequest, "the partition is named twice")),
                None => continue,
            };
            questions.push(Question { topic: topic.name.clone(), index, ask });
        }
    }
    questions
}

fn ask(
    cx: &Cx<'_>,
    topic: &TopicName,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
) -> Result<Ask, Fault> {
    let committed = match isolation_level {
        0 => false,
        1 => true,
        _ => return Err(Code::InvalidRequest.into()),
    };
    let target = Target::from_wire(wanted.timestamp, cx.version)?;
    let partition = topics::by_name(cx.services, topic, wanted.partition_index)?;
    check_epoch(wanted.current_leader_epoch, partition.view.leader_epoch())?;
    Ok(Ask { partition, target, committed })
}

/// What is found: timestamp, offset and leader epoch, each -1 where there is none.
struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

const NOTHING: Found = Found { timestamp: -1, offset: -1, leader_epoch: -1 };

/// Looks an offset up; blocks on the disk for [`Question::needs_disk`] targets.
fn look_up(ask: &Ask) -> Result<Found, Fault> {
    let view = &ask.partition.view;
    let end = if ask.committed { view.last_stable() } else { view.high_watermark() };
    let at = |offset, leader_epoch| Found { timestamp: -1, offset, leader_epoch };
    let by_time = match ask.target {
        Target::Latest => return Ok(at(end, view.leader_epoch())),
        Target::Earliest => return Ok(at(view.log_start(), view.epoch_at(view.log_start()))),
        Target::Tiered => return Ok(NOTHING),
        Target::MaxTimestamp => view.offset_of_max_timestamp()?,
        Target::Time(timestamp) => view.offset_for_time(timestamp)?,
    };
    let visible = by_time.filter(|found| found.offset < end);
    Ok(visible.map_or(NOTHING, |found| Found {
        timestamp: found.timestamp_ms,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    }))
}

/// Questions of one topic stand together, as in the request.
fn answer(version: i16, questions: Vec<Question>) -> ListOffsetsResponse {
    let mut topics: Vec<ListOffsetsTopicResponse> = Vec::new();
    for question in questions {
        let found = question.ask.and_then(|ask| look_up(&ask));
        let partition = partition_response(version, question.index, found);
        match topics.last_mut() {
            Some(topic) if topic.name == question.topic => topic.partitions.push(partition),
            _ => topics.push(
                ListOffsetsTopicResponse::default()
                    .with_name(question.topic)
                    .with_partitions(vec![partition]),
            ),
        }
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn partition_response(
    version: i16,
    index: i32,
    found: Result<Found, Fault>,
) -> ListOffsetsPartitionResponse {
    let (error_code, found) = match found {
        Ok(found) => (0, found),
        Err(fault) => (fault.code(), NOTHING),
    };
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error_code)
        .with_timestamp(found.timestamp)
        .with_offset(found.offset);
    if version >= 4 { response.with_leader_epoch(found.leader_epoch) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_exist_from_their_version_on() {
        let known = |timestamp, version| Target::from_wire(timestamp, version).ok();
        assert_eq!(known(0, 1), Some(Target::Time(0)));
        assert_eq!(known(i64::MAX, 1), Some(Target::Time(i64::MAX)));
        assert_eq!((known(-1, 1), known(-2, 1)), (Some(Target::Latest), Some(Target::Earliest)));
        assert_eq!((known(-3, 6), known(-3, 7)), (None, Some(Target::MaxTimestamp)));
        assert_eq!((known(-4, 7), known(-4, 8)), (None, Some(Target::Earliest)));
        assert_eq!((known(-5, 8), known(-5, 9)), (None, Some(Target::Tiered)));
        assert_eq!((known(-6, 10), known(i64::MIN, 10)), (None, None));
    }
}
