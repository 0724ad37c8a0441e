//! Idempotent producers of one partition: which batch is new, which is a retry, which is refused.
//!
//! Pure: no file, no clock. Five batches are kept per producer, because a client may have five
//! requests in flight (KIP-98, KAFKA-5494). A retry of one of them writes nothing and gets the
//! old offsets, whatever became of the records since. Sequence ranges are kept beside offset
//! ranges, not derived from them, as a batch may cover fewer offsets than sequences.
//! [`Producers::judge`] only looks; [`Producers::record`] changes state after the write.

pub mod snapshot;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use thiserror::Error;

/// Batches remembered per producer.
pub const BATCHES_PER_PRODUCER: usize = 5;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTrace {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub last_offset: i64,
    /// The batch's max timestamp: what a retry is told on a topic stamped with append time.
    pub timestamp_ms: i64,
}

/// What is known of one producer; plain data, also for the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    /// Wall time of its last append, for expiry.
    pub last_seen_ms: i64,
    /// At most [`BATCHES_PER_PRODUCER`], oldest first, all of `epoch`.
    pub batches: SmallVec<[BatchTrace; BATCHES_PER_PRODUCER]>,
}

/// The producer's part of a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    pub producer_id: i64,
    pub epoch: i16,
    pub first_sequence: i32,
    pub last_sequence: i32,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// A retry of this batch: write nothing, answer with its offsets.
    Duplicate(BatchTrace),
}

/// Why a batch is refused. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// INVALID_PRODUCER_EPOCH (47): a newer instance of the producer has written.
    #[error("producer {producer_id} has epoch {current}, the batch came with epoch {found}")]
    Fenced { producer_id: i64, current: i16, found: i16 },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER (45): a batch is missing, or older than those remembered.
    #[error("producer {producer_id} is expected at sequence {expected}, the batch has {found}")]
    OutOfOrder { producer_id: i64, expected: i32, found: i32 },
}

/// The sequence number after `sequence`; they wrap from `i32::MAX` to 0.
#[must_use]
pub const fn sequence_after(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

impl ProducerState {
    /// The last sequence written in this epoch; -1 if there is none, so that 0 comes next.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |batch| batch.last_sequence)
    }

    fn duplicate_of(&self, batch: Sequenced) -> Option<BatchTrace> {
        let same = |known: &&BatchTrace| {
            known.first_sequence == batch.first_sequence
                && known.last_sequence == batch.last_sequence
        };
        self.batches.iter().find(same).copied()
    }

    fn merge(&mut self, other: &Self) {
        if other.epoch < self.epoch {
            return;
        }
        if other.epoch > self.epoch {
            self.batches.clear();
            self.epoch = other.epoch;
        }
        self.last_seen_ms = self.last_seen_ms.max(other.last_seen_ms);
        let own = std::mem::take(&mut self.batches);
        let mut all: SmallVec<[BatchTrace; 2 * BATCHES_PER_PRODUCER]> =
            own.into_iter().chain(other.batches.iter().copied()).collect();
        // Of two with one base offset the longer first, which stays.
        all.sort_unstable_by_key(|trace| (trace.base_offset, Reverse(trace.last_offset)));
        all.dedup_by_key(|trace| trace.base_offset);
        let surplus = all.len().saturating_sub(BATCHES_PER_PRODUCER);
        self.batches.extend(all.into_iter().skip(surplus));
    }

    fn remember(&mut self, trace: BatchTrace) {
        if self.batches.len() == BATCHES_PER_PRODUCER {
            self.batches.remove(0);
        }
        self.batches.push(trace);
    }
}

/// All producers of one partition.
#[derive(Clone, Debug)]
pub struct Producers {
    by_id: FxHashMap<i64, ProducerState>,
    max: usize,
}

