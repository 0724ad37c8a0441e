//! What operators ask about a partition's delayed records: numbers, pages, and a cancel, which
//! is answered when it is durable.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Delay;
use super::decide::OnDisk;
use super::flight::JournalEnd;
use super::payload::{self, Place};
use crate::base::ids::TopicPartition;
use crate::base::settings::Durability;
use crate::delay::decide::{Decision, id_of, parse};
use crate::delay::note::Note;
use crate::delay::query::{Answer, Ask, Histogram, MOST_LISTED, Page, PageAsk, Pending, Summary};
use crate::delay::state::Outcome;
use crate::delay::window::Slot;
use crate::log::error::AppendError;
use crate::log::validate::ValidBatch;
use crate::shard::committer::{Submission, Submitted};
use crate::shard::landing::{Landing, Parked};
use crate::shard::produce::row;
use crate::shard::worker::{Hosted, Shard};

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
            (Some(_), Ask::Cancel { ticket }) => return self.cancel_delayed(tp, *ticket, done),
            (Some(delay), ask) => delay.answer(ask, now_ms).unwrap_or_else(|error| {
                Answer::Unavailable(format!("the journal can't be read: {error}"))
            }),
        };
        // A receiver that is gone has lost interest.
        let _ = done.send(answer);
    }

    fn cancel_delayed(&mut self, tp: TopicPartition, ticket: i64, done: oneshot::Sender<Answer>) {
        let Self { deps, hosted, delays, round, .. } = self;
        let Some(hosted) = hosted.get_mut(&tp) else { return };
        let now_ms = deps.delay.now_ms();
        let noted = match hosted.cancel(ticket, now_ms) {
            Ok(Ok(noted)) => noted,
            Ok(Err(outcome)) => return drop(done.send(Answer::Cancel(outcome))),
            Err(error) => {
                if let AppendError::Failed(error) = &error {
                    deps.failed.set(&format!("writing to {tp:?}: {error}"));
                }
                return drop(done.send(Answer::Unavailable(error.to_string())));
            }
        };
        let Hosted { log, partition, delay: Some(delay), .. } = hosted else {
            unreachable!("a note was written to its journal")
        };
        delays.turns.arm(tp, delay.next_due_ms());
        let (end, journal_end) = (log.end(), delay.journal.end());
        if deps.durability == Durability::PageCache {
            delay.journal.view().advance(&journal_end);
            return drop(done.send(Answer::Cancel(Outcome::Cancelled)));
        }
        let journal = JournalEnd::new(delay.journal.view(), journal_end, &delays.flight, 0);
        let told = move |durable: Result<(), _>| {
            let unsure = |fault| Answer::Unavailable(format!("it may be cancelled: {fault}"));
            let answer = durable.map(|()| Answer::Cancel(Outcome::Cancelled));
            drop(done.send(answer.unwrap_or_else(unsure)));
        };
        let completion = Landing {
            view: Arc::clone(&partition.view),
            end,
            journal: Some(Box::new(journal)),
            parked: Parked::Held(Box::new(told)),
        };
        let row = row(tp.journal(), &noted);
        let batches = [Submitted { row, segment: None }].into_iter().collect();
        round.push(Submission { batches, completion });
    }
}

impl Hosted {
    /// Writes a cancel to the journal. The inner error says why there is nothing to write.
    fn cancel(
        &mut self,
        ticket: i64,
        now_ms: i64,
    ) -> Result<Result<ValidBatch, Outcome>, AppendError> {
        let Some(delay) = &mut self.delay else { return Ok(Err(Outcome::Unknown)) };
        let Some(state) = &delay.state else {
            return Err(AppendError::Storage(io::Error::other(UNREADABLE)));
        };
        let mut on_disk = OnDisk::of(&delay.journal, delay.sealed.as_ref());
        let decision = state.decide_cancel(ticket, &mut on_disk).map_err(AppendError::Storage)?;
        let Decision::Cancelled(taken) = decision else { return Ok(Err(decision.outcome())) };
        let note = Note::Cancel(taken);
        let own = ValidBatch::own(note.batch(now_ms)).map_err(io::Error::other);
        let mut noted = own.map_err(AppendError::Storage)?;
        self.changed = true;
        delay.align(&mut self.log);
        delay.append(&mut noted, now_ms)?;
        delay.align(&mut self.log);
        delay.state.as_mut().expect("it decided").note(&note);
        Ok(Ok(noted))
    }
}

const UNREADABLE: &str = "what is delayed in this partition could not be read at start";

/// The answer of a partition without delayed records.
fn nothing(ask: &Ask, now_ms: i64) -> Answer {
    match ask {
        Ask::Summary => Answer::Summary(Summary::default()),
        Ask::Histogram => Answer::Histogram(Histogram::at(now_ms)),
        Ask::Pending(_) => Answer::Pending(Page::default()),
        Ask::Cancel { .. } => Answer::Cancel(Outcome::Unknown),
    }
}

impl Delay {
    fn answer(&mut self, ask: &Ask, now_ms: i64) -> io::Result<Answer> {
        let next_due_ms = self.next_due_ms();
        let Some(state) = &mut self.state else {
            return Ok(Answer::Unavailable(UNREADABLE.to_owned()));
        };
        Ok(match ask {
            Ask::Summary => Answer::Summary(Summary {
                pending: state.pending(),
                next_due_ms,
                memory_bytes: state.memory_bytes() as u64,
                run_bytes: 0,
                runs: 0,
            }),
            Ask::Histogram => {
                let mut histogram = Histogram::at(now_ms);
                state.waiting().for_each(|slot| histogram.add(slot.key.due_ms, 1));
                Answer::Histogram(histogram)
            }
            Ask::Pending(ask) => Answer::Pending(self.page(ask)?),
            Ask::Cancel { .. } => unreachable!("it is written before it is answered"),
        })
    }

    fn page(&mut self, ask: &PageAsk) -> io::Result<Page> {
        let Some(state) = &mut self.state else { return Ok(Page::default()) };
        let limit = ask.limit.min(MOST_LISTED);
        let mut slots: Vec<(i64, Slot)> = match &ask.id {
            Some(id) => {
                let mut on_disk = OnDisk::of(&self.journal, self.sealed.as_ref());
                let found = state.pending_with_id(id, &mut on_disk)?;
                let found = found.filter(|taken| taken.key > ask.after);
                found.and_then(|taken| state.entry(taken.key.ticket)).into_iter().collect()
            }
            None => state.after(ask.after.max(state.w())).take(limit + 1).collect(),
        };
        let more = slots.len() > limit;
        slots.truncate(limit);
        let place = |(segment, slot): &(i64, Slot)| Place {
            segment: *segment,
            position: slot.position,
            bytes: slot.bytes,
        };
        let places: Vec<Place> = slots.iter().map(place).collect();
        let mut buffer = Vec::new();
        let found = payload::read(&self.journal, &places, &mut buffer)?;
        let entries = slots.iter().zip(found);
        let entries = entries.map(|((_, slot), range)| listed(slot, &buffer[range])).collect();
        Ok(Page { entries, more })
    }
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
