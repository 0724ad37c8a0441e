//! `klamm group delete` and `delete-offsets`.

use clap::Args;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{DeleteGroupsRequest, GroupId, OffsetDeleteRequest, TopicName};
use serde_json::json;

use super::describe::{Partitions, check_group};
use super::offsets::committed;
use crate::cli::client::{Client, ClientError, Partition, check, text};
use crate::cli::pairs::{TopicChoice, topic_choice};
use crate::cli::table::Answer;

#[derive(Args, Debug)]
pub struct Delete {
    /// Groups' ids
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
}

/// One by one, so that what is said at the first failure is true of those before it.
pub fn delete(client: &mut Client, asked: &Delete) -> Result<Answer, ClientError> {
    for id in &asked.groups {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(id))]);
        client.retrying(|client| {
            let coordinator = client.coordinator(id)?;
            let mut answer = client.ask_at(&coordinator.address, &request)?;
            check_group(id, answer.results.pop().unwrap_or_default().error_code, None)
        })?;
    }
    let names: Vec<String> = asked.groups.iter().map(|id| format!("'{id}'")).collect();
    let text = format!("deleted {}", names.join(", "));
    Ok(Answer::sentence(text, json!({ "deleted": asked.groups })))
}

#[derive(Args, Debug)]
pub struct DeleteOffsets {
    /// The group's id
    group: String,
    /// Offsets of this topic, or of some of its partitions; may be repeated
    #[arg(long = "topic", required = true, value_name = "TOPIC[:PARTITIONS]")]
    #[arg(value_parser = topic_choice)]
    topics: Vec<TopicChoice>,
}

pub fn delete_offsets(client: &mut Client, asked: &DeleteOffsets) -> Result<Answer, ClientError> {
    let id = &asked.group;
    let chosen = |partition: &Partition| {
        asked.topics.iter().any(|t| t.topic == partition.topic && t.takes(partition.index))
    };
    let committed = committed(client, id)?;
    let doomed: Vec<&Partition> = committed.keys().filter(|p| chosen(p)).collect();
    if doomed.is_empty() {
        let line = format!("group '{id}' has no such offsets");
        return Err(ClientError::NotFound(line));
    }
    let topic = |choice: &TopicChoice| {
        let of_topic = doomed.iter().filter(|p| p.topic == choice.topic && choice.takes(p.index));
        let partition =
            |p: &&Partition| OffsetDeleteRequestPartition::default().with_partition_index(p.index);
        OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(&choice.topic)))
            .with_partitions(of_topic.map(partition).collect())
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(id)))
        .with_topics(asked.topics.iter().map(topic).collect());
    client.retrying(|client| {
        let coordinator = client.coordinator(id)?;
        let answer = client.ask_at(&coordinator.address, &request)?;
        check_group(id, answer.error_code, None)?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let what = format!("offset of {}-{}", *topic.name, partition.partition_index);
                check(partition.error_code, what, None)?;
            }
        }
        Ok(())
    })?;
    let doomed = Partitions(doomed.into_iter().cloned().collect());
    let json = json!({ "group": id, "deleted": doomed });
    Ok(Answer::sentence(format!("group '{id}': deleted offsets of {}", doomed.shown()), json))
}