impl Producers {
    /// Remembers at most `max` producers (at least one).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { by_id: FxHashMap::default(), max: max.max(1) }
    }

    /// Says what a produced batch is, without taking note of it.
    ///
    /// # Errors
    /// See [`SequenceError`]. A producer that is not known may start at any sequence: its state
    /// may have expired, and refusing it would be fatal to the client.
    pub fn judge(&self, batch: Sequenced) -> Result<Verdict, SequenceError> {
        let Some(known) = self.by_id.get(&batch.producer_id) else { return Ok(Verdict::Append) };
        let producer_id = batch.producer_id;
        if batch.epoch < known.epoch {
            let (current, found) = (known.epoch, batch.epoch);
            return Err(SequenceError::Fenced { producer_id, current, found });
        }
        let same_epoch = batch.epoch == known.epoch;
        if let Some(trace) = known.duplicate_of(batch).filter(|_| same_epoch) {
            return Ok(Verdict::Duplicate(trace));
        }
        let expected = if same_epoch { sequence_after(known.last_sequence()) } else { 0 };
        if batch.first_sequence == expected {
            return Ok(Verdict::Append);
        }
        Err(SequenceError::OutOfOrder { producer_id, expected, found: batch.first_sequence })
    }

    /// Takes note of a batch that was written, at `now_ms`. Also the replay of logged batches:
    /// one already noted changes nothing, unless it was noted with less than its full range, as
    /// the live part of a batch is that is divided between a log and its journal. One that does
    /// not follow is kept beside the others: what lay between may be deleted, or in the other log.
    pub fn record(
        &mut self,
        batch: Sequenced,
        offsets: (i64, i64),
        timestamp_ms: i64,
        now_ms: i64,
    ) {
        let (base_offset, last_offset) = offsets;
        let state = self.by_id.entry(batch.producer_id).or_insert_with(|| ProducerState {
            producer_id: batch.producer_id,
            epoch: batch.epoch,
            last_seen_ms: now_ms,
            batches: SmallVec::new(),
        });
        let trace = BatchTrace {
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence,
            base_offset,
            last_offset,
            timestamp_ms,
        };
        if let Some(last) = state.batches.last_mut()
            && base_offset <= last.last_offset
        {
            if last.base_offset == base_offset && last.last_offset < last_offset {
                *last = trace;
            }
            return;
        }
        if state.epoch != batch.epoch {
            state.batches.clear();
        }
        state.epoch = batch.epoch;
        state.last_seen_ms = state.last_seen_ms.max(now_ms);
        state.remember(trace);
        if self.by_id.len() > self.max {
            self.forget_longest_silent();
        }
    }

    /// Takes over what another source knows, where that is newer.
    pub fn recall(&mut self, state: ProducerState) {
        let last_offset = |state: &ProducerState| state.batches.last().map(|last| last.last_offset);
        let is_newer = match self.by_id.get(&state.producer_id) {
            Some(known) => last_offset(known) < last_offset(&state),
            None => self.by_id.len() < self.max,
        };
        if is_newer {
            self.by_id.insert(state.producer_id, state);
        }
    }

    /// Brings together what a log and its journal know, each of its own batches: the newer epoch,
    /// and in one epoch the last batches by offset, each in its full range.
    pub fn merge(&mut self, other: &Self) {
        for state in other.by_id.values() {
            if let Some(known) = self.by_id.get_mut(&state.producer_id) {
                known.merge(state);
            } else if self.by_id.len() < self.max {
                self.by_id.insert(state.producer_id, state.clone());
            }
        }
    }

    /// Forgets who was last heard of `expiry_ms` ago or earlier.
    pub fn expire(&mut self, now_ms: i64, expiry_ms: i64) {
        self.by_id.retain(|_, state| now_ms.saturating_sub(state.last_seen_ms) < expiry_ms);
    }

    /// Drops a sixteenth at once, so that the cost per new producer stays flat.
    fn forget_longest_silent(&mut self) {
        let mut seen: Vec<(i64, i64)> =
            self.by_id.values().map(|state| (state.last_seen_ms, state.producer_id)).collect();
        seen.sort_unstable();
        let surplus = self.by_id.len() - self.max + self.max / 16;
        for (_, producer_id) in seen.into_iter().take(surplus) {
            self.by_id.remove(&producer_id);
        }
    }

    pub fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    #[must_use]
    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.by_id.get(&producer_id)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All states by rising producer id: for the checkpoint and for DescribeProducers.
    #[must_use]
    pub fn to_checkpoint(&self) -> Vec<ProducerState> {
        let mut states: Vec<ProducerState> = self.by_id.values().cloned().collect();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }

    /// The inverse of [`Producers::to_checkpoint`].
    #[must_use]
    pub fn from_checkpoint(states: Vec<ProducerState>, max: usize) -> Self {
        let mut producers = Self::new(max);
        producers.by_id = states.into_iter().map(|state| (state.producer_id, state)).collect();
        producers
    }

    /// Asserts what must hold between calls.
    pub fn check(&self) {
        assert!(self.by_id.len() <= self.max, "more producers than allowed");
        for (producer_id, state) in &self.by_id {
            assert_eq!(*producer_id, state.producer_id, "filed under another id");
            assert!(state.batches.len() <= BATCHES_PER_PRODUCER, "too many batches kept");
            for pair in state.batches.windows(2) {
                assert!(pair[0].last_offset < pair[1].base_offset, "offsets rise");
            }
        }
    }
}
