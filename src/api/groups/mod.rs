//! Requests about groups: each goes to the coordinator of its group, which may live in any shard
//! here, or on another node.

pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod delete_groups;
pub mod describe_groups;
pub mod find_coordinator;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
mod metrics;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
mod offsets;
#[cfg(test)]
mod offsets_tests;
pub mod sync_group;

use std::future::Future;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

use super::connection::Connection;
use super::text;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::catalog::{Catalog, NO_LEADER, Topic};
use crate::coord::group::{Command, GROUPS_TOPIC, Reply};
use crate::coord::partition::partition_of;
use crate::shard::Shards;
use crate::shard::metadata::Metadata;

/// What a coordinator answered, or why it could not be asked.
pub type Answered = Result<Reply, Fault>;

/// Group operations of a client that no authorizer limits: read, delete, describe, and describe
/// and alter configs. Source: the operations that Kafka 4.3 knows of groups.
pub const ALL_GROUP_OPERATIONS: i32 = 3400;

/// Why an answer is not the one that was asked for. One of another part is our own defect.
fn fault_of(answer: Answered) -> Fault {
    match answer {
        Err(fault) => fault,
        Ok(reply) => {
            tracing::error!(?reply, "a coordinator answered what it was not asked");
            Code::UnknownServerError.into()
        }
    }
}

/// A client's address as Kafka tells of it: with a slash for the host name that is not looked up.
fn client_host(connection: &Connection) -> String {
    format!("/{}", connection.peer.ip().to_canonical())
}

fn name(name: &Option<Arc<str>>) -> Option<StrBytes> {
    name.as_deref().map(text)
}

/// The way to the group coordinators.
pub struct Groups {
    shards: Arc<Shards>,
    metadata: Arc<Metadata>,
}

impl Groups {
    #[must_use]
    pub fn new(shards: Arc<Shards>, metadata: Arc<Metadata>) -> Self {
        Self { shards, metadata }
    }

    /// Asks the coordinator of a group. The command is on its way when this returns, so commands
    /// of one connection are decided in its order; the future only waits for the answer.
    ///
    /// Refusals are COORDINATOR_NOT_AVAILABLE (the offsets topic is not there, or a log of its
    /// fails), NOT_COORDINATOR (another node is) and COORDINATOR_LOAD_IN_PROGRESS.
    pub fn ask<C: Into<Command> + 'static>(
        &self,
        group_id: &str,
        command: C,
    ) -> impl Future<Output = Answered> + Send + 'static + use<C> {
        let catalog = self.metadata.catalog();
        let at = offsets_topic(&catalog).and_then(|topic| {
            owned_here(&catalog, topic, partition_of(group_id, topic.partitions))
        });
        self.send(at, command.into())
    }

    /// Asks all coordinators of this node, one per partition of the offsets topic; the answers are
    /// in the partitions' order. None while the topic is not there.
    pub fn ask_all(
        &self,
        command: impl Fn() -> Command,
    ) -> impl Future<Output = Vec<Answered>> + Send + 'static {
        let catalog = self.metadata.catalog();
        let ask = |topic: &Arc<Topic>| {
            let here = (0..topic.partitions).filter_map(|n| owned_here(&catalog, topic, n).ok());
            here.map(|tp| self.send(Ok(tp), command())).collect::<Vec<_>>()
        };
        let asked = offsets_topic(&catalog).map(ask).unwrap_or_default();
        async move {
            let mut answers = Vec::with_capacity(asked.len());
            for answer in asked {
                answers.push(answer.await);
            }
            answers
        }
    }

    fn send(
        &self,
        at: Result<TopicPartition, Fault>,
        command: Command,
    ) -> impl Future<Output = Answered> + Send + use<> {
        let asked = at.and_then(|tp| self.shards.coordinate(tp, command));
        async move {
            match asked {
                // The shard has stopped.
                Ok(reply) => reply.await.unwrap_or_else(|_| Err(Code::NotCoordinator.into())),
                Err(fault) => Err(fault),
            }
        }
    }
}

fn offsets_topic(catalog: &Catalog) -> Result<&Arc<Topic>, Fault> {
    catalog.topic(GROUPS_TOPIC).ok_or_else(|| Code::CoordinatorNotAvailable.into())
}

/// The partition, if its coordinator is on this node.
fn owned_here(catalog: &Catalog, topic: &Topic, partition: i32) -> Result<TopicPartition, Fault> {
    let tp = TopicPartition::new(topic.id, partition);
    match catalog.leader(tp) {
        node if node == catalog.node_id() => Ok(tp),
        NO_LEADER => Err(Code::CoordinatorNotAvailable.into()),
        _ => Err(Code::NotCoordinator.into()),
    }
}
