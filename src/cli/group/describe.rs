//! One group as its coordinator describes it, whichever protocol it speaks.
//!
//! The consumer protocol's API is asked first; it knows nothing of classic groups, and brokers
//! before Kafka 3.7 do not have it. Then it is the classic API's turn.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::consumer_group_describe_response::{self, Assignment};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, describe_groups_response,
};
use serde::{Serialize, Serializer};

use super::assignment;
use crate::base::fault::Code;
use crate::cli::client::{Client, ClientError, Node, Partition, check, text};

#[derive(Debug)]
pub struct Group {
    pub id: String,
    pub kind: &'static str,
    pub state: String,
    /// The assignor, or the protocol that a classic group has agreed on.
    pub protocol: String,
    /// Of the consumer protocol.
    pub epoch: Option<i32>,
    pub coordinator: Node,
    pub members: Vec<Member>,
}

#[derive(Debug, Serialize)]
pub struct Member {
    pub member: String,
    pub instance: Option<String>,
    pub client: String,
    pub host: String,
    /// Of the consumer protocol.
    pub epoch: Option<i32>,
    pub assignment: Partitions,
    /// Where the group wants the member to be, if it is not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Partitions>,
}

/// Partitions, told topic by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(pub BTreeSet<Partition>);

impl Partitions {
    fn by_topic(&self) -> BTreeMap<&str, Vec<i32>> {
        let mut topics = BTreeMap::<&str, Vec<i32>>::new();
        for partition in &self.0 {
            topics.entry(&partition.topic).or_default().push(partition.index);
        }
        topics
    }

    /// `orders:0,1 invoices:4`
    pub fn shown(&self) -> String {
        let topic = |(topic, partitions): (&str, Vec<i32>)| {
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            format!("{topic}:{}", partitions.join(","))
        };
        self.by_topic().into_iter().map(topic).collect::<Vec<_>>().join(" ")
    }

    fn of(assignment: &Assignment) -> Self {
        let topics = assignment.topic_partitions.iter();
        let partitions = topics.flat_map(|topic| {
            let partition =
                |index: &i32| Partition { topic: topic.topic_name.to_string(), index: *index };
            topic.partitions.iter().map(partition).collect::<Vec<_>>()
        });
        Self(partitions.collect())
    }
}

impl Serialize for Partitions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.by_topic())
    }
}

/// # Errors
/// Also if there is no such group.
pub fn describe(client: &mut Client, id: &str) -> Result<Group, ClientError> {
    client.retrying(|client| {
        let coordinator = client.coordinator(id)?;
        match consumer(client, id, &coordinator) {
            Err(ClientError::Unserved { .. } | ClientError::NotFound(_)) => {
                classic(client, id, &coordinator)
            }
            outcome => outcome,
        }
    })
}

fn consumer(client: &mut Client, id: &str, coordinator: &Node) -> Result<Group, ClientError> {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(id))]);
    let mut answer = client.ask_at(&coordinator.address, &request)?;
    let group = answer.groups.pop().unwrap_or_default();
    check_group(id, group.error_code, group.error_message.as_deref())?;
    Ok(Group {
        id: id.to_owned(),
        kind: "consumer",
        state: group.group_state.to_string(),
        protocol: group.assignor_name.to_string(),
        epoch: Some(group.group_epoch),
        coordinator: coordinator.clone(),
        members: group.members.iter().map(Member::of_consumer).collect(),
    })
}

fn classic(client: &mut Client, id: &str, coordinator: &Node) -> Result<Group, ClientError> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(id))]);
    let mut answer = client.ask_at(&coordinator.address, &request)?;
    let group = answer.groups.pop().unwrap_or_default();
    check_group(id, group.error_code, group.error_message.as_deref())?;
    // How brokers before Kafka 4.0 say that they have no such group.
    if &*group.group_state == "Dead" {
        return Err(unknown_group(id));
    }
    Ok(Group {
        id: id.to_owned(),
        kind: "classic",
        state: group.group_state.to_string(),
        protocol: group.protocol_data.to_string(),
        epoch: None,
        coordinator: coordinator.clone(),
        members: group.members.iter().map(Member::of_classic).collect(),
    })
}

impl Member {
    fn of_consumer(member: &consumer_group_describe_response::Member) -> Self {
        let assignment = Partitions::of(&member.assignment);
        let target = Partitions::of(&member.target_assignment);
        Self {
            member: member.member_id.to_string(),
            instance: member.instance_id.as_ref().map(ToString::to_string),
            client: member.client_id.to_string(),
            host: member.client_host.trim_start_matches('/').to_owned(),
            epoch: Some(member.member_epoch),
            target: (target != assignment).then_some(target),
            assignment,
        }
    }

    fn of_classic(member: &describe_groups_response::DescribedGroupMember) -> Self {
        Self {
            member: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(ToString::to_string),
            client: member.client_id.to_string(),
            host: member.client_host.trim_start_matches('/').to_owned(),
            epoch: None,
            assignment: Partitions(
                assignment::partitions(&member.member_assignment).unwrap_or_default(),
            ),
            target: None,
        }
    }
}

pub fn unknown_group(id: &str) -> ClientError {
    ClientError::NotFound(format!("there is no group '{id}'"))
}

/// An answer's code about a group as an error, if it is one.
pub fn check_group(id: &str, code: i16, message: Option<&str>) -> Result<(), ClientError> {
    if code == Code::GroupIdNotFound.code() {
        return Err(unknown_group(id));
    }
    check(code, format!("group '{id}'"), message)
}
