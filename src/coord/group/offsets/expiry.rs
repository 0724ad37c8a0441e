//! Expiry of offsets by `offsets.retention.minutes`, and of groups of which nothing is left
//! (KIP-211). Offsets in topics that are no more go with them: as a rule the host has told of
//! those already.

use std::sync::Arc;
use std::time::Duration;

use super::room::Room;
use super::rules::{self, Ages};
use super::{is_gone, retries, store_all, tombstone};
use crate::coord::group::record::{OffsetValue, Record};
use crate::coord::group::{Cx, Group, GroupMap, Timer};

/// Bytes of one decision's records: what is due beyond that comes next, so that no batch grows with
/// what has gathered in a week.
const MAX_BYTES: usize = 1 << 20;

/// Between two decisions while there is more to do.
const NEXT: Duration = Duration::from_millis(1);

/// Deletes what has expired.
pub fn expire(groups: &mut GroupMap, cx: &mut Cx<'_>) {
    let mut gone = Vec::new();
    let mut over = Vec::new();
    let mut room = Room::of(MAX_BYTES);
    for group in groups.iter() {
        if expire_group(group, cx, &mut room, &mut gone) {
            over.push(Arc::clone(&group.id));
        }
        if room.is_used_up() {
            break;
        }
    }
    store_all(groups, cx, gone);
    over.iter().for_each(|group| groups.prune(group));
    let wait = if room.is_used_up() { NEXT } else { cx.settings.offsets_retention_check };
    cx.timers.set(Timer::ExpireOffsets, cx.moment.now + wait);
}

/// Collects what deletes the group's expired offsets, and the group itself if nothing is left of
/// it; says whether it is deleted.
fn expire_group(group: &Group, cx: &Cx<'_>, room: &mut Room, gone: &mut Vec<Record>) -> bool {
    let ages = Ages::of(group);
    let retention_ms = i64::try_from(cx.settings.offsets_retention.as_millis()).unwrap_or(i64::MAX);
    let reads = rules::reads(group);
    let mut kept = false;
    for (topic, partitions) in &group.offsets.by_topic {
        let is_read = reads.topic(topic) || retries::are_kept(cx, &group.id, topic);
        let is_gone = is_gone(cx, topic);
        let old = |value: &OffsetValue| ages.expired(value, cx.moment.wall_ms, retention_ms);
        for (partition, value) in partitions {
            let due = is_gone(value) || (!is_read && old(value));
            if due && room.take(&group.id, topic, 0) {
                gone.push(tombstone(&group.id, topic, *partition));
            } else {
                kept = true;
            }
        }
    }
    match rules::tombstones(group) {
        Ok(mut ends) if !kept => {
            gone.append(&mut ends);
            true
        }
        _ => false,
    }
}
