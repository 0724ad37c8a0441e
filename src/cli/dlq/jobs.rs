//! `klamm dlq redrive`, and what is done about its jobs.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::FilterArgs;
use crate::cli::http::{Endpoint, HttpError, encoded};
use crate::cli::output;
use crate::cli::over_http::read;
use crate::cli::table::{Answer, Column, Row, facts, number, words};
use crate::cli::time;

/// How long one request waits for a job's end: between two lines of progress.
const WAIT_MS: u64 = 1_000;

#[derive(Args, Debug)]
pub struct Redrive {
    /// The dead-letter topic
    topic: String,
    /// Back to where each record was delivered first; every group there gets it again
    #[arg(long, conflicts_with = "to")]
    to_origin: bool,
    /// Into this topic
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many records a second
    #[arg(long, value_name = "RECORDS", default_value_t = 0)]
    rate: u32,
    /// Count what would be put back, and put nothing back
    #[arg(long)]
    dry_run: bool,
    /// Records that were put back so often stay where they are
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    redrive_limit: u32,
    /// Also what an earlier job has put back
    #[arg(long)]
    again: bool,
    /// Wait until it is over, and tell how it goes
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Args, Debug)]
struct Signed {
    /// Who asks, for the audit trail
    #[arg(long, value_name = "NAME", default_value = "klamm dlq")]
    by: String,
}

#[derive(Args, Debug)]
pub struct Jobs {
    /// Only this one, with all there is to know about it
    id: Option<String>,
}

#[derive(Args, Debug)]
pub struct OneJob {
    id: String,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Deserialize, Serialize)]
struct Job {
    id: String,
    state: String,
    reason: Option<String>,
    source: String,
    target: Value,
    dry_run: bool,
    started_ms: i64,
    copied: u64,
    known: u64,
    filtered: u64,
    parked: u64,
    redriven: u64,
    left_offsets: u64,
    events: Vec<Event>,
}

#[derive(Deserialize, Serialize)]
struct Event {
    at_ms: i64,
    by: String,
    what: String,
}

impl Job {
    fn is_over(&self) -> bool {
        matches!(&*self.state, "cancelled" | "done" | "failed")
    }

    fn target(&self) -> String {
        match &self.target {
            Value::String(kind) => kind.clone(),
            other => other["topic"].as_str().unwrap_or("-").to_owned(),
        }
    }

    fn state(&self) -> String {
        if self.dry_run { format!("{} (dry run)", self.state) } else { self.state.clone() }
    }

    /// How it stands, in a sentence.
    fn sentence(&self) -> String {
        let verb = if self.dry_run { "would put back" } else { "put back" };
        let why = self.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!(
            "{} {}{why}; {verb} {}, {} filtered out, {} put back before, {} parked",
            self.id,
            self.state(),
            self.copied,
            self.filtered,
            self.redriven,
            self.parked
        )
    }

    fn facts(&self) -> String {
        let mut all = vec![
            ("job", self.id.clone()),
            ("state", self.state()),
            ("source", self.source.clone()),
            ("target", self.target()),
            ("put back", self.copied.to_string()),
            ("filtered out", self.filtered.to_string()),
            ("put back before", self.redriven.to_string()),
            ("parked", self.parked.to_string()),
            ("offsets left", self.left_offsets.to_string()),
        ];
        all.extend(self.reason.iter().map(|why| ("reason", why.clone())));
        let event = |event: &Event| {
            let Event { at_ms, by, what } = event;
            ("event", format!("{} {what} by {by}", time::shown(*at_ms)))
        };
        all.extend(self.events.iter().map(event));
        facts(&all)
    }
}

impl Row for Job {
    const COLUMNS: &'static [Column] = &[
        words("JOB"),
        words("STARTED"),
        words("STATE"),
        words("SOURCE"),
        words("TARGET"),
        number("PUT-BACK"),
        number("FILTERED"),
        number("PARKED"),
        number("LEFT"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            time::shown(self.started_ms),
            self.state(),
            self.source.clone(),
            self.target(),
            self.copied.to_string(),
            self.filtered.to_string(),
            self.parked.to_string(),
            self.left_offsets.to_string(),
        ]
    }
}

pub fn redrive(endpoint: &Endpoint, asked: &Redrive) -> Result<Answer, HttpError> {
    let target = match (&asked.to, asked.to_origin) {
        (Some(topic), _) => json!({ "topic": topic }),
        (None, true) => json!("origin"),
        (None, false) => json!("retry"),
    };
    let body = json!({
        "source": asked.topic,
        "target": target,
        "filter": asked.filter.json(),
        "rate": asked.rate,
        "dry_run": asked.dry_run,
        "redrive_limit": asked.redrive_limit,
        "again": asked.again,
        "by": asked.signed.by,
    });
    let begun = endpoint.post("/api/v1/redrives", &body)?;
    if !(asked.wait || asked.dry_run) {
        return Ok(Answer::sentence(read::<Job>(&begun)?.sentence(), begun));
    }
    wait(endpoint, begun)
}

/// Follows a job to its end. One that is paused ends the waiting too: nobody knows for how long.
fn wait(endpoint: &Endpoint, mut shown: Value) -> Result<Answer, HttpError> {
    loop {
        let job: Job = read(&shown)?;
        if job.state == "failed" {
            return Err(HttpError::Refused(job.sentence()));
        }
        if job.is_over() || job.state == "paused" {
            return Ok(Answer::sentence(job.sentence(), shown));
        }
        let path = format!("/api/v1/redrives/{}?wait_ms={WAIT_MS}", encoded(&job.id));
        shown = endpoint.get(&path)?;
        let job: Job = read(&shown)?;
        if !job.is_over() {
            output::note(&format!("{} put back, {} offsets left", job.copied, job.left_offsets));
        }
    }
}

#[derive(Deserialize)]
struct AllJobs {
    jobs: Vec<Job>,
}

pub fn list(endpoint: &Endpoint, asked: &Jobs) -> Result<Answer, HttpError> {
    if let Some(id) = &asked.id {
        let found = endpoint.get(&format!("/api/v1/redrives/{}", encoded(id)))?;
        return Ok(Answer { text: read::<Job>(&found)?.facts(), json: found });
    }
    let found = endpoint.get("/api/v1/redrives")?;
    let Answer { text, .. } = Answer::rows(&read::<AllJobs>(&found)?.jobs);
    Ok(Answer { text, json: found["jobs"].clone() })
}

pub fn command(endpoint: &Endpoint, job: &OneJob, command: &str) -> Result<Answer, HttpError> {
    let path = format!("/api/v1/redrives/{}/{command}", encoded(&job.id));
    let found = endpoint.post(&path, &json!({ "by": job.signed.by }))?;
    Ok(Answer::sentence(read::<Job>(&found)?.sentence(), found))
}
