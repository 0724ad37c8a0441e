//! Taking a batch with delayed records: the log's producers judge it, the machine decides what it
//! does to what is pending, and it goes to the journal, its live records beside it to the log.

use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::decide::{Decisions, noted};
use super::elsewhere::{Offer, offers};
use super::flight::JournalEnd;
use crate::base::crash_point;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::settings::Durability;
use crate::delay::decide::Decision;
use crate::delay::ids::hash64;
use crate::delay::note::Totals;
use crate::delay::state::{Put, State};
use crate::log::error::AppendError;
use crate::log::partition::Appended;
use crate::log::validate::divert::{Entry, What};
use crate::log::validate::{Diverted, ValidBatch};
use crate::shard::append::Acks;
use crate::shard::committer::{Submission, Submitted};
use crate::shard::landing::{Landing, Parked};
use crate::shard::produce::row;
use crate::shard::retry::copy::CopySet;
use crate::shard::tally::{Accepted, Ack, AppendResult, Refused};
use crate::shard::worker::{Hosted, Shard, ShardDeps};

/// A batch with delayed records.
pub(in crate::shard) struct Delayed {
    pub(in crate::shard) live: Option<ValidBatch>,
    pub(in crate::shard) diverted: Box<Diverted>,
    /// Of the batch's nacks.
    pub(in crate::shard) copies: Vec<CopySet>,
}

/// What became of it.
struct Outcome {
    base_offset: i64,
    accepted_ms: i64,
    /// A retry: nothing was written.
    duplicate: bool,
    /// What its commands did not find here.
    offers: Vec<Offer>,
}

impl Shard {
    pub(in crate::shard) fn append_delayed(
        &mut self,
        tp: TopicPartition,
        mut batch: Delayed,
        acks: Acks,
        ack: Ack,
    ) {
        if let Err(refused) = self.copy_ahead(tp, &batch) {
            return ack.complete(Err(refused));
        }
        let Self { deps, hosted, delays, round, .. } = self;
        let Some(hosted) = hosted.get_mut(&tp) else {
            return ack.complete(Err(Fault::new(Code::NotLeaderOrFollower).into()));
        };
        let log_start_offset = hosted.log.view().log_start();
        let accepted_ms = deps.delay.accept_ms();
        let outcome = match hosted.accept(deps, &mut batch, accepted_ms) {
            Ok(outcome) => outcome,
            Err(refused) => return ack.complete(Err(refused.by_log(log_start_offset))),
        };
        let result: AppendResult = Ok(Accepted {
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.accepted_ms,
            log_start_offset,
        });
        let Hosted { log, partition, delay: Some(delay), .. } = hosted else {
            unreachable!("a batch was accepted into its journal")
        };
        delays.appended(deps, tp, delay);
        let (end, journal_end) = (log.end(), delay.journal.end());
        if deps.durability == Durability::PageCache {
            delay.journal.view().advance(&journal_end);
            partition.view.advance(&end);
            ack.complete(result);
            return self.offer_elsewhere(tp, &outcome.offers);
        }
        let parked = match acks {
            Acks::All => Parked::Produced(ack, result),
            Acks::Leader | Acks::None => {
                ack.complete(result);
                Parked::Nothing
            }
        };
        let mut batches = SmallVec::new();
        if !outcome.duplicate {
            let live = batch.live.as_ref().map(|live| row(tp, live));
            let rows = live.into_iter().chain([row(tp.journal(), &batch.diverted.batch)]);
            batches.extend(rows.map(|row| Submitted { row, segment: None }));
        }
        let journal = JournalEnd::new(delay.journal.view(), journal_end, &delays.flight, 0);
        let view = Arc::clone(&partition.view);
        let completion = Landing { view, end, journal: Some(Box::new(journal)), parked };
        round.push(Submission { batches, completion });
        self.offer_elsewhere(tp, &outcome.offers);
    }

    /// Makes the copies that a batch's nacks ask for, unless the batch is a retry or is going to be
    /// refused. They are before it in both memory and commit log: a crash leaves no nack without
    /// its copy, and a copy without its nack is known when the nack comes again.
    fn copy_ahead(&mut self, tp: TopicPartition, batch: &Delayed) -> Result<(), Refused> {
        if batch.copies.is_empty() {
            return Ok(());
        }
        let hosted = self.hosted.get_mut(&tp).ok_or(Fault::new(Code::NotLeaderOrFollower))?;
        if !hosted.would_accept(&self.deps, batch)? {
            return Ok(());
        }
        for set in &batch.copies {
            self.copy_with_nack(set)?;
        }
        crash_point::pass("nack-copied");
        Ok(())
    }
}

impl Hosted {
    /// Whether a batch is new; asked before anything is done for it.
    fn would_accept(&mut self, deps: &ShardDeps, batch: &Delayed) -> Result<bool, Refused> {
        self.begin_delay(deps)
            .map_err(|error| Fault::with(Code::KafkaStorageError, error.to_string()))?;
        if self.log.judge(batch.diverted.batch.header()).map_err(refused)?.is_some() {
            return Ok(false);
        }
        self.plan(batch, deps.delay.accept_ms())?;
        Ok(true)
    }

