//! Delivering what is due: one chunk of a partition at a time, behind the round's messages.
//!
//! A chunk is planned from the machine, read back, and appended as a pair: the batch to the log,
//! the mark of how far all is out (W) to the journal. W moves in memory only after that; no crash
//! can undo the one and keep the other. Only what is durable in the journal is released, so that
//! no consumer sees a record that a crash could still take.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::flight::Written;
use super::limits::Bounds;
use super::payload::{self, Place};
use super::plan::{CHUNK_ENTRIES, Chunk, Leaving, Pause, Stored};
use super::{Delay, DelayHost};
use crate::base::crash_point;
use crate::delay::key::Key;
use crate::delay::note::{Mark, Note};
use crate::delay::release::{Delivered, Release};
use crate::delay::state::State;
use crate::log::error::AppendError;
use crate::log::partition::PartitionLog;
use crate::log::validate::{CompressionRule, ValidBatch};
use crate::shard::committer::Submission;
use crate::shard::landing::{Landing, Parked};
use crate::shard::produce::row;
use crate::shard::registry::Partition;
use crate::shard::worker::{Hosted, Shard, ShardDeps, report};
use crate::wire::compression::Codec;

/// Bytes of one chunk, unless a single record is larger, and of one round.
const CHUNK_BYTES: usize = 512 << 10;
/// Partitions that are served in one round.
const PARTITIONS_PER_ROUND: usize = 64;
/// How long a partition is left alone after its disk refused, in milliseconds.
const RETRY_MS: i64 = 1_000;

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
        let landings = self.flight.landings();
        if std::mem::replace(&mut self.landings, landings) != landings {
            for tp in self.grounded.drain(..) {
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
        let Some(delay) = hosted.delay.as_mut().filter(|delay| !delay.burial.is_busy()) else {
            return Ok(Done::nothing(Pause::Until(None)));
        };
        let tp = hosted.partition.tp;
        let rules = hosted.partition.rules.load();
        let (rate, buries) = (rules.delay_limits.release_max, rules.bury_expired);
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
        let Some(mut chunk) = delay.plan(self.now_ms, durable, most, buries)? else {
            return Ok(Done::nothing(Pause::Until(None)));
        };
        let Some(w) = chunk.w else { return Ok(Done::nothing(chunk.pause)) };
        if chunk.is_burial {
            let is_begun = delay.bury(&self.deps.delay, tp, &chunk, &mut self.delays.buffer)?;
            delay.rewind();
            let again_ms = self.now_ms.saturating_add(RETRY_MS);
            return Ok(Done::nothing(Pause::Until((!is_begun).then_some(again_ms))));
        }
        let (deps, now_ms) = (self.deps, self.now_ms);
        let done = self.write(hosted, &mut chunk, w)?;
        deps.delay.rates.take(tp.topic_id, rate, chunk.released, now);
        chunk.count(&deps.metrics, now_ms);
        Ok(done)
    }

    fn write(self, hosted: &mut Hosted, chunk: &mut Chunk, w: Key) -> io::Result<Done> {
        let Hosted { log, partition, delay: Some(delay), changed, .. } = hosted else {
            unreachable!("something is due here")
        };
        let Self { deps, delays, now_ms } = self;
        *changed = true;
        let batch = delay.batch(chunk, partition, now_ms, &mut delays.buffer)?;
        let Chunk { released, expired, pause, .. } = *chunk;
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
        delay.note_mark(w);
        crash_point::pass("release");
        if delay.has_sealing() || delay.has_passed_slice(w) {
            delays.has_unsealed(partition.tp);
        }
        let bytes = pair.visible.as_ref().map_or(0, ValidBatch::size_bytes);
        let visible = pair.visible.as_ref().map(|batch| row(partition.tp, batch));
        let rows = visible.into_iter().chain([row(partition.tp.journal(), &pair.note)]).collect();
        let written = Written { rows, released_bytes: bytes, parked: Parked::Nothing };
        let submission = hosted.send_off(written, deps.durability, &delays.flight);
        Ok(Done { submission, bytes, pause })
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

    /// The batch that consumers see, `None` if it would be empty. What of the chunk no longer is a
    /// record leaves it as what has expired.
    fn batch(
        &self,
        chunk: &mut Chunk,
        partition: &Partition,
        now_ms: i64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<ValidBatch>> {
        if chunk.entries.is_empty() {
            return Ok(None);
        }
        let (codec, level) = codec(partition);
        let mut release = Release::new(partition.tp.partition, now_ms, usize::MAX, codec, level);
        let mut stored = self.read_back(&chunk.entries, buffer)?;
        let Chunk { entries, from_runs, released, expired, .. } = chunk;
        entries.retain(|leaving| {
            let record = stored.of(leaving, from_runs);
            let delivered = Delivered {
                ticket: leaving.ticket,
                asked_due_ms: leaving.asked_due_ms,
                base_timestamp_ms: leaving.base_timestamp_ms,
                record,
            };
            let Err(error) = release.push(&delivered) else { return true };
            // Nothing waits behind it.
            let (journal, ticket) = (self.journal.identity().tp, leaving.ticket);
            tracing::error!(?journal, ticket, %error, "a delayed record is lost: it is damaged");
            let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
            released.take(bytes);
            expired.add(bytes);
            false
        });
        if release.record_count() == 0 {
            return Ok(None);
        }
        ValidBatch::own(release.into_batch()).map(Some).map_err(io::Error::other)
    }

    /// Reads those of some records that are in windows.
    pub(super) fn read_back<'b>(
        &self,
        entries: &[Leaving],
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<ReadBack<'b>> {
        let place = |leaving: &Leaving| match leaving.stored {
            Stored::Window(place) => Some(place),
            Stored::Run(_) => None,
        };
        let places: Vec<Place> = entries.iter().filter_map(place).collect();
        let found = payload::read(&self.journal, &places, buffer)?.into_iter();
        Ok(ReadBack { found, buffer })
    }

    /// What was planned did not go out: the runs are read again from the release position on.
    fn rewind(&mut self) {
        if let (Some(state), Some(sealed)) = (&self.state, &mut self.sealed) {
            sealed.rewind(state);
        }
    }
}

/// Records of windows, to be asked for in the order in which they were read.
pub(super) struct ReadBack<'b> {
    found: std::vec::IntoIter<Range<usize>>,
    buffer: &'b [u8],
}

impl<'b> ReadBack<'b> {
    /// The record of the next entry, with its length field.
    pub(super) fn of(&mut self, leaving: &Leaving, from_runs: &'b [u8]) -> &'b [u8] {
        match &leaving.stored {
            Stored::Window(_) => &self.buffer[self.found.next().unwrap_or_default()],
            Stored::Run(range) => &from_runs[range.clone()],
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
