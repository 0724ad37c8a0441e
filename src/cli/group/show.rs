//! `klamm group show` and `klamm group offsets`.

use clap::Args;
use serde_json::json;

use super::describe::{Member, describe};
use super::offsets::{Lag, lags};
use crate::cli::client::{Client, ClientError};
use crate::cli::table::{Answer, Column, Row, facts, number, or_dash, table, words};

#[derive(Args, Debug)]
pub struct Show {
    /// The group's id
    group: String,
}

impl Row for Member {
    const COLUMNS: &'static [Column] = &[
        words("MEMBER"),
        words("INSTANCE"),
        words("CLIENT"),
        words("HOST"),
        number("EPOCH"),
        words("PARTITIONS"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut partitions = self.assignment.shown();
        if let Some(target) = &self.target {
            partitions = format!("{partitions} -> {}", target.shown());
        }
        vec![
            self.member.clone(),
            or_dash(self.instance.as_ref()),
            self.client.clone(),
            self.host.clone(),
            or_dash(self.epoch),
            partitions,
        ]
    }
}

pub fn show(client: &mut Client, asked: &Show) -> Result<Answer, ClientError> {
    let group = describe(client, &asked.group)?;
    let lags = lags(client, &group)?;
    let lag = total(&lags);
    let coordinator = &group.coordinator;
    let mut lines = vec![
        ("group", group.id.clone()),
        ("type", group.kind.to_owned()),
        ("state", group.state.clone()),
        ("protocol", group.protocol.clone()),
        ("coordinator", format!("{} ({})", coordinator.id, coordinator.address)),
        ("members", group.members.len().to_string()),
        ("lag", or_dash(lag)),
    ];
    if let Some(epoch) = group.epoch {
        lines.insert(4, ("epoch", epoch.to_string()));
    }
    let mut text = facts(&lines);
    if !group.members.is_empty() {
        text = text + "\n" + &table(&group.members);
    }
    if !lags.is_empty() {
        text = text + "\n" + &table(&lags);
    }
    let json = json!({
        "group": group.id,
        "type": group.kind,
        "state": group.state,
        "protocol": group.protocol,
        "epoch": group.epoch,
        "coordinator": coordinator.id,
        "lag": lag,
        "members": group.members,
        "offsets": lags,
    });
    Ok(Answer { text, json })
}

/// Of all partitions whose lag is known; `None` if it is known of none.
fn total(lags: &[Lag]) -> Option<i64> {
    lags.iter().filter_map(|lag| lag.lag).reduce(i64::saturating_add)
}

#[derive(Args, Debug)]
pub struct Offsets {
    /// The group's id
    group: String,
}

pub fn offsets(client: &mut Client, asked: &Offsets) -> Result<Answer, ClientError> {
    let group = describe(client, &asked.group)?;
    Ok(Answer::rows(&lags(client, &group)?))
}
