//! `klamm topic offsets`: the offset of each partition at a time.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use crate::cli::client::{Client, ClientError, OffsetTime, Partition};
use crate::cli::table::{Answer, Column, Row, number, or_dash, words};
use crate::cli::time::{self, parse_time};

#[derive(Args, Debug)]
pub struct Offsets {
    /// The topic
    name: String,
    /// Only this partition; may be repeated
    #[arg(long = "partition", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// earliest, latest, max-timestamp, milliseconds since 1970, or a time as in
    /// 2026-01-31T08:00:00Z: the first record at or after it
    #[arg(long, default_value = "latest", value_parser = offset_time)]
    time: OffsetTime,
}

fn offset_time(text: &str) -> Result<OffsetTime, String> {
    match text {
        "earliest" => Ok(OffsetTime::Earliest),
        "latest" => Ok(OffsetTime::Latest),
        "max-timestamp" => Ok(OffsetTime::MaxTimestamp),
        _ => match text.parse() {
            Ok(ms @ 0..) => Ok(OffsetTime::At(ms)),
            _ => parse_time(text).map(OffsetTime::At),
        },
    }
}

#[derive(Serialize)]
struct Found {
    partition: i32,
    /// `None`: no record is that young.
    offset: Option<i64>,
    timestamp_ms: Option<i64>,
}

impl Row for Found {
    const COLUMNS: &'static [Column] = &[number("PARTITION"), number("OFFSET"), words("TIMESTAMP")];

    fn cells(&self) -> Vec<String> {
        let timestamp = self.timestamp_ms.map(time::shown);
        vec![self.partition.to_string(), or_dash(self.offset), or_dash(timestamp)]
    }
}

pub fn offsets(client: &mut Client, asked: &Offsets) -> Result<Answer, ClientError> {
    let indexes: Vec<i32> = if asked.partitions.is_empty() {
        let (topic, _) = client.topic(&asked.name)?;
        topic.partitions.iter().map(|partition| partition.partition_index).collect()
    } else {
        asked.partitions.clone()
    };
    let partition = |index| Partition { topic: asked.name.clone(), index };
    let partitions: BTreeSet<Partition> = indexes.into_iter().map(partition).collect();
    let listed = client.list_offsets(&partitions, asked.time)?;
    let found: Vec<Found> = listed
        .into_iter()
        .map(|(partition, listed)| Found {
            partition: partition.index,
            offset: listed.offset,
            timestamp_ms: listed.timestamp_ms,
        })
        .collect();
    Ok(Answer::rows(&found))
}
