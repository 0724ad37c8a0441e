//! Produce (key 0).
//!
//! | version | change | here |
//! |---|---|---|
//! | 0-2 | message sets, removed in Kafka 4.0 | advertised, not served: old librdkafka stops compressing when 0 is missing |
//! | 3 | record batches, transactional id | served from here |
//! | 5 | log start offset in the response | |
//! | 7 | zstd | refused below with `UNSUPPORTED_COMPRESSION_TYPE` |
//! | 8 | record errors and message (KIP-467) | |
//! | 9 | flexible | |
//! | 10 | current leader and endpoints on `NOT_LEADER_OR_FOLLOWER` (KIP-951) | |
//! | 12 | implicit AddPartitionsToTxn (KIP-890) | no transactions yet |
//! | 13 | topic ids | |
//!
//! Batches are judged here, on the connection's thread and while their bytes are in its cache;
//! shards only stamp and write them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use smallvec::SmallVec;
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use super::endpoint::{Cx, Row, finish};
use super::reply::{Ending, Outcome, Reply};
use super::{Services, topics};
use crate::base::fault::{Code, Fault};
use crate::base::ids::FIRST_CLIENT_PRODUCER_ID;
use crate::base::metrics::Metrics;
use crate::catalog::is_internal;
use crate::log::validate::{self, Judged, Moment, Producer, Refusal, ValidBatch};
use crate::shard::append::{Acks, Append, AppendSet};
use crate::shard::registry::Partition;
use crate::shard::retry::copy::Riding;
use crate::shard::retry::nack::{Nacks, Share};
use crate::shard::tally::{AppendResult, Refused, Tally};
use crate::wire::batch::BatchHeader;
use crate::wire::compression::Codec;

/// The row of the API table.
#[must_use]
pub fn row() -> Row {
    Row { key: ApiKey::Produce, served: 3..=13, advertised: 0..=13, begin, unserved: None }
}

fn begin(cx: &mut Cx<'_>, correlation_id: i32, mut body: Bytes) -> Outcome {
    let version = cx.version;
    let request = match ProduceRequest::decode(&mut body, version) {
        Ok(request) => request,
        Err(error) => return Outcome::close(format!("Produce v{version}: {error}")),
    };
    let acks = Acks::from_wire(request.acks);
    let common = refusal_of_all(&cx.services.metrics, &request, acks);
    let outline = Outline::of(&request, version, correlation_id);
    let tally = Tally::new(outline.slots());
    let mut set = AppendSet::new(Arc::clone(&tally), acks.unwrap_or(Acks::Leader));
    let (mut slot, mut share) = (0, Share::default());
    for topic in request.topic_data {
        for data in topic.partition_data {
            let judged = match &common {
                Some(fault) => Err(Refused::from(fault.clone())),
                None => judge(cx, &mut share, set.acks, &topic.name, topic.topic_id, data, slot),
            };
            match judged {
                Ok(append) => set.push(append),
                Err(refused) => tally.complete(slot as usize, Err(refused)),
            }
            slot += 1;
        }
    }
    cx.services.shards.append(set);
    let leader = cx.services.node.node_id;
    let metrics = Arc::clone(&cx.services.metrics);
    Outcome::Later(Box::pin(async move {
        let results = Arc::clone(&tally).finished().await;
        for refused in results.iter().filter_map(|result| result.as_ref().err()) {
            metrics.errors.of(refused.fault.code()).add(1);
        }
        match request.acks {
            0 => silent(&results),
            _ => outline.answer(results, leader, tally.pause()),
        }
    }))
}

/// What refuses every partition of a request.
fn refusal_of_all(
    metrics: &Metrics,
    request: &ProduceRequest,
    acks: Option<Acks>,
) -> Option<Fault> {
    if acks.is_none() {
        let message = format!("acks is {}; it must be -1 (all), 0 or 1", request.acks);
        return Some(Fault::with(Code::InvalidRequiredAcks, message));
    }
    let id = request.transactional_id.as_ref()?;
    Some(topics::refuse_transactional(metrics, &id.0))
}

fn judge(
    cx: &Cx<'_>,
    share: &mut Share,
    acks: Acks,
    name: &TopicName,
    topic_id: Uuid,
    data: PartitionProduceData,
    slot: u32,
) -> Result<Append, Refused> {
    let partition = if cx.version >= 13 {
        topics::by_id(cx.services, topic_id, data.index)
    } else {
        topics::by_name(cx.services, name, data.index)
    }?;
    if is_internal(&partition.topic_name) {
        return Err(internal(&partition.topic_name).into());
    }
    let rules = partition.rules.load();
    if acks == Acks::All && rules.min_insync_replicas > 1 {
        return Err(not_enough_replicas(rules.min_insync_replicas).into());
    }
    let records = data.records.unwrap_or_default();
    let wall_ms = cx.services.env.wall_ms();
    let now = Moment { wall_ms, release_ms: cx.services.shards.delay().glance_ms() };
    let long = takes_long_to_open(&records);
    let judge = || validate::judge(records, cx.version, &rules.batch, &rules.delay, now);
    // Here and not on another thread: the bytes are in this one's cache, and order is kept.
    let judged = if long { tokio::task::block_in_place(judge) } else { judge() };
    let batch = judged.map_err(|refusal| refused(refusal).by_log(partition.view.log_start()))?;
    check_producer(batch.either())?;
    let copies = copies(cx, share, &partition, &batch)
        .map_err(|refused| refused.by_log(partition.view.log_start()))?;
    let elsewhere = match &batch.diverted {
        Some(diverted) => cx.services.shards.look_elsewhere(partition.tp, diverted)?,
        None => SmallVec::new(),
    };
    Ok(Append { partition: partition.tp, batch, copies, elsewhere, slot })
}

