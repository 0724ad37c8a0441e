//! `klamm dlq poison` and `skip`.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::http::{Endpoint, HttpError, encoded};
use crate::cli::over_http::read;
use crate::cli::table::{Answer, Column, Row, number, words};
use crate::cli::time;

#[derive(Args, Debug)]
pub struct List {}

#[derive(Deserialize)]
struct Poison {
    stuck: Vec<Stuck>,
}

#[derive(Deserialize, Serialize)]
struct Stuck {
    group: String,
    topic: String,
    partition: i32,
    offset: i64,
    generations: u32,
    since_ms: i64,
}

impl Row for Stuck {
    const COLUMNS: &'static [Column] = &[
        words("GROUP"),
        words("TOPIC"),
        number("PARTITION"),
        number("OFFSET"),
        number("GENERATIONS"),
        words("SINCE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.clone(),
            self.topic.clone(),
            self.partition.to_string(),
            self.offset.to_string(),
            self.generations.to_string(),
            time::shown(self.since_ms),
        ]
    }
}

pub fn list(endpoint: &Endpoint, _: &List) -> Result<Answer, HttpError> {
    let found: Poison = read(&endpoint.get("/api/v1/poison")?)?;
    Ok(Answer::rows(&found.stuck))
}

#[derive(Args, Debug)]
pub struct Skip {
    group: String,
    topic: String,
    partition: i32,
}

#[derive(Deserialize)]
struct Skipped {
    offset: i64,
    dead_letter_topic: String,
    moved: bool,
}

pub fn skip(endpoint: &Endpoint, asked: &Skip) -> Result<Answer, HttpError> {
    let Skip { group, topic, partition } = asked;
    let path =
        format!("/api/v1/poison/{}/{}/{partition}/deadletter", encoded(group), encoded(topic));
    let found = endpoint.post(&path, &json!({}))?;
    let skipped: Skipped = read(&found)?;
    let moved = if skipped.moved { "has moved on" } else { "moves on once it has no members" };
    let text = format!(
        "{topic}:{partition}:{} is in '{}'; group '{group}' {moved}",
        skipped.offset, skipped.dead_letter_topic
    );
    Ok(Answer::sentence(text, found))
}
