//! Delivering what is due: one chunk of a partition at a time, behind the round's messages.
//!
//! A chunk is planned from the machine, read back, and appended as a pair: the batch to the log,
//! the mark of how far all is out (W) to the journal. W moves in memory only after that; no crash
//! can undo the one and keep the other. Only what is durable in the journal is released, so that
//! no consumer sees a record that a crash could still take.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringTreemap;

use super::flight::JournalEnd;
use super::limits::Bounds;
use super::payload::{self, Place};
use super::seal::Sealed;
use super::{Delay, DelayHost};
use crate::base::crash_point;
use crate::base::metrics::Metrics;
use crate::base::settings::Durability;
use crate::delay::key::Key;
use crate::delay::note::{Mark, Note, Totals};
use crate::delay::release::{Delivered, Release};
use crate::delay::state::State;
use crate::delay::window::Slot;
use crate::log::error::AppendError;
use crate::log::partition::PartitionLog;
use crate::log::runs::Merge;
use crate::log::validate::{CompressionRule, ValidBatch};
use crate::shard::committer::{Submission, Submitted};
use crate::shard::landing::{Landing, Parked};
use crate::shard::produce::row;
use crate::shard::registry::Partition;
use crate::shard::worker::{Hosted, Shard, ShardDeps, report};
use crate::wire::compression::Codec;

/// Bytes of one chunk, unless a single record is larger, and of one round.
const CHUNK_BYTES: usize = 1 << 20;
/// Entries of one chunk.
const CHUNK_ENTRIES: usize = 16 << 10;
/// Partitions that are served in one round.
const PARTITIONS_PER_ROUND: usize = 64;
/// How long a partition is left alone after its disk refused, in milliseconds.
const RETRY_MS: i64 = 1_000;

/// Why a partition is not served further now.
#[derive(Clone, Copy)]
enum Pause {
    /// The first entry is due then, or nothing waits.
    Until(Option<i64>),
    /// What is due next is not durable yet, or too much is in flight: a landing tells.
    Landing,
}

/// What a chunk came to.
struct Done {
    submission: Option<Submission<Landing>>,
    bytes: usize,
    pause: Pause,
}

impl Done {
    const fn nothing(pause: Pause) -> Self {
        Self { submission: None, bytes: 0, pause }
    }
}

/// A record that goes out.
struct Leaving {
    ticket: i64,
    asked_due_ms: i64,
    base_timestamp_ms: i64,
    stored: Stored,
}

/// Where its bytes are.
enum Stored {
    Window(Place),
    /// In [`Chunk::from_runs`].
    Run(Range<usize>),
}

/// What goes out together.
struct Chunk {
    /// In order of delivery.
    entries: Vec<Leaving>,
    from_runs: Vec<u8>,
    /// Up to here all is out then; nothing if there is nothing to do.
    w: Option<Key>,
    bytes: usize,
    released: Totals,
    expired: Totals,
    pause: Pause,
}

impl Chunk {
    fn pass(&mut self, key: Key, expires_at_ms: i64, bytes: u32, now_ms: i64) -> bool {
        self.w = Some(key);
        let is_expired = expires_at_ms <= now_ms;
        let totals = if is_expired { &mut self.expired } else { &mut self.released };
        totals.add(bytes);
        if !is_expired {
            self.bytes += bytes as usize;
        }
        !is_expired
    }

