//! DeleteRecords: moves log start offsets up. The new start is in the metadata store before the
//! shard acts and before the answer, so that no crash brings a deleted record back.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, DeleteRecordsResponse, TopicName};

use crate::api::endpoint::{Begun, Cx, Endpoint};
use crate::api::{Services, topics};
use crate::base::fault::{Code, Fault};
use crate::base::settings::{BrokerConfig, TopicSettings};
use crate::catalog::is_internal;
use crate::shard::control::Control;
use crate::shard::registry::Partition;

/// "Up to the high watermark" in requests.
const HIGH_WATERMARK: i64 = -1;
/// "Unknown" in answers.
const NO_OFFSET: i64 = -1;

/// v1 throttled after the answer. v2 flexible.
pub struct DeleteRecords;

impl Endpoint for DeleteRecords {
    const KEY: ApiKey = ApiKey::DeleteRecords;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    type Request = DeleteRecordsRequest;
    type Response = DeleteRecordsResponse;

    fn begin(cx: &mut Cx<'_>, request: DeleteRecordsRequest) -> Begun<DeleteRecordsResponse> {
        let services = Arc::clone(cx.services);
        let plans = plan(&services, request);
        let moves: Vec<_> = plans
            .values()
            .flatten()
            .filter(|(_, plan)| plan.as_ref().is_ok_and(Plan::moves))
            .filter_map(|(_, plan)| plan.as_ref().ok().map(|p| (p.partition.tp, p.before_offset)))
            .collect();
        if moves.is_empty() {
            let told = |plan: Result<Plan, Fault>| plan.map(|plan| plan.partition.view.log_start());
            return Begun::Done(respond(plans, told));
        }
        let persisted = services.metadata.move_log_starts(moves);
        Begun::later(async move {
            let persisted = persisted.wait().await;
            let mut done = BTreeMap::new();
            for (topic, partitions) in plans {
                let mut results = Vec::with_capacity(partitions.len());
                for (index, plan) in partitions {
                    let outcome = match (plan, &persisted) {
                        (Ok(plan), Ok(())) => carry_out(&services, &plan).await,
                        (Ok(_), Err(fault)) => Err(fault.clone()),
                        (Err(fault), _) => Err(fault),
                    };
                    results.push((index, outcome));
                }
                done.insert(topic, results);
            }
            respond(done, |outcome| outcome)
        })
    }
}

/// What is asked of one partition, found fit.
struct Plan {
    partition: Arc<Partition>,
    before_offset: i64,
}

impl Plan {
    /// Whether anything is deleted: below the log start nothing is left.
    fn moves(&self) -> bool {
        self.before_offset > self.partition.view.log_start()
    }
}

/// Something about each partition of each topic.
type ByTopic<T> = BTreeMap<TopicName, Vec<(i32, T)>>;

/// Judges a request; of a partition that comes twice the last counts, as in Kafka.
fn plan(services: &Services, request: DeleteRecordsRequest) -> ByTopic<Result<Plan, Fault>> {
    let mut wanted = BTreeMap::<TopicName, BTreeMap<i32, i64>>::new();
    for topic in request.topics {
        let offsets = wanted.entry(topic.name).or_default();
        offsets.extend(topic.partitions.iter().map(|p| (p.partition_index, p.offset)));
    }
    let config = services.defaults.current(&services.metadata.catalog());
    let plan = |(name, offsets): (TopicName, BTreeMap<i32, i64>)| {
        let one = |(index, offset)| (index, judge(services, &config, &name, index, offset));
        let plans = offsets.into_iter().map(one).collect();
        (name, plans)
    };
    wanted.into_iter().map(plan).collect()
}

fn judge(
    services: &Services,
    config: &BrokerConfig,
    name: &TopicName,
    index: i32,
    offset: i64,
) -> Result<Plan, Fault> {
    if is_internal(name) {
        return Err(Code::InvalidTopicException.into());
    }
    let partition = topics::by_name(services, name, index)?;
    let configs = services.metadata.catalog().topic(name).map(|topic| topic.configs.clone());
    if !TopicSettings::resolve(&configs.unwrap_or_default(), config).cleanup_delete {
        return Err(Code::PolicyViolation.into());
    }
    let high_watermark = partition.view.high_watermark();
    let before_offset = if offset == HIGH_WATERMARK { high_watermark } else { offset };
    if !(0..=high_watermark).contains(&before_offset) {
        return Err(Code::OffsetOutOfRange.into());
    }
    Ok(Plan { partition, before_offset })
}

/// Gives the partition's log start offset.
async fn carry_out(services: &Services, plan: &Plan) -> Result<i64, Fault> {
    if !plan.moves() {
        return Ok(plan.partition.view.log_start());
    }
    let (tp, before_offset) = (plan.partition.tp, plan.before_offset);
    let message = |done| Control::DeleteRecords { tp, before_offset, done };
    let deleted = services.shards.control(plan.partition.shard, message);
    deleted.await.unwrap_or_else(|_| Err(Code::NotLeaderOrFollower.into()))
}

fn respond<T>(
    results: ByTopic<T>,
    outcome: impl Fn(T) -> Result<i64, Fault>,
) -> DeleteRecordsResponse {
    let partition = |(index, result): (i32, T)| {
        let (low_watermark, code) = match outcome(result) {
            Ok(log_start) => (log_start, 0),
            Err(fault) => (NO_OFFSET, fault.code()),
        };
        DeleteRecordsPartitionResult::default()
            .with_partition_index(index)
            .with_low_watermark(low_watermark)
            .with_error_code(code)
    };
    let topic = |(name, results): (TopicName, Vec<(i32, T)>)| {
        DeleteRecordsTopicResult::default()
            .with_name(name)
            .with_partitions(results.into_iter().map(partition).collect())
    };
    DeleteRecordsResponse::default().with_topics(results.into_iter().map(topic).collect())
}
