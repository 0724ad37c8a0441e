//! What operators ask about a partition's delayed records: numbers, pages, and a cancel, which
//! is answered when it is durable.

use std::io;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Delay;
use super::copied::UNREADABLE;
use super::decide::OnDisk;
use super::payload::{self, Place};
use crate::base::ids::TopicPartition;
use crate::delay::decide::{Decision, id_of, parse};
use crate::delay::key::Key;
use crate::delay::note::Note;
use crate::delay::query::{
    Answer, Ask, BUCKET_BOUNDS_MS, Histogram, MOST_LISTED, Page, PageAsk, Pending, Summary,
};
use crate::delay::state::{Outcome, State};
use crate::delay::window::Slot;
use crate::log::error::AppendError;
use crate::log::runs::{Entry, OwnedEntry, Runs};
use crate::log::validate::ValidBatch;
use crate::shard::worker::{Hosted, Shard, ShardDeps};

impl Shard {
    /// Answers, unless the partition is not here: the asker sees that its question was dropped.
    pub(in crate::shard) fn answer_delays(
        &mut self,
        tp: TopicPartition,
        ask: &Ask,
        done: oneshot::Sender<Answer>,
    ) {
        let Some(hosted) = self.hosted.get_mut(&tp) else { return };
        let now_ms = self.deps.delay.now_ms();
        let answer = match (&mut hosted.delay, ask) {
            (None, ask) => nothing(ask, now_ms),
            (Some(_), Ask::Cancel { ticket }) => {
                return self.cancel_delayed(tp, *ticket, |answer| drop(done.send(answer)));
            }
            (Some(delay), ask) => delay.answer(ask, now_ms).unwrap_or_else(|error| {
                Answer::Unavailable(format!("the journal can't be read: {error}"))
            }),
        };
        // A receiver that is gone has lost interest.
        let _ = done.send(answer);
    }

    pub(super) fn cancel_delayed(
        &mut self,
        tp: TopicPartition,
        ticket: i64,
        done: impl FnOnce(Answer) + Send + 'static,
    ) {
        let Self { deps, hosted, .. } = self;
        let Some(hosted) = hosted.get_mut(&tp) else { return };
        let noted = match hosted.cancel(deps, ticket) {
            Ok(Ok(noted)) => noted,
            Ok(Err(outcome)) => return done(Answer::Cancel(outcome)),
            Err(error) => return done(Answer::Unavailable(error.to_string())),
        };
        if let Some(delay) = &mut hosted.delay {
            delay.count(&deps.metrics);
        }
        let told = move |durable: Result<(), _>| {
            let unsure = |fault| Answer::Unavailable(format!("it may be cancelled: {fault}"));
            let answer = durable.map(|()| Answer::Cancel(Outcome::Cancelled));
            done(answer.unwrap_or_else(unsure));
        };
        self.land_in_journal(tp, Some(&noted), Box::new(told));
    }
}

impl Hosted {
    /// Writes a cancel to the journal. The inner error says why there is nothing to write.
    fn cancel(
        &mut self,
        deps: &ShardDeps,
        ticket: i64,
    ) -> Result<Result<ValidBatch, Outcome>, AppendError> {
        let Some(delay) = &self.delay else { return Ok(Err(Outcome::Unknown)) };
        let Some(state) = &delay.state else {
            return Err(AppendError::Storage(io::Error::other(UNREADABLE)));
        };
        let mut on_disk = OnDisk::of(&delay.journal, delay.sealed.as_ref());
        let decision = state.decide_cancel(ticket, &mut on_disk).map_err(AppendError::Storage)?;
        let Decision::Cancelled(taken) = decision else { return Ok(Err(decision.outcome())) };
        if delay.burial.holds(taken.key.ticket) {
            return Ok(Err(Outcome::TooLate));
        }
        self.append_note(deps, &Note::Cancel(taken)).map(Ok)
    }
}

/// Cancelled entries of runs that a page may pass.
const MOST_PASSED: usize = 64 << 10;

/// The answer of a partition without delayed records.
fn nothing(ask: &Ask, now_ms: i64) -> Answer {
    match ask {
        Ask::Summary => Answer::Summary(Summary::default()),
        Ask::Histogram => Answer::Histogram(Histogram::at(now_ms)),
        Ask::Pending(_) => Answer::Pending(Page::default()),
        Ask::Outcome { .. } => Answer::Outcome(None),
        Ask::Cancel { .. } => Answer::Cancel(Outcome::Unknown),
        Ask::Waits(_) => Answer::Waits(false),
    }
}

impl Delay {
    fn answer(&mut self, ask: &Ask, now_ms: i64) -> io::Result<Answer> {
        if let Ask::Waits(named) = ask {
            return Ok(Answer::Waits(self.find(named)?.is_some()));
        }
        let next_due_ms = self.next_due_ms();
        let Self { journal, state: Some(state), sealed, .. } = self else {
            return Ok(Answer::Unavailable(UNREADABLE.to_owned()));
        };
        let on_disk = OnDisk::of(journal, sealed.as_ref());
        Ok(match ask {
            Ask::Summary => {
                let runs = on_disk.runs.map_or(&[][..], Runs::all);
                let slices = runs.iter().flat_map(|run| &run.meta().slices);
                Answer::Summary(Summary {
                    pending: state.pending(),
                    next_due_ms,
                    memory_bytes: state.memory_bytes() as u64,
                    run_bytes: slices.map(|slice| slice.file_bytes).sum(),
                    runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
                })
            }
            Ask::Histogram => Answer::Histogram(on_disk.histogram(state, now_ms)?),
            Ask::Pending(ask) => Answer::Pending(on_disk.page(state, ask)?),
            Ask::Outcome { offset } => Answer::Outcome(state.outcome(*offset)),
            Ask::Cancel { .. } | Ask::Waits(_) => unreachable!("they are answered elsewhere"),
        })
    }
}

