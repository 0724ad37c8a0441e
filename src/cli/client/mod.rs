//! A small Kafka client for commands: it finds the broker that a request belongs to, asks, and
//! asks again while the answer says "not yet".
//!
//! All commands share one deadline, so a command ends in the time it was given whatever is wrong.
//! Requests are repeated only where the broker refused them with a retriable code; after a lost
//! connection nobody knows what was done, and the person at the keyboard decides.

mod connection;
mod error;
mod offsets;
mod spoken;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::base::env::Env;
use crate::base::fault::Code;
use connection::{Connection, Deadline};
pub use error::ClientError;
pub use offsets::{Listed, OffsetTime, Partition};
pub use spoken::Spoken;

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A broker of the cluster as Metadata names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    /// `HOST:PORT`
    pub address: String,
}

/// A client of one cluster.
pub struct Client {
    /// Addresses to begin with; the first that can be reached is taken.
    bootstrap: Vec<String>,
    env: Env,
    deadline: Deadline,
    connections: BTreeMap<String, Connection>,
}

impl Client {
    /// A client that gives up after `patience`. Nothing is connected yet.
    #[must_use]
    pub fn new(bootstrap: Vec<String>, patience: Duration, env: Env) -> Self {
        let deadline = Deadline::after(env.clone(), patience);
        Self { bootstrap, env, deadline, connections: BTreeMap::new() }
    }

    /// Wall time, milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.env.wall_ms()
    }

    /// Asks a broker that the command was pointed at.
    pub fn ask<R: Spoken>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let address = self.reachable_bootstrap();
        self.ask_at(&address, request)
    }

    /// Leaves out addresses that cannot be reached, but for the last, whose error will be told.
    fn reachable_bootstrap(&mut self) -> String {
        while self.bootstrap.len() > 1 {
            let first = self.bootstrap[0].clone();
            if !matches!(self.connection(&first), Err(ClientError::Unreachable { .. })) {
                break;
            }
            self.bootstrap.remove(0);
        }
        self.bootstrap.first().cloned().unwrap_or_default()
    }

    /// Asks one broker.
    pub fn ask_at<R: Spoken>(
        &mut self,
        address: &str,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.connection(address)?.ask(request)
    }

    fn connection(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        Ok(match self.connections.entry(address.to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => none.insert(Connection::open(address, &self.deadline)?),
        })
    }

    /// Repeats an attempt while it is refused for now and time is left.
    pub fn retrying<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (mut pause, longest) = PAUSES;
        loop {
            match attempt(self) {
                Err(error) if error.may_retry() && self.deadline.left() > pause => {
                    std::thread::park_timeout(pause);
                    pause = (pause * 2).min(longest);
                }
                outcome => return outcome,
            }
        }
    }

    /// Metadata of these topics; `None` is all, an empty list none.
    pub fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, ClientError> {
        let named =
            |name: &String| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|topics| topics.iter().map(named).collect()))
            .with_allow_auto_topic_creation(false);
        self.ask(&request)
    }

    /// Metadata of one topic that must exist, with its brokers.
    pub fn topic(&mut self, name: &str) -> Result<(MetadataResponseTopic, Vec<Node>), ClientError> {
        self.retrying(|client| {
            let mut metadata = client.metadata(Some(&[name.to_owned()]))?;
            let nodes = nodes(&metadata);
            let topic = metadata.topics.pop();
            let topic = topic.ok_or_else(|| unknown_topic(name))?;
            match Code::try_from_code(topic.error_code) {
                None => Ok((topic, nodes)),
                Some(Code::UnknownTopicOrPartition) => Err(unknown_topic(name)),
                Some(code) => Err(ClientError::refused(format!("topic '{name}'"), code, None)),
            }
        })
    }

    /// All brokers of the cluster.
    pub fn nodes(&mut self) -> Result<Vec<Node>, ClientError> {
        Ok(nodes(&self.metadata(Some(&[]))?))
    }

    /// The broker that coordinates a group.
    pub fn coordinator(&mut self, group: &str) -> Result<Node, ClientError> {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        self.retrying(|client| {
            let found = client.ask(&request)?.coordinators.pop();
            let what = format!("coordinator of group '{group}'");
            let Some(found) = found else {
                return Err(ClientError::refused(what, Code::CoordinatorNotAvailable, None));
            };
            check(found.error_code, what, found.error_message.as_deref())?;
            Ok(node(found.node_id, &found.host, found.port))
        })
    }
}

/// A topic that is not there.
pub fn unknown_topic(name: &str) -> ClientError {
    ClientError::NotFound(format!("there is no topic '{name}'"))
}

/// An answer's code as an error, if it is one.
pub fn check(code: i16, what: impl Into<String>, message: Option<&str>) -> Result<(), ClientError> {
    match Code::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(ClientError::refused(what, code, message)),
    }
}

/// The brokers in an answer, by id.
pub fn nodes(metadata: &MetadataResponse) -> Vec<Node> {
    let mut nodes: Vec<_> =
        metadata.brokers.iter().map(|b| node(b.node_id, &b.host, b.port)).collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn node(id: BrokerId, host: &str, port: i32) -> Node {
    // IPv6 addresses are told without brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Node { id: id.0, address: format!("{host}:{port}") }
}

/// Text as kafka-protocol holds it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
