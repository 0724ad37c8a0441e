//! `klamm delay clock`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::cli::http::{Endpoint, HttpError};
use crate::cli::over_http::read;
use crate::cli::table::{Answer, facts};
use crate::cli::time;

#[derive(Args, Debug)]
pub struct Clock {
    /// Follow wall time at once, however far off it is; the clock never goes back
    #[arg(long)]
    adopt: bool,
}

#[derive(Deserialize)]
struct Shown {
    clock_ms: i64,
    wall_ahead_ms: i64,
    stepped: bool,
}

pub fn clock(endpoint: &Endpoint, asked: &Clock) -> Result<Answer, HttpError> {
    let json = match asked.adopt {
        true => endpoint.post("/api/v1/clock/adopt", &json!({}))?,
        false => endpoint.get("/api/v1/clock")?,
    };
    let shown: Shown = read(&json)?;
    let follows = if shown.stepped { "no: adopt it, or restart the broker" } else { "yes" };
    let text = facts(&[
        ("Clock", time::shown(shown.clock_ms)),
        ("Wall time ahead", format!("{} ms", shown.wall_ahead_ms)),
        ("Follows wall time", follows.to_owned()),
    ]);
    Ok(Answer { text, json })
}
