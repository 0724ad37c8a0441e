//! `klamm dlq list` and `show`.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::filter::FilterArgs;
use crate::cli::http::{Endpoint, HttpError, encoded};
use crate::cli::over_http::read;
use crate::cli::table::{Answer, Column, Row, number, or_dash, words};
use crate::cli::time;

#[derive(Args, Debug)]
pub struct List {}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<Topic>,
}

#[derive(Deserialize, Serialize)]
struct Topic {
    topic: String,
    group: Option<String>,
    source: Option<String>,
    retry_topic: Option<String>,
    partitions: i32,
    records: Option<u64>,
    waiting: Option<u64>,
    bytes: u64,
    oldest_ms: Option<i64>,
}

impl Row for Topic {
    const COLUMNS: &'static [Column] = &[
        words("TOPIC"),
        words("GROUP"),
        words("SOURCE"),
        number("WAITING"),
        number("RECORDS"),
        number("BYTES"),
        words("OLDEST"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            or_dash(self.group.as_ref()),
            or_dash(self.source.as_ref()),
            or_dash(self.waiting),
            or_dash(self.records),
            self.bytes.to_string(),
            or_dash(self.oldest_ms.map(time::shown)),
        ]
    }
}

pub fn list(endpoint: &Endpoint, _: &List) -> Result<Answer, HttpError> {
    let found: Topics = read(&endpoint.get("/api/v1/dlq")?)?;
    Ok(Answer::rows(&found.topics))
}

#[derive(Args, Debug)]
pub struct Show {
    topic: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many records
    #[arg(long, value_name = "RECORDS", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Go on behind an earlier page: what it named as next
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    records: Vec<Letter>,
    next: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Letter {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    origin_topic: Option<String>,
    origin_partition: Option<i32>,
    origin_offset: Option<i64>,
    group: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    delivery_count: Option<u32>,
    redrive_count: u32,
    redriven: bool,
    key: Option<String>,
}

impl Letter {
    fn origin(&self) -> Option<String> {
        let (topic, partition) = (self.origin_topic.as_ref()?, self.origin_partition?);
        Some(format!("{topic}:{partition}:{}", self.origin_offset?))
    }
}

impl Row for Letter {
    const COLUMNS: &'static [Column] = &[
        words("DIED"),
        words("OFFSET"),
        words("ORIGIN"),
        words("GROUP"),
        words("REASON"),
        number("DELIVERIES"),
        number("REDRIVES"),
        words("PUT-BACK"),
        words("KEY"),
        words("MESSAGE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            time::shown(self.timestamp_ms),
            format!("{}:{}", self.partition, self.offset),
            or_dash(self.origin()),
            or_dash(self.group.as_ref()),
            or_dash(self.reason.as_ref()),
            or_dash(self.delivery_count),
            self.redrive_count.to_string(),
            if self.redriven { "yes" } else { "no" }.to_owned(),
            or_dash(self.key.as_ref()),
            or_dash(self.message.as_ref()),
        ]
    }
}

pub fn show(endpoint: &Endpoint, asked: &Show) -> Result<Answer, HttpError> {
    let topic = encoded(&asked.topic);
    let after = asked.after.iter().map(|after| format!("&after={}", encoded(after)));
    let path = format!(
        "/api/v1/dlq/{topic}/records?limit={}{}{}",
        asked.limit,
        asked.filter.query(),
        after.collect::<String>()
    );
    let found = endpoint.get(&path)?;
    let page: Page = read(&found)?;
    let mut text = Answer::rows(&page.records).text;
    if let Some(next) = page.next {
        text += &format!("more: --after {next}\n");
    }
    Ok(Answer { text, json: found })
}
