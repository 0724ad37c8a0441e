//! Rank 5: Kafka requests to commands and back. One row per API; versions stop here.
//!
//! A request walks down once: [`Api::begin`] reads the header, bounds the body, finds the row
//! and lets the endpoint start its work in connection order. Adding an API is one row in
//! [`table`] and one handler.

pub mod admin;
pub mod api_versions;
pub mod configs;
pub mod connection;
pub mod describe_cluster;
pub mod describe_producers;
pub mod describe_topics;
pub mod endpoint;
mod error_codes;
pub mod fetch;
pub mod groups;
pub mod init_producer_id;
#[cfg(test)]
mod kit;
pub mod list_offsets;
pub mod log_dirs;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod reply;
pub mod topics;

use std::sync::Arc;

use bytes::Bytes;

use kafka_protocol::protocol::StrBytes;

use crate::base::env::Env;
use crate::base::metrics::Metrics;
use crate::base::settings::Settings;
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::shard::producer_ids::ProducerIds;
use crate::shard::retry::steward::Steward;
use crate::wire::{bounds, request};
use connection::Connection;
use endpoint::{Cx, Row};
use fetch::session::Sessions;
use groups::Groups;
use reply::Outcome;

/// Who this broker is in the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub node_id: i32,
    /// 22 characters of URL-safe base64, as Kafka prints it.
    pub cluster_id: String,
}

/// What endpoints work with. Each field is one narrow handle.
pub struct Services {
    pub env: Env,
    pub metrics: Arc<Metrics>,
    pub node: Node,
    /// Topics and configs: the newest snapshot, and the worker that changes them.
    pub metadata: Arc<Metadata>,
    /// Encoded answers to clients that ask for all topics.
    pub all_topics: metadata::cache::Cache,
    pub shards: Arc<Shards>,
    /// The way to the group coordinators.
    pub groups: Groups,
    /// Topics of retries and dead letters.
    pub steward: Arc<Steward>,
    pub producer_ids: ProducerIds,
    pub sessions: Sessions,
    /// What the broker was started with, and what topics inherit from it.
    pub settings: Arc<Settings>,
    pub defaults: Defaults,
    pub limits: Limits,
}

/// Broker-wide limits that handlers apply.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `fetch.max.bytes`
    pub fetch_max_bytes: u64,
}

/// Text in the form that responses hold it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Every API that is served, in key order.
#[must_use]
pub fn table() -> Vec<Row> {
    vec![
        produce::row(),
        fetch::row(),
        Row::of::<list_offsets::ListOffsets>(),
        metadata::row(),
        Row::of::<groups::offset_commit::OffsetCommit>(),
        Row::of::<groups::offset_fetch::OffsetFetch>(),
        Row::of::<groups::find_coordinator::FindCoordinator>(),
        Row::of::<groups::join_group::JoinGroup>(),
        Row::of::<groups::heartbeat::Heartbeat>(),
        Row::of::<groups::leave_group::LeaveGroup>(),
        Row::of::<groups::sync_group::SyncGroup>(),
        Row::of::<groups::describe_groups::DescribeGroups>(),
        Row::of::<groups::list_groups::ListGroups>(),
        api_versions::row(),
        Row::of::<admin::create_topics::CreateTopics>(),
        Row::of::<admin::delete_topics::DeleteTopics>(),
        Row::of::<admin::delete_records::DeleteRecords>(),
        Row::of::<init_producer_id::InitProducerId>(),
        Row::of::<offset_for_leader_epoch::OffsetForLeaderEpoch>(),
        Row::of::<configs::describe::DescribeConfigs>(),
        Row::of::<configs::alter::AlterConfigs>(),
        Row::of::<log_dirs::DescribeLogDirs>(),
        Row::of::<admin::create_partitions::CreatePartitions>(),
        Row::of::<groups::delete_groups::DeleteGroups>(),
        Row::of::<configs::alter::IncrementalAlterConfigs>(),
        Row::of::<groups::offset_delete::OffsetDelete>(),
        Row::of::<describe_cluster::DescribeCluster>(),
        Row::of::<describe_producers::DescribeProducers>(),
        Row::of::<groups::consumer_group_heartbeat::ConsumerGroupHeartbeat>(),
        Row::of::<groups::consumer_group_describe::ConsumerGroupDescribe>(),
        Row::of::<configs::list::ListConfigResources>(),
        Row::of::<describe_topics::DescribeTopicPartitions>(),
    ]
}

/// The API table and what it works with: the whole of what a connection needs to know.
pub struct Api {
    services: Arc<Services>,
    /// Indexed by API key; a key without a row is not served.
    rows: Vec<Option<Row>>,
}

impl Api {
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        let mut rows: Vec<Option<Row>> = Vec::new();
        for row in table() {
            let key = usize::try_from(row.key as i16).expect("API keys are not negative");
            if rows.len() <= key {
                rows.resize_with(key + 1, || None);
            }
            rows[key] = Some(row);
        }
        Self { services, rows }
    }

    /// Begins one request. `frame` is what follows the 4-byte size.
    pub fn begin(&self, connection: &mut Connection, frame: Bytes) -> Outcome {
        let (header, body) = match request::parse(frame) {
            Ok(parsed) => parsed,
            Err(error) => return Outcome::close(error.to_string()),
        };
        let request::Header { api, version, correlation_id, client_id } = header;
        let row = usize::try_from(api.key).ok().and_then(|k| self.rows.get(k)?.as_ref());
        let Some(row) = row else {
            return Outcome::close(format!("{} is not served", api.name));
        };
        let services = &self.services;
        services.metrics.requests.of(api.key).add(1);
        let mut cx = Cx { services, connection, version, client_id: &client_id };
        if !row.served.contains(&version) {
            return match row.unserved {
                Some(answer) => answer(&mut cx, correlation_id),
                None => Outcome::close(format!("{} v{version} is not served", api.name)),
            };
        }
        if let Err(error) = bounds::check(api.key, version, &body) {
            return Outcome::close(format!("{} v{version}: {error}", api.name));
        }
        (row.begin)(&mut cx, correlation_id, body)
    }
}
