//! Delivering what is due: one chunk of a partition at a time, behind the round's messages.
//!
//! A chunk is planned from the machine, read back, and appended as a pair: the batch to the log,
//! the mark of how far all is out (W) to the journal. W moves in memory only after that; no crash
//! can undo the one and keep the other. Only what is durable in the journal is released, so that
//! no consumer sees a record that a crash could still take.

use std::io;
use std::sync::Arc;

use super::flight::JournalEnd;
use super::payload::{self, Place};
use super::{Delay, DelayHost};
use crate::base::settings::Durability;
use crate::delay::key::Key;
use crate::delay::note::{Mark, Note, Totals};
use crate::delay::release::{Delivered, Release};
use crate::delay::state::State;
use crate::delay::window::Slot;
use crate::log::error::AppendError;
use crate::log::partition::PartitionLog;
use crate::log::validate::{CompressionRule, ValidBatch};
use crate::shard::committer::{Submission, Submitted};
use crate::shard::landing::{Landing, Parked};
use crate::shard::produce::row;
use crate::shard::registry::Partition;
use crate::shard::worker::{Hosted, Shard, ShardDeps, report};
use crate::wire::compression::Codec;

/// Bytes of one chunk, unless a single record is larger; and of one round.
const CHUNK_BYTES: usize = 1 << 20;
/// Entries of one chunk.
const CHUNK_ENTRIES: usize = 16 << 10;
/// Partitions that are served in one round.
const PARTITIONS_PER_ROUND: usize = 64;
/// How long a partition is left alone after its disk refused, in milliseconds.
const RETRY_MS: i64 = 1_000;

/// Why a partition is not served further now.
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

/// What goes out together.
struct Chunk {
    /// In order of delivery, each with the base offset of its journal segment.
    entries: Vec<(i64, Slot)>,
    w: Key,
    released: Totals,
    expired: Totals,
    pause: Pause,
}

impl Shard {
    /// Releases what is due, as much as one round may.
    pub(in crate::shard) fn release_due(&mut self) {
        let Self { deps, hosted, delays, round, .. } = self;
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
        let Some(chunk) = delay.plan(self.now_ms, durable, most_bytes) else {
            return Ok(Done::nothing(Pause::Until(None)));
        };
        match chunk.w > Key::MIN {
            true => self.write(hosted, chunk),
            false => Ok(Done::nothing(chunk.pause)),
        }
    }

    fn write(self, hosted: &mut Hosted, chunk: Chunk) -> io::Result<Done> {
        let Hosted { log, partition, delay: Some(delay), changed, .. } = hosted else {
            unreachable!("something is due here")
        };
        let Self { deps, delays, now_ms } = self;
        *changed = true;
        let Chunk { w, released, expired, pause, .. } = chunk;
        let batch = delay.batch(&chunk.entries, partition, now_ms, &mut delays.buffer)?;
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
    fn plan(&mut self, now_ms: i64, durable: i64, most_bytes: usize) -> Option<Chunk> {
        let state = self.state.as_mut()?;
        let mut chunk = Chunk {
            entries: Vec::new(),
            w: Key::MIN,
            released: Totals::default(),
            expired: Totals::default(),
            pause: Pause::Until(None),
        };
        let mut bytes = 0;
        for (segment, slot) in state.after(state.w()) {
            let is_full = bytes > 0 && bytes + slot.bytes as usize > most_bytes;
            if slot.key.due_ms > now_ms || is_full || chunk.entries.len() == CHUNK_ENTRIES {
                chunk.pause = Pause::Until(Some(slot.key.due_ms));
                break;
            }
            if slot.key.ticket >= durable {
                // Behind others it has its turn again, and then waits.
                let first = chunk.w == Key::MIN;
                chunk.pause =
                    if first { Pause::Landing } else { Pause::Until(Some(slot.key.due_ms)) };
                break;
            }
            chunk.w = slot.key;
            if slot.expires_at_ms <= now_ms {
                chunk.expired.add(slot.bytes);
            } else {
                chunk.released.add(slot.bytes);
                bytes += slot.bytes as usize;
                chunk.entries.push((segment, slot));
            }
        }
        Some(chunk)
    }

    /// The batch that consumers see; `None` if it would be empty.
    fn batch(
        &self,
        entries: &[(i64, Slot)],
        partition: &Partition,
        now_ms: i64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<ValidBatch>> {
        if entries.is_empty() {
            return Ok(None);
        }
        let place = |(segment, slot): &(i64, Slot)| Place {
            segment: *segment,
            position: slot.position,
            bytes: slot.bytes,
        };
        let places: Vec<Place> = entries.iter().map(place).collect();
        let found = payload::read(&self.journal, &places, buffer)?;
        let (codec, level) = codec(partition);
        let mut release = Release::new(partition.tp.partition, now_ms, usize::MAX, codec, level);
        for ((_, slot), range) in entries.iter().zip(found) {
            let delivered = Delivered {
                ticket: slot.key.ticket,
                asked_due_ms: slot.asked_due_ms,
                base_timestamp_ms: slot.base_timestamp_ms,
                record: &buffer[range],
            };
            release.push(&delivered).map_err(io::Error::other)?;
        }
        ValidBatch::own(release.into_batch()).map(Some).map_err(io::Error::other)
    }
}

/// The topic's `compression.type`; records of many producers have none of their own.
fn codec(partition: &Partition) -> (Codec, Option<i32>) {
    match partition.rules.load().batch.compression {
        CompressionRule::To { codec, level } => (codec, level),
        CompressionRule::Producer => (Codec::None, None),
    }
}
