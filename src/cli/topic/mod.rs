//! `klamm topic`: topics and their partitions, over Kafka's protocol.

mod change;
mod offsets;
mod show;

use clap::{Args, Subcommand};
use kafka_protocol::messages::TopicName;
use serde::Serialize;

use super::client::{Client, ClientError, text};
use super::exit::Exit;
use super::remote::Remote;
use super::table::{Answer, Column, Row, number, words};
use crate::base::ids::base64_id;

#[derive(Subcommand, Debug)]
pub enum TopicCommand {
    /// List topics
    ///
    /// Example: klamm topic list --output json
    List(Remote<List>),
    /// Show a topic's partitions, offsets, size and configs
    ///
    /// Example: klamm topic show orders
    Show(Remote<show::Show>),
    /// Create a topic
    ///
    /// Example: klamm topic create orders --partitions 12 --config retention.ms=86400000
    Create(Remote<change::Create>),
    /// Delete topics and all that is in them
    ///
    /// Example: klamm topic delete orders
    Delete(Remote<change::Delete>),
    /// Give a topic more partitions
    ///
    /// Records with a key may go to another partition than before.
    ///
    /// Example: klamm topic add-partitions orders --to 24
    AddPartitions(Remote<change::AddPartitions>),
    /// Show a topic's offsets by time
    ///
    /// Example: klamm topic offsets orders --time 2026-01-31T08:00:00Z
    Offsets(Remote<offsets::Offsets>),
}

pub fn run(command: &TopicCommand) -> Exit {
    match command {
        TopicCommand::List(remote) => remote.run(list),
        TopicCommand::Show(remote) => remote.run(show::show),
        TopicCommand::Create(remote) => remote.run(change::create),
        TopicCommand::Delete(remote) => remote.run(change::delete),
        TopicCommand::AddPartitions(remote) => remote.run(change::add_partitions),
        TopicCommand::Offsets(remote) => remote.run(offsets::offsets),
    }
}

#[derive(Args, Debug)]
pub struct List {
    /// Also those that the broker keeps for itself
    #[arg(long)]
    internal: bool,
}

#[derive(Serialize)]
struct Listed {
    topic: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

impl Row for Listed {
    const COLUMNS: &'static [Column] =
        &[words("TOPIC"), number("PARTITIONS"), number("REPLICATION"), words("ID")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partitions.to_string(),
            self.replication_factor.to_string(),
            self.id.clone(),
        ]
    }
}

fn list(client: &mut Client, asked: &List) -> Result<Answer, ClientError> {
    let mut topics = Vec::new();
    for topic in client.metadata(None)?.topics {
        let name = topic.name.clone().unwrap_or_default();
        if topic.is_internal && !asked.internal {
            continue;
        }
        topics.push(Listed {
            topic: name.to_string(),
            id: base64_id(topic.topic_id),
            partitions: topic.partitions.len(),
            replication_factor: topic.partitions.first().map_or(0, |p| p.replica_nodes.len()),
            internal: topic.is_internal,
        });
    }
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    Ok(Answer::rows(&topics))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
