//! `klamm topic show`: one topic with its partitions and the configs that were set for it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, DescribeLogDirsRequest};
use serde::Serialize;
use serde_json::json;

use crate::base::fault::Code;
use crate::base::ids::base64_id;
use crate::cli::client::{Client, ClientError, Node, OffsetTime, Partition};
use crate::cli::config::{Config, Resource, configs};
use crate::cli::table::{Answer, Column, Row, facts, number, or_dash, table, words};

#[derive(Args, Debug)]
pub struct Show {
    /// The topic
    name: String,
}

#[derive(Serialize)]
struct Shown {
    partition: i32,
    /// `None`: nobody leads it.
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    earliest: Option<i64>,
    latest: Option<i64>,
    /// On the leader's disk; `None` if it does not tell.
    size_bytes: Option<i64>,
    error: Option<String>,
}

impl Row for Shown {
    const COLUMNS: &'static [Column] = &[
        number("PARTITION"),
        number("LEADER"),
        words("REPLICAS"),
        words("IN SYNC"),
        number("EARLIEST"),
        number("LATEST"),
        number("BYTES"),
        words("ERROR"),
    ];

    fn cells(&self) -> Vec<String> {
        let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        vec![
            self.partition.to_string(),
            or_dash(self.leader),
            ids(&self.replicas),
            ids(&self.in_sync),
            or_dash(self.earliest),
            or_dash(self.latest),
            or_dash(self.size_bytes),
            self.error.clone().unwrap_or_default(),
        ]
    }
}

pub fn show(client: &mut Client, asked: &Show) -> Result<Answer, ClientError> {
    let (topic, nodes) = client.topic(&asked.name)?;
    let partitions = partitions(client, &asked.name, &topic, &nodes)?;
    let set: Vec<Config> = configs(client, &Resource::topic(&asked.name), &[])?
        .into_iter()
        .filter(Config::is_own)
        .collect();
    let id = base64_id(topic.topic_id);
    let mut text = facts(&[
        ("topic", asked.name.clone()),
        ("id", id.clone()),
        ("partitions", partitions.len().to_string()),
        ("internal", if topic.is_internal { "yes" } else { "no" }.to_owned()),
    ]);
    text = text + "\n" + &table(&partitions);
    if !set.is_empty() {
        text = text + "\n" + &table(&set);
    }
    let json = json!({
        "topic": asked.name,
        "id": id,
        "internal": topic.is_internal,
        "partitions": partitions,
        "configs": set,
    });
    Ok(Answer { text, json })
}

fn partitions(
    client: &mut Client,
    name: &str,
    topic: &MetadataResponseTopic,
    nodes: &[Node],
) -> Result<Vec<Shown>, ClientError> {
    let sizes = sizes(client, topic, nodes)?;
    let led: BTreeSet<Partition> = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader_id.0 >= 0)
        .map(|partition| Partition { topic: name.to_owned(), index: partition.partition_index })
        .collect();
    let earliest = client.list_offsets(&led, OffsetTime::Earliest)?;
    let latest = client.list_offsets(&led, OffsetTime::Latest)?;
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    let mut shown = Vec::new();
    for partition in &topic.partitions {
        let index = partition.partition_index;
        let leader = partition.leader_id.0;
        let key = Partition { topic: name.to_owned(), index };
        shown.push(Shown {
            partition: index,
            leader: (leader >= 0).then_some(leader),
            replicas: ids(&partition.replica_nodes),
            in_sync: ids(&partition.isr_nodes),
            earliest: earliest.get(&key).and_then(|listed| listed.offset),
            latest: latest.get(&key).and_then(|listed| listed.offset),
            size_bytes: sizes.get(&(leader, index)).copied(),
            error: Code::try_from_code(partition.error_code).map(|code| format!("{code:?}")),
        });
    }
    shown.sort_by_key(|shown| shown.partition);
    Ok(shown)
}

/// Bytes of each partition by broker. Brokers that do not tell are left out: sizes are good to
/// know, and no reason to show nothing else.
fn sizes(
    client: &mut Client,
    topic: &MetadataResponseTopic,
    nodes: &[Node],
) -> Result<BTreeMap<(i32, i32), i64>, ClientError> {
    let wanted = DescribableLogDirTopic::default()
        .with_topic(topic.name.clone().unwrap_or_default())
        .with_partitions(topic.partitions.iter().map(|p| p.partition_index).collect());
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]));
    let mut sizes = BTreeMap::new();
    for node in nodes {
        let answer = match client.ask_at(&node.address, &request) {
            Err(ClientError::Unserved { .. }) => continue,
            answer => answer?,
        };
        for of_topic in answer.results.iter().flat_map(|directory| &directory.topics) {
            for partition in of_topic.partitions.iter().filter(|p| !p.is_future_key) {
                *sizes.entry((node.id, partition.partition_index)).or_insert(0) +=
                    partition.partition_size;
            }
        }
    }
    Ok(sizes)
}