    fn accept(
        &mut self,
        deps: &ShardDeps,
        batch: &mut Delayed,
        accepted_ms: i64,
    ) -> Result<Outcome, Refused> {
        if deps.failed.is_set() {
            let failed = io::Error::other("the data directory has failed");
            return Err(refused(AppendError::Failed(failed)));
        }
        self.begin_delay(deps)
            .map_err(|error| Fault::with(Code::KafkaStorageError, error.to_string()))?;
        let header = *batch.diverted.batch.header();
        if let Some(first) = self.log.judge(&header).map_err(refused)? {
            let (base_offset, accepted_ms) = (first.base_offset, first.first_ms);
            return Ok(Outcome { base_offset, accepted_ms, duplicate: true, offers: Vec::new() });
        }
        let (decisions, offers) = self.decide(batch, accepted_ms)?;
        self.changed = true;
        let journaled = self.write(batch, accepted_ms).map_err(|error| {
            self.log.note_unwritten(&header);
            if let AppendError::Failed(error) = &error {
                deps.failed.set(&format!("writing to {:?}: {error}", self.partition.tp));
            }
            refused(error)
        })?;
        self.apply(&batch.diverted, &journaled, decisions, accepted_ms);
        self.delay.as_mut().expect("it was begun").count(&deps.metrics);
        let base_offset = journaled.base_offset;
        deps.metrics.produce_bytes.add(batch.diverted.batch.size_bytes() as u64);
        deps.metrics.produce_records.add(u64::from(header.last_offset_delta.unsigned_abs()) + 1);
        Ok(Outcome { base_offset, accepted_ms, duplicate: false, offers })
    }

    /// Decides, and notes in the batch what is not plain.
    fn decide(
        &mut self,
        batch: &mut Delayed,
        accepted_ms: i64,
    ) -> Result<(Decisions, Vec<Offer>), Refused> {
        let partition = self.partition.tp.partition;
        let decisions = self.plan(batch, accepted_ms)?;
        let offers = decisions.as_ref().map(|all| offers(partition, &batch.diverted, all));
        if let Some(decisions) = &decisions
            && decisions.iter().any(|decision| decision.victim().is_some())
        {
            batch.diverted.batch = noted(&batch.diverted, decisions)?;
        }
        Ok((decisions, offers.unwrap_or_default()))
    }

    /// What the batch does to what is pending, if there is room for it.
    fn plan(&mut self, batch: &Delayed, accepted_ms: i64) -> Result<Decisions, Refused> {
        let delay = self.delay.as_mut().expect("it was begun");
        delay.align(&mut self.log);
        let pending = delay.state.as_ref().map_or_else(Totals::default, State::pending);
        let limits = self.partition.rules.load().delay_limits;
        let puts = batch.diverted.entries.iter().filter(|entry| entry.what.is_put());
        let (records, bytes) =
            puts.fold((0, 0), |(records, bytes), put| (records + 1, bytes + u64::from(put.bytes)));
        if records > 0 {
            limits.admit(pending, records, bytes)?;
        }
        let (partition, base_offset) = (self.partition.tp.partition, delay.journal.next_offset());
        delay.decide(partition, &batch.diverted, base_offset, accepted_ms)
    }

    /// Writes journal and log, as a pair if the batch has something for both.
    fn write(&mut self, batch: &mut Delayed, accepted_ms: i64) -> Result<Appended, AppendError> {
        let delay = self.delay.as_mut().expect("it was begun");
        let diverted = &mut batch.diverted.batch;
        let journaled = match &mut batch.live {
            None => delay.append(diverted, accepted_ms)?,
            Some(live) => {
                diverted.set_paired(true);
                live.set_paired(true);
                delay.journal.ready(diverted)?;
                self.log.ready(live)?;
                self.log.append_judged(live, accepted_ms)?;
                delay.append(diverted, accepted_ms).map_err(AppendError::of_second_half)?
            }
        };
        self.log.note_elsewhere(diverted.header(), accepted_ms);
        delay.align(&mut self.log);
        Ok(journaled)
    }

    /// Tells the machine of what was written.
    fn apply(
        &mut self,
        diverted: &Diverted,
        journaled: &Appended,
        decisions: Decisions,
        accepted_ms: i64,
    ) {
        let delay = self.delay.as_mut().expect("it was begun");
        let state = delay.state.as_mut().expect("it decided");
        let (header, records) = (diverted.batch.header(), diverted.batch.records());
        let position = journaled.end.position - records.len() as u64;
        if decisions.is_some() {
            // Records with notes do not lie where the entries say.
            let replayed = state.replay(header, records, position);
            return replayed.expect("what was just written can be read");
        }
        for Entry { delta, at, bytes, what } in &diverted.entries {
            let ticket = journaled.base_offset + i64::from(*delta);
            let What::Put { due, expires_at_ms, id, .. } = what else {
                state.apply(ticket, None, Decision::Nacked);
                continue;
            };
            let put = Put {
                due_ms: due.at_ms(accepted_ms),
                accepted_ms,
                base_timestamp_ms: header.base_timestamp_ms,
                expires_at_ms: *expires_at_ms,
                position: u32::try_from(position + u64::from(*at))
                    .expect("a segment is below 4 GiB"),
                bytes: *bytes,
                id_hash: (!id.is_empty())
                    .then(|| hash64(&records[id.start as usize..id.end as usize])),
            };
            state.apply(ticket, Some(&put), Decision::Put);
        }
    }
}

fn refused(error: AppendError) -> Refused {
    Refused::from(Fault::from(error))
}
