//! `klamm delay pending` and `cancel`.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::http::{Endpoint, HttpError, encoded};
use crate::cli::over_http::read;
use crate::cli::table::{Answer, Column, Row, number, or_dash, words};
use crate::cli::time;

#[derive(Args, Debug)]
pub struct List {
    topic: String,
    /// Only this partition
    #[arg(long)]
    partition: Option<i32>,
    /// Only the records with this klamm.delay.id
    #[arg(long)]
    id: Option<String>,
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
    pending: Vec<Pending>,
    next: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Pending {
    partition: i32,
    ticket: i64,
    due_ms: i64,
    expires_at_ms: Option<i64>,
    id: Option<String>,
    key: Option<String>,
    bytes: u32,
}

impl Row for Pending {
    const COLUMNS: &'static [Column] = &[
        words("DUE"),
        words("TICKET"),
        words("ID"),
        words("KEY"),
        number("BYTES"),
        words("EXPIRES"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            time::shown(self.due_ms),
            format!("{}:{}", self.partition, self.ticket),
            or_dash(self.id.as_ref()),
            or_dash(self.key.as_ref()),
            self.bytes.to_string(),
            or_dash(self.expires_at_ms.map(time::shown)),
        ]
    }
}

/// The path of a topic, or of one of its partitions.
pub fn place(topic: &str, partition: Option<i32>) -> String {
    let partition = partition.map_or_else(String::new, |partition| format!("/{partition}"));
    format!("/api/v1/delays/{}{partition}", encoded(topic))
}

pub fn list(endpoint: &Endpoint, asked: &List) -> Result<Answer, HttpError> {
    let mut path =
        format!("{}/pending?limit={}", place(&asked.topic, asked.partition), asked.limit);
    for (name, value) in [("id", &asked.id), ("after", &asked.after)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", encoded(value));
        }
    }
    let found = endpoint.get(&path)?;
    let page: Page = read(&found)?;
    let mut text = Answer::rows(&page.pending).text;
    if let Some(next) = page.next {
        text += &format!("more: --after {next}\n");
    }
    Ok(Answer { text, json: found })
}

#[derive(Args, Debug)]
pub struct Cancel {
    topic: String,
    /// The record that its producer was told this offset for; may be repeated
    #[arg(long = "ticket", value_name = "PARTITION:OFFSET", value_parser = ticket)]
    #[arg(required_unless_present = "ids")]
    tickets: Vec<Ticket>,
    /// The record with this klamm.delay.id, in every partition that has one; may be repeated
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    partition: i32,
    offset: i64,
}

fn ticket(text: &str) -> Result<Ticket, String> {
    let ticket = text.split_once(':').and_then(|(partition, offset)| {
        Some(Ticket { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    });
    ticket.ok_or_else(|| "must be PARTITION:OFFSET".to_owned())
}

/// One by one, so that what is said at the first failure is true of those before it.
pub fn cancel(endpoint: &Endpoint, asked: &Cancel) -> Result<Answer, HttpError> {
    let mut tickets = asked.tickets.clone();
    for id in &asked.ids {
        let path = format!("{}/pending?id={}", place(&asked.topic, None), encoded(id));
        let found: Page = read(&endpoint.get(&path)?)?;
        if found.pending.is_empty() {
            let line = format!("nothing with the id '{id}' is pending in topic '{}'", asked.topic);
            return Err(HttpError::NotFound(line));
        }
        let ticket = |p: Pending| Ticket { partition: p.partition, offset: p.ticket };
        tickets.extend(found.pending.into_iter().map(ticket));
    }
    let mut names = Vec::with_capacity(tickets.len());
    for Ticket { partition, offset } in tickets {
        endpoint.delete(&format!("{}/pending/{offset}", place(&asked.topic, Some(partition))))?;
        names.push(format!("{partition}:{offset}"));
    }
    let text = format!("cancelled {} of '{}'", names.join(", "), asked.topic);
    Ok(Answer::sentence(text, json!({ "topic": asked.topic, "cancelled": names })))
}