    fn count(&self, metrics: &Metrics, now_ms: i64) {
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

impl Shard {
    /// Releases what is due, as much as one round may.
    pub(in crate::shard) fn release_due(&mut self) {
        let Self { deps, hosted, delays, round, .. } = self;
        if delays.turns.next_due_ms().is_none() {
            return;
        }
        let now_ms = deps.delay.now_ms();
        let mut left = CHUNK_BYTES;
        for _ in 0..PARTITIONS_PER_ROUND {
            let Some(tp) = delays.turns.next(now_ms) else { return };
            let Some(hosted) = hosted.get_mut(&tp) else { continue };
            let turn = Turn { deps, delays, now_ms };
            match turn.serve(hosted, left) {
                Ok(Done { submission, bytes, pause }) => {
                    round.extend(submission);
                    match pause {
                        Pause::Until(due_ms) => delays.turns.arm(tp, due_ms),
                        Pause::Landing => delays.grounded.push(tp),
                    }
                    left = left.saturating_sub(bytes);
                }
                Err(error) => {
                    report(&hosted.partition, &error, "delayed records have to wait");
                    if let Some(delay) = &mut hosted.delay {
                        delay.rewind();
                    }
                    delays.turns.arm(tp, Some(now_ms.saturating_add(RETRY_MS)));
                }
            }
            if left == 0 {
                return;
            }
        }
    }
}

impl DelayHost {
    /// Something that was submitted is durable: who waited for that may look again.
    pub(in crate::shard) fn landed(&mut self) {
        if !self.grounded.is_empty() && self.flight.has_landed() {
            for tp in std::mem::take(&mut self.grounded) {
                self.turns.arm(tp, Some(i64::MIN));
            }
        }
    }
}

/// One partition's turn.
struct Turn<'a> {
    deps: &'a ShardDeps,
    delays: &'a mut DelayHost,
    now_ms: i64,
}

impl Turn<'_> {
    fn serve(self, hosted: &mut Hosted, most_bytes: usize) -> io::Result<Done> {
        let Some(delay) = &mut hosted.delay else { return Ok(Done::nothing(Pause::Until(None))) };
        let tp = hosted.partition.tp;
        let rate = hosted.partition.rules.load().delay_limits.release_max;
        let now = self.deps.env.monotonic();
        let rates = &self.deps.delay.rates;
        let wait = rates.wait(tp.topic_id, rate, now);
        if !wait.is_zero() {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
            let open_ms = self.now_ms.saturating_add(wait_ms);
            return Ok(Done::nothing(Pause::Until(Some(open_ms))));
        }
        let most = rates.bounds(rate, Bounds { records: CHUNK_ENTRIES, bytes: most_bytes });
        let flight = &self.delays.flight;
        if !flight.has_room() && !flight.wait_unless(|| flight.has_room()) {
            return Ok(Done::nothing(Pause::Landing));
        }
        let view = Arc::clone(delay.journal.view());
        let mut durable = view.high_watermark();
        if delay.is_grounded(self.now_ms, durable) {
            flight.wait_unless(|| view.high_watermark() > durable);
            durable = view.high_watermark();
        }
        let Some(chunk) = delay.plan(self.now_ms, durable, most)? else {
            return Ok(Done::nothing(Pause::Until(None)));
        };
        match chunk.w {
            Some(w) => {
                let (deps, self_now_ms) = (self.deps, self.now_ms);
                let done = self.write(hosted, &chunk, w)?;
                deps.delay.rates.take(tp.topic_id, rate, chunk.released, now);
                chunk.count(&deps.metrics, self_now_ms);
                Ok(done)
            }
            None => Ok(Done::nothing(chunk.pause)),
        }
    }

    fn write(self, hosted: &mut Hosted, chunk: &Chunk, w: Key) -> io::Result<Done> {
        let Hosted { log, partition, delay: Some(delay), changed, .. } = hosted else {
            unreachable!("something is due here")
        };
        let Self { deps, delays, now_ms } = self;
        *changed = true;
        let Chunk { released, expired, pause, .. } = *chunk;
        let batch = delay.batch(chunk, partition, now_ms, &mut delays.buffer)?;
        let mark = Note::Mark(Mark { w, released, expired, clock_ms: now_ms });
        let noted = ValidBatch::own(mark.batch(now_ms)).map_err(io::Error::other)?;
        let mut pair = Pair { visible: batch, note: noted };
        pair.write(log, delay, now_ms).map_err(|error| {
            if let AppendError::Failed(error) = &error {
                deps.failed.set(&format!("writing to {:?}: {error}", partition.tp));
            }
            io::Error::other(error)
        })?;
        delay.state.as_mut().expect("it planned").note(&mark);
        crash_point::pass("release");
        if delay.has_sealing() || delay.has_passed_slice(w) {
            delays.has_unsealed(partition.tp);
        }
        let bytes = pair.visible.as_ref().map_or(0, ValidBatch::size_bytes);
        let (end, journal_end) = (log.end(), delay.journal.end());
        if deps.durability == Durability::PageCache {
            delay.journal.view().advance(&journal_end);
            partition.view.advance(&end);
            return Ok(Done { submission: None, bytes, pause });
        }
        let journal = JournalEnd::new(delay.journal.view(), journal_end, &delays.flight, bytes);
        let completion = Landing {
            view: Arc::clone(&partition.view),
            end,
            journal: Some(Box::new(journal)),
            parked: Parked::Nothing,
        };
        let visible = pair.visible.as_ref().map(|batch| row(partition.tp, batch));
        let rows = visible.into_iter().chain([row(partition.tp.journal(), &pair.note)]);
        let batches = rows.map(|row| Submitted { row, segment: None }).collect();
        Ok(Done { submission: Some(Submission { batches, completion }), bytes, pause })
    }
}

