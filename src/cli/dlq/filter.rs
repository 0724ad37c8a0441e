//! Which dead letters a command means.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::http::encoded;
use crate::cli::time::parse_time;

#[derive(Args, Debug, Default)]
pub struct FilterArgs {
    /// Only with this header: NAME, or NAME=VALUE
    #[arg(long, value_name = "NAME[=VALUE]")]
    header: Option<String>,
    /// Only with this key
    #[arg(long)]
    key: Option<String>,
    /// Only of this group's failures
    #[arg(long)]
    group: Option<String>,
    /// Only dead for this reason, e.g. delivery-limit
    #[arg(long)]
    reason: Option<String>,
    /// Only dead since then, e.g. 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Only dead before then
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
    /// Only in this partition
    #[arg(long)]
    partition: Option<i32>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    from_offset: Option<i64>,
    /// Up to and without this offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
}

impl FilterArgs {
    /// As part of a query, each with a `&` in front.
    pub fn query(&self) -> String {
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let pairs = [
            ("header", self.header.clone()),
            ("key", self.key.clone()),
            ("group", self.group.clone()),
            ("reason", self.reason.clone()),
            ("since_ms", number(self.since)),
            ("until_ms", number(self.until)),
            ("partition", number(self.partition.map(i64::from))),
            ("from_offset", number(self.from_offset)),
            ("to_offset", number(self.to_offset)),
        ];
        let said = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.map(|(name, value)| format!("&{name}={}", encoded(&value))).collect()
    }

    /// As part of a body.
    pub fn json(&self) -> Value {
        let header = |text: &String| match text.split_once('=') {
            Some((name, value)) => json!({ "name": name, "value": value }),
            None => json!({ "name": text }),
        };
        json!({
            "headers": self.header.iter().map(header).collect::<Vec<_>>(),
            "key": self.key,
            "group": self.group,
            "reasons": self.reason.iter().collect::<Vec<_>>(),
            "since_ms": self.since,
            "until_ms": self.until,
            "partition": self.partition,
            "from_offset": self.from_offset,
            "to_offset": self.to_offset,
        })
    }
}
