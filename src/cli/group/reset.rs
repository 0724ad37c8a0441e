//! `klamm group reset-offsets`: moves committed offsets of a group without members.
//!
//! Shows its plan, and carries it out only when told to. A target outside what the partition
//! holds is brought back to its nearest end, as Kafka's tool does.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use serde::Serialize;
use serde_json::json;

use super::describe::{check_group, describe};
use super::offsets::{committed, reachable};
use crate::cli::client::{Client, ClientError, Listed, OffsetTime, Partition, check, text};
use crate::cli::pairs::{TopicChoice, topic_choice};
use crate::cli::table::{Answer, Column, Row, number, or_dash, table, words};
use crate::cli::time::{parse_span, parse_time};

#[derive(Args, Debug)]
pub struct Reset {
    /// A group that exists or is yet to come
    group: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    to: Target,
    /// Do it, instead of showing what would be done
    #[arg(long)]
    execute: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// This topic, or some of its partitions; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = topic_choice)]
    topics: Vec<TopicChoice>,
    /// All that the group has committed offsets of
    #[arg(long)]
    all_topics: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record that is kept
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many records forward, or backward if negative
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record at or after a time (UTC), as in 2026-01-31T08:00:00
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to_datetime: Option<i64>,
    /// To the first record of this last span of time, as in 12h or PT12H
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    by_duration: Option<i64>,
    /// To where they are, or the end where nothing is committed
    #[arg(long)]
    to_current: bool,
}

#[derive(Debug, Serialize)]
struct Move {
    topic: String,
    partition: i32,
    current: Option<i64>,
    new: i64,
}

impl Row for Move {
    const COLUMNS: &'static [Column] =
        &[words("TOPIC"), number("PARTITION"), number("CURRENT"), number("NEW")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_dash(self.current),
            self.new.to_string(),
        ]
    }
}

pub fn reset(client: &mut Client, asked: &Reset) -> Result<Answer, ClientError> {
    let id = &asked.group;
    if asked.execute {
        refuse_members(client, id)?;
    }
    let committed = committed(client, id)?;
    let partitions = chosen(client, asked, &committed)?;
    let moves = plan(client, asked, &committed, &partitions)?;
    if asked.execute {
        commit(client, id, &moves)?;
    }
    let mut text = table(&moves);
    if !asked.execute {
        text += "\nnothing was changed: --execute does it\n";
    }
    let json = json!({ "group": id, "executed": asked.execute, "offsets": moves });
    Ok(Answer { text, json })
}

