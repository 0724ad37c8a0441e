//! What goes out of a partition next: windows and runs as one sequence, up to what is due and
//! durable, and to what one chunk may be.

use std::io;
use std::ops::Range;
use std::time::Duration;

use roaring::RoaringTreemap;

use super::Delay;
use super::limits::Bounds;
use super::payload::Place;
use super::seal::Sealed;
use crate::base::metrics::Metrics;
use crate::delay::key::Key;
use crate::delay::note::Totals;
use crate::delay::window::Slot;
use crate::log::runs::Merge;

/// Entries of one chunk.
pub(super) const CHUNK_ENTRIES: usize = 16 << 10;

/// Why a partition is not served further now.
#[derive(Clone, Copy)]
pub(super) enum Pause {
    /// The first entry is due then, or nothing waits.
    Until(Option<i64>),
    /// What is due next is not durable yet, or too much is in flight: a landing tells.
    Landing,
}

/// A record that goes out.
pub(super) struct Leaving {
    pub(super) ticket: i64,
    pub(super) asked_due_ms: i64,
    pub(super) base_timestamp_ms: i64,
    pub(super) stored: Stored,
}

/// Where its bytes are.
pub(super) enum Stored {
    Window(Place),
    /// In [`Chunk::from_runs`].
    Run(Range<usize>),
}

/// What goes out together.
pub(super) struct Chunk {
    /// In order of delivery.
    pub(super) entries: Vec<Leaving>,
    pub(super) from_runs: Vec<u8>,
    /// Up to here all is out then; nothing if there is nothing to do.
    pub(super) w: Option<Key>,
    bytes: usize,
    pub(super) released: Totals,
    pub(super) expired: Totals,
    pub(super) pause: Pause,
    /// All of it has expired, and is to be buried before it is passed.
    pub(super) is_burial: bool,
}

impl Chunk {
    /// Whether an entry goes with the others, of which the first decides: what is to be buried goes
    /// by itself.
    fn takes(&mut self, is_burial: bool) -> bool {
        if self.w.is_none() {
            self.is_burial = is_burial;
        }
        self.is_burial == is_burial
    }

    fn pass(&mut self, key: Key, expires_at_ms: i64, bytes: u32, now_ms: i64) -> bool {
        self.w = Some(key);
        let is_expired = expires_at_ms <= now_ms && !self.is_burial;
        let totals = if is_expired { &mut self.expired } else { &mut self.released };
        totals.add(bytes);
        if !is_expired {
            self.bytes += bytes as usize;
        }
        !is_expired
    }

    pub(super) fn count(&self, metrics: &Metrics, now_ms: i64) {
        metrics.delay_released_records.add(self.released.records);
        metrics.delay_released_bytes.add(self.released.bytes);
        metrics.delay_expired_records.add(self.expired.records);
        for leaving in &self.entries {
            let late_ms = u64::try_from(now_ms.saturating_sub(leaving.asked_due_ms)).unwrap_or(0);
            metrics.delay_late_seconds.record_time(Duration::from_millis(late_ms));
        }
    }

    fn is_full_for(&self, bytes: usize, most: Bounds) -> bool {
        let is_large = self.bytes > 0 && self.bytes + bytes > most.bytes;
        is_large || self.entries.len() >= most.records
    }
}

