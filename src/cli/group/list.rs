//! `klamm group list`: the groups of all brokers.

use clap::Args;
use kafka_protocol::messages::ListGroupsRequest;
use serde::Serialize;

use crate::cli::client::{Client, ClientError, check, text};
use crate::cli::table::{Answer, Column, Row, number, words};

#[derive(Args, Debug)]
pub struct List {
    /// Only groups in this state, such as stable, empty or preparingrebalance; may be repeated
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Only groups of this type, such as classic or consumer; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    group: String,
    /// Empty: the broker is too old to tell.
    #[serde(rename = "type")]
    kind: String,
    state: String,
    protocol: String,
    coordinator: i32,
}

impl Row for Listed {
    const COLUMNS: &'static [Column] =
        &[words("GROUP"), words("TYPE"), words("STATE"), words("PROTOCOL"), number("COORDINATOR")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.clone(),
            self.kind.clone(),
            self.state.clone(),
            self.protocol.clone(),
            self.coordinator.to_string(),
        ]
    }
}

pub fn list(client: &mut Client, asked: &List) -> Result<Answer, ClientError> {
    let texts = |words: &[String]| words.iter().map(|word| text(word)).collect();
    let request = ListGroupsRequest::default()
        .with_states_filter(texts(&asked.states))
        .with_types_filter(texts(&asked.types));
    let mut groups = Vec::new();
    for node in client.nodes()? {
        let answer = client.retrying(|client| {
            let answer = client.ask_at(&node.address, &request)?;
            check(answer.error_code, format!("groups of broker {}", node.id), None)?;
            Ok(answer)
        })?;
        groups.extend(answer.groups.into_iter().map(|group| Listed {
            group: group.group_id.to_string(),
            kind: group.group_type.to_lowercase(),
            state: group.group_state.to_string(),
            protocol: group.protocol_type.to_string(),
            coordinator: node.id,
        }));
    }
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(Answer::rows(&groups))
}