/// A member would commit over what is set, and not hear of it.
fn refuse_members(client: &mut Client, id: &str) -> Result<(), ClientError> {
    match describe(client, id) {
        Ok(group) if !group.members.is_empty() => {
            Err(ClientError::Unfit(format!("group '{id}' has members ({})", group.state)))
        }
        // Offsets may be set for a group that is yet to come.
        Err(ClientError::NotFound(_)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn chosen(
    client: &mut Client,
    asked: &Reset,
    committed: &BTreeMap<Partition, i64>,
) -> Result<BTreeSet<Partition>, ClientError> {
    if asked.which.all_topics {
        let reachable = reachable(client, committed.keys().cloned())?;
        if reachable.is_empty() {
            let line = format!("group '{}' has no committed offsets", asked.group);
            return Err(ClientError::NotFound(line));
        }
        return Ok(reachable);
    }
    let mut chosen = BTreeSet::new();
    for choice in &asked.which.topics {
        let topic = || choice.topic.clone();
        if choice.partitions.is_empty() {
            let (found, _) = client.topic(&choice.topic)?;
            let indexes = found.partitions.iter().map(|partition| partition.partition_index);
            chosen.extend(indexes.map(|index| Partition { topic: topic(), index }));
        } else {
            let indexes = choice.partitions.iter();
            chosen.extend(indexes.map(|index| Partition { topic: topic(), index: *index }));
        }
    }
    Ok(chosen)
}

fn plan(
    client: &mut Client,
    asked: &Reset,
    committed: &BTreeMap<Partition, i64>,
    partitions: &BTreeSet<Partition>,
) -> Result<Vec<Move>, ClientError> {
    let earliest = client.list_offsets(partitions, OffsetTime::Earliest)?;
    let latest = client.list_offsets(partitions, OffsetTime::Latest)?;
    let by_time = match asked.to.time(client.wall_ms()) {
        Some(ms) => client.list_offsets(partitions, OffsetTime::At(ms))?,
        None => BTreeMap::new(),
    };
    let offset = |listed: &BTreeMap<Partition, Listed>, partition| {
        listed.get(partition).and_then(|listed| listed.offset)
    };
    let mut moves = Vec::new();
    for partition in partitions {
        let known = Known {
            committed: committed.get(partition).copied(),
            earliest: offset(&earliest, partition).unwrap_or(0),
            latest: offset(&latest, partition).unwrap_or(0),
            by_time: offset(&by_time, partition),
        };
        let Some(new) = asked.to.offset(known) else {
            let line = format!(
                "{}-{}: nothing is committed that could be shifted",
                partition.topic, partition.index
            );
            return Err(ClientError::Unfit(line));
        };
        moves.push(Move {
            topic: partition.topic.clone(),
            partition: partition.index,
            current: known.committed,
            new,
        });
    }
    Ok(moves)
}

/// What is known of a partition when its new offset is chosen.
#[derive(Clone, Copy)]
struct Known {
    committed: Option<i64>,
    earliest: i64,
    latest: i64,
    /// The first record at the time asked for, if there is one.
    by_time: Option<i64>,
}

impl Target {
    /// The time to look for, if the target is one.
    fn time(&self, now_ms: i64) -> Option<i64> {
        let ago = self.by_duration.map(|span| now_ms.saturating_sub(span));
        self.to_datetime.or(ago).map(|ms| ms.max(0))
    }

    /// `None` where there is nothing to shift.
    fn offset(&self, known: Known) -> Option<i64> {
        let Known { committed, earliest, latest, by_time } = known;
        let wanted = if self.to_earliest {
            earliest
        } else if self.to_latest {
            latest
        } else if let Some(offset) = self.to_offset {
            offset
        } else if let Some(records) = self.shift_by {
            committed?.saturating_add(records)
        } else if self.to_current {
            committed.unwrap_or(latest)
        } else {
            by_time.unwrap_or(latest)
        };
        Some(wanted.min(latest).max(earliest))
    }
}

/// Commits as a consumer without a group's membership would.
fn commit(client: &mut Client, id: &str, moves: &[Move]) -> Result<(), ClientError> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for Move { topic, partition, new, .. } in moves {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*new)
            .with_committed_metadata(Some(text("")));
        match topics.last_mut().filter(|last| **last.name == **topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(
                OffsetCommitRequestTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let request =
        OffsetCommitRequest::default().with_group_id(GroupId(text(id))).with_topics(topics);
    client.retrying(|client| {
        let coordinator = client.coordinator(id)?;
        for topic in client.ask_at(&coordinator.address, &request)?.topics {
            for partition in topic.partitions {
                let what = format!("offset of {}-{}", *topic.name, partition.partition_index);
                check_group(id, partition.error_code, None)?;
                check(partition.error_code, what, None)?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        reset: Reset,
    }

    fn target(words: &[&str]) -> Target {
        let line = ["reset", "g", "--all-topics"].iter().chain(words);
        Line::try_parse_from(line).expect("a sound line").reset.to
    }

    const KNOWN: Known =
        Known { committed: Some(50), earliest: 10, latest: 100, by_time: Some(70) };

    #[test]
    fn each_target_is_an_offset_that_the_partition_has() {
        for (words, offset) in [
            (&["--to-earliest"][..], 10),
            (&["--to-latest"], 100),
            (&["--to-current"], 50),
            (&["--to-offset", "60"], 60),
            (&["--to-offset", "6"], 10),
            (&["--to-offset", "600"], 100),
            (&["--shift-by", "5"], 55),
            (&["--shift-by", "-5"], 45),
            (&["--shift-by", "-500"], 10),
            (&["--shift-by", "9223372036854775807"], 100),
            (&["--to-datetime", "2026-01-31"], 70),
            (&["--by-duration", "PT1H"], 70),
        ] {
            assert_eq!(target(words).offset(KNOWN), Some(offset), "{words:?}");
        }
    }

    #[test]
    fn without_a_commit_or_a_record_the_end_stands_in() {
        let known = Known { committed: None, by_time: None, ..KNOWN };
        assert_eq!(target(&["--to-current"]).offset(known), Some(100));
        assert_eq!(target(&["--to-datetime", "2026-01-31"]).offset(known), Some(100));
        assert_eq!(target(&["--shift-by", "1"]).offset(known), None);
    }

    #[test]
    fn spans_count_back_from_now() {
        assert_eq!(target(&["--by-duration", "1h"]).time(3_600_007), Some(7));
        assert_eq!(target(&["--by-duration", "1d"]).time(7), Some(0));
        assert_eq!(target(&["--to-datetime", "1970-01-01T00:00:01"]).time(7), Some(1000));
        assert_eq!(target(&["--to-latest"]).time(7), None);
    }

    #[test]
    fn there_is_one_target_and_one_choice_of_topics() {
        for words in [
            &["g", "--all-topics"][..],
            &["g", "--to-latest"],
            &["g", "--all-topics", "--to-latest", "--to-earliest"],
            &["g", "--all-topics", "--topic", "t", "--to-latest"],
            &["g", "--topic", "t:x", "--to-latest"],
            &["g", "--all-topics", "--to-offset", "-1"],
        ] {
            assert!(Line::try_parse_from(["reset"].iter().chain(words)).is_err(), "{words:?}");
        }
    }
}
