//! `klamm topic create`, `delete` and `add-partitions`.

use clap::Args;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use serde_json::json;

use super::topic_name;
use crate::base::fault::Code;
use crate::base::ids::base64_id;
use crate::cli::client::{Client, ClientError, check, text, unknown_topic};
use crate::cli::pairs::{Pair, pair};
use crate::cli::table::Answer;

/// How long the broker may take, in milliseconds; the client's own patience is another matter.
const BROKER_TIMEOUT_MS: i32 = 30_000;

#[derive(Args, Debug)]
pub struct Create {
    /// The new topic's name
    name: String,
    /// How many partitions; else the broker's num.partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas; else the broker's default.replication.factor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A config of the topic; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = pair)]
    configs: Vec<Pair>,
    /// Succeed if there is such a topic already, whatever it looks like
    #[arg(long)]
    if_not_exists: bool,
}

pub fn create(client: &mut Client, asked: &Create) -> Result<Answer, ClientError> {
    let config = |pair: &Pair| {
        CreatableTopicConfig::default()
            .with_name(text(&pair.key))
            .with_value(Some(text(&pair.value)))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(&asked.name))
        .with_num_partitions(asked.partitions.unwrap_or(-1))
        .with_replication_factor(asked.replication_factor.unwrap_or(-1))
        .with_configs(asked.configs.iter().map(config).collect());
    let request =
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(BROKER_TIMEOUT_MS);
    client.retrying(|client| {
        let answer = client.ask(&request)?.topics.pop().unwrap_or_default();
        let exists = answer.error_code == Code::TopicAlreadyExists.code();
        if exists && asked.if_not_exists {
            let json = json!({ "topic": asked.name, "created": false });
            return Ok(Answer::sentence(format!("topic '{}' exists already", asked.name), json));
        }
        let what = format!("topic '{}'", asked.name);
        check(answer.error_code, what, answer.error_message.as_deref())?;
        let json = json!({
            "topic": asked.name,
            "created": true,
            "id": base64_id(answer.topic_id),
            "partitions": answer.num_partitions,
        });
        Ok(Answer::sentence(format!("created topic '{}'", asked.name), json))
    })
}

#[derive(Args, Debug)]
pub struct Delete {
    /// Topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Pass over topics that do not exist
    #[arg(long)]
    if_exists: bool,
}

/// One by one, so that what is said at the first failure is true of those before it.
pub fn delete(client: &mut Client, asked: &Delete) -> Result<Answer, ClientError> {
    let mut deleted = Vec::new();
    for name in &asked.names {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        let outcome = client.retrying(|client| {
            let answer = client.ask(&request)?.responses.pop().unwrap_or_default();
            match Code::try_from_code(answer.error_code) {
                Some(Code::UnknownTopicOrPartition) => Err(unknown_topic(name)),
                _ => check(
                    answer.error_code,
                    format!("topic '{name}'"),
                    answer.error_message.as_deref(),
                ),
            }
        });
        match outcome {
            Err(ClientError::NotFound(_)) if asked.if_exists => {}
            outcome => {
                outcome?;
                deleted.push(name.as_str());
            }
        }
    }
    let text = match &deleted[..] {
        [] => "nothing to delete".to_owned(),
        names => format!("deleted {}", quoted(names)),
    };
    Ok(Answer::sentence(text, json!({ "deleted": deleted })))
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

#[derive(Args, Debug)]
pub struct AddPartitions {
    /// The topic
    name: String,
    /// How many partitions there shall be in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    to: i32,
}

pub fn add_partitions(client: &mut Client, asked: &AddPartitions) -> Result<Answer, ClientError> {
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(&asked.name))
        .with_count(asked.to)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(BROKER_TIMEOUT_MS);
    client.retrying(|client| {
        let answer = client.ask(&request)?.results.pop().unwrap_or_default();
        if answer.error_code == Code::UnknownTopicOrPartition.code() {
            return Err(unknown_topic(&asked.name));
        }
        let what = format!("topic '{}'", asked.name);
        check(answer.error_code, what, answer.error_message.as_deref())
    })?;
    let text = format!("topic '{}' has {} partitions", asked.name, asked.to);
    Ok(Answer::sentence(text, json!({ "topic": asked.name, "partitions": asked.to })))
}