/// What is written at once. Without a visible batch, because all had expired, the note stands
/// alone.
struct Pair {
    visible: Option<ValidBatch>,
    note: ValidBatch,
}

impl Pair {
    fn write(
        &mut self,
        log: &mut PartitionLog,
        delay: &mut Delay,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        delay.align(log);
        if let Some(visible) = &mut self.visible {
            visible.set_paired(true);
            self.note.set_paired(true);
            delay.journal.ready(&self.note)?;
            log.ready(visible)?;
            log.append_judged(visible, now_ms)?;
            crash_point::pass("release-half");
            delay.append(&mut self.note, now_ms).map_err(AppendError::of_second_half)?;
        } else {
            delay.append(&mut self.note, now_ms)?;
        }
        delay.align(log);
        Ok(())
    }
}

impl Delay {
    /// Whether what is due next waits to be durable.
    fn is_grounded(&mut self, now_ms: i64, durable: i64) -> bool {
        let first = self.state.as_mut().and_then(State::first);
        first.is_some_and(|first| first.due_ms <= now_ms && first.ticket >= durable)
    }

    /// What goes out now: entries in order, up to the first that is not due, or whose ticket is
    /// not below `durable`, or that would be too much. `None` if nothing can be released here.
    ///
    /// # Errors
    /// The disk's own. What was passed of the runs is to be looked at again.
    fn plan(&mut self, now_ms: i64, durable: i64, most: Bounds) -> io::Result<Option<Chunk>> {
        let (Some(state), Some(sealed)) = (&mut self.state, &mut self.sealed) else {
            return Ok(None);
        };
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
                if passed > CHUNK_ENTRIES || chunk.is_full_for(entry.record.len(), most) {
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
            if passed > CHUNK_ENTRIES || chunk.is_full_for(slot.bytes as usize, most) {
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
        sealed.pass_lost(horizon.or(chunk.w).unwrap_or(w), w, cancelled, &mut chunk);
        if let Pause::Until(due_ms) = &mut chunk.pause {
            let lost = sealed.lost.first_key_value().map(|(key, _)| *key);
            let next = sealed.next.bound().into_iter().chain(windows.peek()).chain(lost).min();
            *due_ms = next.map(|key| key.due_ms);
        }
        Ok(Some(chunk))
    }

    /// The batch that consumers see; `None` if it would be empty.
    fn batch(
        &self,
        chunk: &Chunk,
        partition: &Partition,
        now_ms: i64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<ValidBatch>> {
        if chunk.entries.is_empty() {
            return Ok(None);
        }
        let place = |leaving: &Leaving| match leaving.stored {
            Stored::Window(place) => Some(place),
            Stored::Run(_) => None,
        };
        let places: Vec<Place> = chunk.entries.iter().filter_map(place).collect();
        let mut found = payload::read(&self.journal, &places, buffer)?.into_iter();
        let (codec, level) = codec(partition);
        let mut release = Release::new(partition.tp.partition, now_ms, usize::MAX, codec, level);
        for leaving in &chunk.entries {
            let record = match &leaving.stored {
                Stored::Window(_) => &buffer[found.next().unwrap_or_default()],
                Stored::Run(range) => &chunk.from_runs[range.clone()],
            };
            let delivered = Delivered {
                ticket: leaving.ticket,
                asked_due_ms: leaving.asked_due_ms,
                base_timestamp_ms: leaving.base_timestamp_ms,
                record,
            };
            release.push(&delivered).map_err(io::Error::other)?;
        }
        ValidBatch::own(release.into_batch()).map(Some).map_err(io::Error::other)
    }

    /// What was planned did not go out: the runs are read again from the release position on.
    fn rewind(&mut self) {
        if let (Some(state), Some(sealed)) = (&self.state, &mut self.sealed) {
            sealed.rewind(state);
        }
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

/// The topic's `compression.type`; records of many producers have none of their own.
fn codec(partition: &Partition) -> (Codec, Option<i32>) {
    match partition.rules.load().batch.compression {
        CompressionRule::To { codec, level } => (codec, level),
        CompressionRule::Producer => (Codec::None, None),
    }
}
