//! A group's committed offsets, and where the partitions end.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{GroupId, OffsetFetchRequest};
use serde::Serialize;

use super::describe::{Group, check_group};
use crate::cli::client::{Client, ClientError, OffsetTime, Partition, check, text};
use crate::cli::table::{Column, Row, number, or_dash, words};

/// The committed offset of each partition that has one.
pub fn committed(client: &mut Client, id: &str) -> Result<BTreeMap<Partition, i64>, ClientError> {
    let group =
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(id))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    client.retrying(|client| {
        let coordinator = client.coordinator(id)?;
        let mut answer = client.ask_at(&coordinator.address, &request)?;
        let group = answer.groups.pop().unwrap_or_default();
        check_group(id, group.error_code, None)?;
        let mut committed = BTreeMap::new();
        for topic in group.topics {
            for partition in topic.partitions {
                let index = partition.partition_index;
                check(partition.error_code, format!("offset of {}-{index}", *topic.name), None)?;
                if partition.committed_offset >= 0 {
                    let key = Partition { topic: topic.name.to_string(), index };
                    committed.insert(key, partition.committed_offset);
                }
            }
        }
        Ok(committed)
    })
}

/// Those partitions that exist and have a leader. A group keeps offsets of topics that are gone.
pub fn reachable(
    client: &mut Client,
    partitions: impl Iterator<Item = Partition>,
) -> Result<BTreeSet<Partition>, ClientError> {
    let wanted: BTreeSet<Partition> = partitions.collect();
    let topics: BTreeSet<&String> = wanted.iter().map(|partition| &partition.topic).collect();
    let topics: Vec<String> = topics.into_iter().cloned().collect();
    let mut led = BTreeSet::new();
    for topic in client.metadata(Some(&topics))?.topics {
        let name = topic.name.unwrap_or_default().to_string();
        let of_topic = topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0);
        led.extend(of_topic.map(|p| Partition { topic: name.clone(), index: p.partition_index }));
    }
    Ok(wanted.intersection(&led).cloned().collect())
}

/// How far a group is behind on one partition.
#[derive(Serialize)]
pub struct Lag {
    topic: String,
    partition: i32,
    /// `None`: nothing is committed.
    committed: Option<i64>,
    /// `None`: the partition is gone or has no leader.
    end: Option<i64>,
    pub lag: Option<i64>,
    /// Who reads it now.
    member: Option<String>,
}

impl Row for Lag {
    const COLUMNS: &'static [Column] = &[
        words("TOPIC"),
        number("PARTITION"),
        number("COMMITTED"),
        number("END"),
        number("LAG"),
        words("MEMBER"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_dash(self.committed),
            or_dash(self.end),
            or_dash(self.lag),
            or_dash(self.member.as_ref()),
        ]
    }
}

/// Every partition that the group has committed to or that a member reads.
pub fn lags(client: &mut Client, group: &Group) -> Result<Vec<Lag>, ClientError> {
    let committed = committed(client, &group.id)?;
    let mut readers = BTreeMap::new();
    for member in &group.members {
        for partition in &member.assignment.0 {
            readers.insert(partition.clone(), member.member.clone());
        }
    }
    let partitions: BTreeSet<Partition> = committed.keys().chain(readers.keys()).cloned().collect();
    let reachable = reachable(client, partitions.iter().cloned())?;
    let ends = client.list_offsets(&reachable, OffsetTime::Latest)?;
    let lag = |partition: Partition| {
        let committed = committed.get(&partition).copied();
        let end = ends.get(&partition).and_then(|listed| listed.offset);
        Lag {
            committed,
            end,
            lag: committed.zip(end).map(|(committed, end)| end.saturating_sub(committed).max(0)),
            member: readers.get(&partition).cloned(),
            topic: partition.topic,
            partition: partition.index,
        }
    };
    Ok(partitions.into_iter().map(lag).collect())
}
