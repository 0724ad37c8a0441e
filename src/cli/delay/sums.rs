//! `klamm delay list`, `show` and `histogram`.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::http::{Endpoint, HttpError, encoded};
use crate::cli::over_http::read;
use crate::cli::table::{Answer, Column, Row, number, or_dash, words};
use crate::cli::time;

#[derive(Args, Debug)]
pub struct List {
    /// Also topics in which nothing is pending
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<Topic>,
}

#[derive(Deserialize, Serialize)]
struct Topic {
    topic: String,
    partitions: u32,
    pending_records: u64,
    pending_bytes: u64,
    next_due_ms: Option<i64>,
}

impl Row for Topic {
    const COLUMNS: &'static [Column] = &[
        words("TOPIC"),
        number("PARTITIONS"),
        number("RECORDS"),
        number("BYTES"),
        words("NEXT-DUE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partitions.to_string(),
            self.pending_records.to_string(),
            self.pending_bytes.to_string(),
            or_dash(self.next_due_ms.map(time::shown)),
        ]
    }
}

pub fn list(endpoint: &Endpoint, asked: &List) -> Result<Answer, HttpError> {
    let mut found: Topics = read(&endpoint.get("/api/v1/delays")?)?;
    found.topics.retain(|topic| asked.all || topic.pending_records > 0);
    Ok(Answer::rows(&found.topics))
}

#[derive(Args, Debug)]
pub struct Show {
    topic: String,
}

#[derive(Deserialize)]
struct Partitions {
    by_partition: Vec<Partition>,
}

#[derive(Deserialize, Serialize)]
struct Partition {
    partition: i32,
    pending_records: u64,
    pending_bytes: u64,
    next_due_ms: Option<i64>,
    memory_bytes: u64,
    runs: u32,
    run_bytes: u64,
}

impl Row for Partition {
    const COLUMNS: &'static [Column] = &[
        number("PARTITION"),
        number("RECORDS"),
        number("BYTES"),
        number("MEMORY"),
        number("RUNS"),
        number("RUN-BYTES"),
        words("NEXT-DUE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            self.pending_records.to_string(),
            self.pending_bytes.to_string(),
            self.memory_bytes.to_string(),
            self.runs.to_string(),
            self.run_bytes.to_string(),
            or_dash(self.next_due_ms.map(time::shown)),
        ]
    }
}

pub fn show(endpoint: &Endpoint, asked: &Show) -> Result<Answer, HttpError> {
    let found = endpoint.get(&format!("/api/v1/delays/{}", encoded(&asked.topic)))?;
    let partitions: Partitions = read(&found)?;
    let Answer { text, .. } = Answer::rows(&partitions.by_partition);
    Ok(Answer { text, json: found })
}

#[derive(Args, Debug)]
pub struct HistogramOf {
    topic: String,
    /// Only this partition
    #[arg(long)]
    partition: Option<i32>,
}

#[derive(Deserialize)]
struct Histogram {
    buckets: Vec<Bucket>,
}

#[derive(Deserialize, Serialize)]
struct Bucket {
    within_ms: Option<i64>,
    records: u64,
}

impl Row for Bucket {
    const COLUMNS: &'static [Column] = &[words("DUE-WITHIN"), number("RECORDS")];

    fn cells(&self) -> Vec<String> {
        let within = self.within_ms.map_or_else(|| "later".to_owned(), span);
        vec![within, self.records.to_string()]
    }
}

/// A span in its largest whole unit.
fn span(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.iter().find(|(unit_ms, _)| ms % unit_ms == 0);
    unit.map_or_else(|| format!("{ms}ms"), |(unit_ms, name)| format!("{}{name}", ms / unit_ms))
}

pub fn histogram(endpoint: &Endpoint, asked: &HistogramOf) -> Result<Answer, HttpError> {
    let path = super::pending::place(&asked.topic, asked.partition);
    let found = endpoint.get(&format!("{path}/histogram"))?;
    let Answer { text, .. } = Answer::rows(&read::<Histogram>(&found)?.buckets);
    Ok(Answer { text, json: found })
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_one_unit() {
        for (ms, text) in [
            (1_000, "1s"),
            (300_000, "5m"),
            (14_400_000, "4h"),
            (259_200_000, "3d"),
            (1_500, "1500ms"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