impl Delay {
    /// What goes out now: entries in order, up to the first that is not due, or whose ticket is
    /// not below `durable`, or that would be too much. `None` if nothing can be released here.
    ///
    /// # Errors
    /// The disk's own. What was passed of the runs is to be looked at again.
    pub(super) fn plan(
        &mut self,
        now_ms: i64,
        durable: i64,
        most: Bounds,
        buries: bool,
    ) -> io::Result<Option<Chunk>> {
        let Self { state: Some(state), sealed: Some(sealed), burial, .. } = self else {
            return Ok(None);
        };
        let buried = |ticket, expires_at_ms| buries && burial.awaits(ticket, expires_at_ms, now_ms);
        let w = state.w();
        let (mut windows, cancelled) = state.upcoming();
        let limit = Key::new(now_ms, i64::MAX);
        let mut chunk = Chunk {
            entries: Vec::new(),
            from_runs: Vec::new(),
            w: None,
            bytes: 0,
            released: Totals::default(),
            expired: Totals::default(),
            pause: Pause::Until(None),
            is_burial: false,
        };
        let mut passed = 0;
        // Up to here nothing is left that could be delivered.
        let mut horizon = None;
        loop {
            let in_run = peek(&mut sealed.next, w, cancelled, limit)?;
            let in_window = windows.peek().filter(|key| *key <= limit);
            let Some(key) = in_run.into_iter().chain(in_window).min() else {
                horizon = Some(limit);
                break;
            };
            passed += 1;
            if in_run == Some(key) {
                let entry = sealed.next.entry().expect("it was just looked at");
                let is_buried = buried(key.ticket, entry.expires_at_ms);
                if passed > CHUNK_ENTRIES
                    || chunk.is_full_for(entry.record.len(), most)
                    || !chunk.takes(is_buried)
                {
                    break;
                }
                let bytes = u32::try_from(entry.record.len()).unwrap_or(u32::MAX);
                if chunk.pass(key, entry.expires_at_ms, bytes, now_ms) {
                    let begin = chunk.from_runs.len();
                    chunk.from_runs.extend_from_slice(entry.record);
                    chunk.entries.push(Leaving {
                        ticket: key.ticket,
                        asked_due_ms: entry.asked_due_ms,
                        base_timestamp_ms: entry.base_timestamp_ms,
                        stored: Stored::Run(begin..chunk.from_runs.len()),
                    });
                }
                sealed.next.advance();
                continue;
            }
            if key.ticket >= durable {
                // Behind others it has its turn again, and then waits.
                if chunk.w.is_none() {
                    chunk.pause = Pause::Landing;
                }
                break;
            }
            let Some((segment, slot)) = windows.front() else { break };
            let is_buried = buried(key.ticket, slot.expires_at_ms);
            if passed > CHUNK_ENTRIES
                || chunk.is_full_for(slot.bytes as usize, most)
                || !chunk.takes(is_buried)
            {
                break;
            }
            windows.next();
            if chunk.pass(key, slot.expires_at_ms, slot.bytes, now_ms) {
                let Slot { position, bytes, asked_due_ms, base_timestamp_ms, .. } = slot;
                chunk.entries.push(Leaving {
                    ticket: key.ticket,
                    asked_due_ms,
                    base_timestamp_ms,
                    stored: Stored::Window(Place { segment, position, bytes }),
                });
            }
        }
        if !chunk.is_burial {
            sealed.pass_lost(horizon.or(chunk.w).unwrap_or(w), w, cancelled, &mut chunk);
        }
        if let Pause::Until(due_ms) = &mut chunk.pause {
            let lost = sealed.lost.first_key_value().map(|(key, _)| *key);
            let next = sealed.next.bound().into_iter().chain(windows.peek()).chain(lost).min();
            *due_ms = next.map(|key| key.due_ms);
        }
        Ok(Some(chunk))
    }
}

/// The next entry of the runs that is pending, if it is within `limit`. Those that are out are
/// passed.
fn peek(
    next: &mut Merge,
    w: Key,
    cancelled: &RoaringTreemap,
    limit: Key,
) -> io::Result<Option<Key>> {
    while let Some(key) = next.peek(limit)? {
        let is_cancelled = cancelled.contains(key.ticket.cast_unsigned());
        if key > w && !is_cancelled {
            return Ok(Some(key));
        }
        next.advance();
    }
    Ok(None)
}

impl Sealed {
    /// What damage took of the runs is out when its turn has come, as what has expired: nothing
    /// waits behind it, and the release position passes nothing that can still be delivered.
    fn pass_lost(&mut self, up_to: Key, w: Key, cancelled: &RoaringTreemap, chunk: &mut Chunk) {
        for lost in self.next.take_lost() {
            tracing::error!(?lost, "delayed records are lost: a run is damaged");
            self.damaged.push(lost.run);
            let run = self.runs.all().iter().find(|run| run.meta().id == lost.run);
            let tickets = run.map(|run| run.keys_within(lost.from, lost.below));
            let Some(Ok(tickets)) = tickets else { continue };
            self.lost.extend(tickets.into_iter().map(|ticket| (ticket.key, ticket.record_bytes)));
        }
        while let Some(first) = self.lost.first_entry().filter(|first| *first.key() <= up_to) {
            let (key, record_bytes) = first.remove_entry();
            if key > w && !cancelled.contains(key.ticket.cast_unsigned()) {
                chunk.expired.add(u32::try_from(record_bytes).unwrap_or(u32::MAX));
                chunk.w = chunk.w.max(Some(key));
            }
        }
    }
}
