//! Offsets of partitions by time, asked of their leaders.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};

use super::{Client, ClientError, check, nodes, text, unknown_topic};
use crate::base::fault::Code;

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    pub topic: String,
    pub index: i32,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTime {
    /// The first one kept.
    Earliest,
    /// One past the last one that consumers see.
    Latest,
    /// That of the record with the largest timestamp.
    MaxTimestamp,
    /// The first one at or after this time, in milliseconds since 1970.
    At(i64),
}

impl OffsetTime {
    /// Source: `ListOffsetsRequest`; -4 and below are tiered storage's.
    const fn on_the_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::At(ms) => ms,
        }
    }
}

/// A broker's answer for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `None` where no record matches.
    pub offset: Option<i64>,
    /// That of the record, where one was looked for.
    pub timestamp_ms: Option<i64>,
}

impl Client {
    /// The offset of each partition.
    ///
    /// # Errors
    /// Also if one of the partitions does not exist.
    pub fn list_offsets(
        &mut self,
        partitions: &BTreeSet<Partition>,
        time: OffsetTime,
    ) -> Result<BTreeMap<Partition, Listed>, ClientError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.retrying(|client| {
            let mut listed = BTreeMap::new();
            for (address, wanted) in client.by_leader(partitions)? {
                listed.extend(client.list_offsets_at(&address, &wanted, time)?);
            }
            Ok(listed)
        })
    }

    /// The partitions of each broker that leads some of them.
    fn by_leader(
        &mut self,
        partitions: &BTreeSet<Partition>,
    ) -> Result<BTreeMap<String, Vec<Partition>>, ClientError> {
        let topics: BTreeSet<&String> = partitions.iter().map(|p| &p.topic).collect();
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        let metadata = self.metadata(Some(&topics))?;
        let nodes = nodes(&metadata);
        let mut leaders = BTreeMap::new();
        for topic in &metadata.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code == Code::UnknownTopicOrPartition.code() {
                return Err(unknown_topic(name));
            }
            check(topic.error_code, format!("topic '{}'", **name), None)?;
            for partition in &topic.partitions {
                leaders.insert((name.to_string(), partition.partition_index), partition.leader_id);
            }
        }
        let mut by_leader = BTreeMap::<String, Vec<Partition>>::new();
        for partition in partitions {
            let what = format!("{}-{}", partition.topic, partition.index);
            let Some(leader) = leaders.get(&(partition.topic.clone(), partition.index)) else {
                return Err(ClientError::NotFound(format!("there is no partition {what}")));
            };
            let Some(node) = nodes.iter().find(|node| node.id == leader.0) else {
                return Err(ClientError::refused(what, Code::LeaderNotAvailable, None));
            };
            by_leader.entry(node.address.clone()).or_default().push(partition.clone());
        }
        Ok(by_leader)
    }

    fn list_offsets_at(
        &mut self,
        address: &str,
        partitions: &[Partition],
        time: OffsetTime,
    ) -> Result<Vec<(Partition, Listed)>, ClientError> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for partition in partitions {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.index)
                .with_timestamp(time.on_the_wire());
            match topics.last_mut().filter(|topic| **topic.name == *partition.topic) {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(
                    ListOffsetsTopic::default()
                        .with_name(TopicName(text(&partition.topic)))
                        .with_partitions(vec![asked]),
                ),
            }
        }
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        let mut listed = Vec::new();
        for topic in self.ask_at(address, &request)?.topics {
            for answer in topic.partitions {
                let index = answer.partition_index;
                check(answer.error_code, format!("{}-{index}", *topic.name), None)?;
                let partition = Partition { topic: topic.name.to_string(), index };
                listed.push((partition, Listed::of(&answer)));
            }
        }
        Ok(listed)
    }
}

impl Listed {
    fn of(answer: &ListOffsetsPartitionResponse) -> Self {
        Self {
            offset: Some(answer.offset).filter(|offset| *offset >= 0),
            timestamp_ms: Some(answer.timestamp).filter(|timestamp| *timestamp >= 0),
        }
    }
}