/// What a batch's nacks ask for.
fn copies(
    cx: &Cx<'_>,
    share: &mut Share,
    partition: &Partition,
    batch: &Judged,
) -> Result<Riding, Refused> {
    if !Nacks::are_in(batch) {
        return Ok(Riding::default());
    }
    let Services { env, shards, metadata, steward, defaults, .. } = &**cx.services;
    let nacks = Nacks { env, shards, metadata, steward, defaults };
    // It reads the log, and may wait for a topic.
    tokio::task::block_in_place(|| nacks.copies(share, partition, batch))
}

/// Compressed batches from this size on are opened with the worker's other tasks moved away: a
/// megabyte may unfold to many, and nobody else's request should wait for that.
const LONG_TO_OPEN_BYTES: usize = 16 << 10;

fn takes_long_to_open(batch: &[u8]) -> bool {
    let compressed = |header: BatchHeader| header.codec() != Some(Codec::None);
    let many_threads = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    batch.len() >= LONG_TO_OPEN_BYTES
        && BatchHeader::parse(batch).is_ok_and(compressed)
        && Handle::try_current().is_ok_and(many_threads)
}

/// Checks who signed a batch: no transactions yet, and nobody poses as the broker itself.
fn check_producer(batch: &ValidBatch) -> Result<(), Fault> {
    if batch.header().is_transactional() {
        let message = "the batch is transactional; transactions are not served yet";
        return Err(Fault::with(Code::TransactionalIdAuthorizationFailed, message));
    }
    match batch.producer() {
        Some(Producer { id, .. }) if id < FIRST_CLIENT_PRODUCER_ID => {
            let message = format!("producer id {id} is the broker's own, as all below 1,000");
            Err(Fault::with(Code::InvalidProducerIdMapping, message))
        }
        _ => Ok(()),
    }
}

/// Kafka lets a client that calls itself `__admin_client` write there; here nobody may, because a
/// coordinator's state is what it wrote itself.
fn internal(name: &str) -> Fault {
    let message = format!("Cannot append to internal topic {name}");
    Fault::with(Code::InvalidTopicException, message)
}

fn not_enough_replicas(wanted: i32) -> Fault {
    let message = format!("min.insync.replicas is {wanted}; a partition has one replica here");
    Fault::with(Code::NotEnoughReplicas, message)
}

fn refused(refusal: Refusal) -> Refused {
    let records = refusal.records.iter().map(|r| (r.index, r.message.clone())).collect();
    Refused { records, ..Refused::from(Fault::from(refusal)) }
}

/// `acks=0`: nothing is answered; an error closes the connection, which is all the client can
/// notice.
fn silent(results: &[AppendResult]) -> Ending {
    match results.iter().find_map(|r| r.as_ref().err()) {
        Some(refused) => Ending::Close(format!("acks=0 produce refused: {}", refused.fault)),
        None => Ending::Silent,
    }
}

/// What the response needs of the request: which slot belongs to which partition.
struct Outline {
    version: i16,
    correlation_id: i32,
    topics: SmallVec<[OutlineTopic; 1]>,
}

struct OutlineTopic {
    name: TopicName,
    topic_id: Uuid,
    partitions: SmallVec<[i32; 4]>,
}

impl Outline {
    fn of(request: &ProduceRequest, version: i16, correlation_id: i32) -> Self {
        let topics = request.topic_data.iter().map(|topic| OutlineTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_data.iter().map(|p| p.index).collect(),
        });
        Self { version, correlation_id, topics: topics.collect() }
    }

    fn slots(&self) -> usize {
        self.topics.iter().map(|t| t.partitions.len()).sum()
    }

    fn answer(self, results: SmallVec<[AppendResult; 1]>, leader: i32, pause: Duration) -> Ending {
        let version = self.version;
        let mut results = results.into_iter();
        let mut responses = Vec::with_capacity(self.topics.len());
        for topic in self.topics {
            let partitions = topic.partitions.iter().map(|index| {
                let result = results.next().expect("there is one result per slot");
                partition_response(*index, result, version, leader)
            });
            let mut response =
                TopicProduceResponse::default().with_partition_responses(partitions.collect());
            if version >= 13 {
                response.topic_id = topic.topic_id;
            } else {
                response.name = topic.name;
            }
            responses.push(response);
        }
        let pause_ms = i32::try_from(pause.as_millis()).unwrap_or(i32::MAX);
        let response =
            ProduceResponse::default().with_responses(responses).with_throttle_time_ms(pause_ms);
        match finish(self.correlation_id, version, &response) {
            Ending::Reply(reply) => Ending::Reply(Reply { pause, ..reply }),
            ending => ending,
        }
    }
}

fn partition_response(
    index: i32,
    result: AppendResult,
    version: i16,
    leader: i32,
) -> PartitionProduceResponse {
    let base = PartitionProduceResponse::default().with_index(index);
    let refused = match result {
        Ok(accepted) => {
            return base
                .with_base_offset(accepted.base_offset)
                .with_log_append_time_ms(accepted.log_append_time_ms)
                .with_log_start_offset(accepted.log_start_offset);
        }
        Err(refused) => refused,
    };
    let mut response = base
        .with_error_code(refused.fault.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(refused.log_start_offset);
    if version >= 8 {
        response.error_message = refused.fault.message().map(|m| StrBytes::from(m.to_owned()));
        response.record_errors = refused.records.into_iter().map(record_error).collect();
    }
    if version >= 10 && refused.fault.kind() == Code::NotLeaderOrFollower {
        response.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(-1);
    }
    response
}

fn record_error((index, reason): (i32, String)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(index)
        .with_batch_index_error_message(Some(StrBytes::from(reason)))
}
