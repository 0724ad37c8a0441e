//! Expired records that are to become dead letters before the release position passes them
//! (`shard/retry/expired.rs`).

use std::io;

use rustc_hash::FxHashSet;

use super::plan::Chunk;
use super::{Delay, DelayShared};
use crate::base::ids::TopicPartition;
use crate::delay::decide::parse;
use crate::shard::retry::expired::Expired;
use crate::shard::worker::Shard;
use crate::wire::owned::OwnedRecord;

/// How long a partition is left alone after its dead letters could not be made, in milliseconds.
const RETRY_MS: i64 = 1_000;

/// What of a partition has been handed over.
#[derive(Default)]
pub(super) struct Burial {
    /// Tickets whose dead letters are durable.
    buried: FxHashSet<i64>,
    /// Tickets that were handed over last.
    handed: FxHashSet<i64>,
    /// Their dead letters are being made.
    busy: bool,
}

impl Burial {
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether an entry may have a dead letter: it can't be taken out any more.
    pub(super) fn holds(&self, ticket: i64) -> bool {
        self.handed.contains(&ticket)
    }

    /// Whether an entry has expired and has no dead letter yet.
    pub(super) fn awaits(&self, ticket: i64, expires_at_ms: i64, now_ms: i64) -> bool {
        expires_at_ms <= now_ms && !self.buried.contains(&ticket)
    }
}

impl Delay {
    /// Hands over a chunk of expired records; `false` if that can't be done now.
    pub(super) fn bury(
        &mut self,
        shared: &DelayShared,
        tp: TopicPartition,
        chunk: &Chunk,
        buffer: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut buried = FxHashSet::default();
        let mut records = Vec::with_capacity(chunk.entries.len());
        let mut stored = self.read_back(&chunk.entries, buffer)?;
        for leaving in &chunk.entries {
            match parse(stored.of(leaving, &chunk.from_runs)) {
                Ok(record) => {
                    let base_ms = leaving.base_timestamp_ms;
                    let timestamp_ms = base_ms.wrapping_add(record.timestamp_delta_ms);
                    records.push((leaving.ticket, OwnedRecord::of(&record, timestamp_ms)));
                }
                // There is nothing to bury: it is passed, and counted with the expired.
                Err(error) => {
                    let ticket = leaving.ticket;
                    tracing::error!(journal = ?tp, ticket, %error, "a delayed record is lost: it is damaged");
                    buried.insert(ticket);
                }
            }
        }
        // Those of before have been passed, or are known when they are handed over again.
        let handed = records.iter().map(|(ticket, _)| *ticket).collect();
        let busy = shared.bury(Expired { tp, records });
        self.burial = Burial { buried, handed, busy };
        Ok(busy)
    }
}

impl Shard {
    /// Dead letters are made, or could not be made.
    pub(in crate::shard) fn buried(&mut self, tp: TopicPartition, tickets: &[i64], done: bool) {
        let Self { deps, hosted, delays, .. } = self;
        let hosted = hosted.get_mut(&tp);
        let Some(delay) = hosted.and_then(|hosted| hosted.delay.as_mut()) else { return };
        delay.burial.busy = false;
        let next_ms = match done {
            true => i64::MIN,
            false => deps.delay.now_ms().saturating_add(RETRY_MS),
        };
        if done {
            delay.burial.buried.extend(tickets);
        }
        delays.turns.arm(tp, Some(next_ms));
    }
}
