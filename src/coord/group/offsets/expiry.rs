//! Expiry of offsets by `offsets.retention.minutes`, and of groups of which nothing is left
//! (KIP-211).

use std::sync::Arc;
use std::time::Duration;

use super::rules::{self, Ages};
use super::{store_all, tombstone};
use crate::coord::group::record::Record;
use crate::coord::group::{Cx, Group, GroupMap, Timer};

/// Records of one decision: what is due beyond that comes next, so that no batch grows with what
/// has gathered in a week.
const MAX_RECORDS: usize = 1_000;

/// Between two decisions while there is more to do.
const NEXT: Duration = Duration::from_millis(1);

/// Deletes what has expired.
pub fn expire(groups: &mut GroupMap, cx: &mut Cx<'_>) {
    let mut gone = Vec::new();
    let mut over = Vec::new();
    for group in groups.iter() {
        if gone.len() >= MAX_RECORDS {
            break;
        }
        if expire_group(group, cx, &mut gone) {
            over.push(Arc::clone(&group.id));
        }
    }
    let more = gone.len() >= MAX_RECORDS;
    store_all(groups, cx, gone);
    over.iter().for_each(|group| groups.prune(group));
    let wait = if more { NEXT } else { cx.settings.offsets_retention_check };
    cx.timers.set(Timer::ExpireOffsets, cx.moment.now + wait);
}

/// Collects what deletes the group's expired offsets, and the group itself if nothing is left of
/// it; says whether it is deleted.
fn expire_group(group: &Group, cx: &Cx<'_>, gone: &mut Vec<Record>) -> bool {
    let ages = Ages::of(group);
    let retention_ms = i64::try_from(cx.settings.offsets_retention.as_millis()).unwrap_or(i64::MAX);
    let reads = rules::reads(group);
    let mut kept = false;
    for (topic, partition, value) in group.offsets.iter() {
        let due = !reads.topic(topic) && ages.expired(value, cx.moment.wall_ms, retention_ms);
        if due {
            gone.push(tombstone(&group.id, topic, partition));
        }
        kept |= !due;
    }
    match rules::tombstones(group) {
        Ok(mut ends) if !kept => {
            gone.append(&mut ends);
            true
        }
        _ => false,
    }
}