impl OnDisk<'_> {
    fn histogram(&self, state: &State, now_ms: i64) -> io::Result<Histogram> {
        let mut histogram = Histogram::at(now_ms);
        state.waiting().for_each(|slot| histogram.add(slot.key.due_ms, 1));
        let Some(runs) = self.runs else { return Ok(histogram) };
        let in_windows: u64 = histogram.records.iter().sum();
        let in_runs = state.pending().records.saturating_sub(in_windows);
        // What was passed or cancelled is still in files: never more than there are.
        let passed = runs.count_below(state.w().due_ms)?;
        let mut below = 0;
        for bound_ms in BUCKET_BOUNDS_MS {
            let due_ms = now_ms.saturating_add(bound_ms);
            let count = runs.count_below(due_ms.saturating_add(1))?;
            let count = count.saturating_sub(passed).clamp(below, in_runs);
            histogram.add(due_ms, count - below);
            below = count;
        }
        histogram.add(i64::MAX, in_runs - below);
        Ok(histogram)
    }

    fn page(&self, state: &mut State, ask: &PageAsk) -> io::Result<Page> {
        let limit = ask.limit.min(MOST_LISTED);
        let mut entries = match &ask.id {
            Some(id) => {
                let found = self.with_id_listed(state, id)?;
                found.filter(|entry| entry.key > ask.after).into_iter().collect()
            }
            None => {
                let after = ask.after.max(state.w());
                let slots = state.after(after).take(limit + 1).collect();
                let mut entries = self.of_windows(slots)?;
                entries.extend(self.of_runs(state, after, limit + 1)?);
                entries.sort_unstable_by_key(|entry| entry.key);
                entries
            }
        };
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, more })
    }

    fn with_id_listed(&self, state: &State, id: &[u8]) -> io::Result<Option<Pending>> {
        let mut on_disk = *self;
        let Some(taken) = state.pending_with_id(id, &mut on_disk)? else { return Ok(None) };
        if let Some(entry) = state.entry(taken.key.ticket) {
            return Ok(self.of_windows(vec![entry])?.pop());
        }
        let entry = self.runs.map(|runs| runs.get(taken.key)).transpose();
        let entry = entry.map_err(io::Error::other)?.flatten();
        Ok(entry.map(|entry: OwnedEntry| of_run(&entry, &entry.record)))
    }

    fn of_windows(&self, slots: Vec<(i64, Slot)>) -> io::Result<Vec<Pending>> {
        let place = |(segment, slot): &(i64, Slot)| Place {
            segment: *segment,
            position: slot.position,
            bytes: slot.bytes,
        };
        let places: Vec<Place> = slots.iter().map(place).collect();
        let mut buffer = Vec::new();
        let found = payload::read(self.journal, &places, &mut buffer)?;
        let entries = slots.iter().zip(found);
        Ok(entries.map(|((_, slot), range)| listed(slot, &buffer[range])).collect())
    }

    /// The first entries of runs behind a key, as far as a bounded look goes.
    fn of_runs(&self, state: &State, after: Key, most: usize) -> io::Result<Vec<Pending>> {
        let mut entries = Vec::new();
        let Some(runs) = self.runs else { return Ok(entries) };
        let mut merge = runs.after(after);
        for _ in 0..MOST_PASSED {
            let Some(key) = merge.peek(Key::new(i64::MAX, i64::MAX))? else { break };
            if let Some(entry) = merge.entry().filter(|_| !state.is_cancelled(key.ticket)) {
                entries.push(of_run(&entry, entry.record));
            }
            if entries.len() == most {
                break;
            }
            merge.advance();
        }
        Ok(entries)
    }
}

fn of_run<R>(entry: &Entry<R>, record: &[u8]) -> Pending {
    let slot = Slot {
        key: entry.key,
        asked_due_ms: entry.asked_due_ms,
        accepted_ms: entry.accepted_ms,
        base_timestamp_ms: entry.base_timestamp_ms,
        expires_at_ms: entry.expires_at_ms,
        position: 0,
        bytes: u32::try_from(record.len()).unwrap_or(u32::MAX),
    };
    listed(&slot, record)
}

fn listed(slot: &Slot, record: &[u8]) -> Pending {
    let key = parse(record).ok().and_then(|record| record.key);
    Pending {
        key: slot.key,
        asked_due_ms: slot.asked_due_ms,
        accepted_ms: slot.accepted_ms,
        expires_at_ms: Some(slot.expires_at_ms).filter(|at_ms| *at_ms != i64::MAX),
        id: id_of(record).map(Bytes::copy_from_slice),
        record_key: key.map(Bytes::copy_from_slice),
        bytes: slot.bytes,
    }
}
