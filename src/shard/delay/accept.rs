//! Taking a batch with delayed records: the log's producers judge it, the machine decides what it
//! does to what is pending, and it goes to the journal, its live records beside it to the log.

use std::io;
use std::time::Duration;

use smallvec::SmallVec;

use super::decide::{Decisions, noted};
use super::elsewhere::{Offer, offers, offers_again, send_when_durable};
use super::flight::Written;
use crate::base::crash_point;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::delay::decide::Decision;
use crate::delay::ids::hash64;
use crate::delay::note::Totals;
use crate::delay::state::{Put, State};
use crate::log::error::AppendError;
use crate::log::partition::Appended;
use crate::log::validate::divert::{Entry, What};
use crate::log::validate::{Diverted, ValidBatch};
use crate::shard::append::Acks;
use crate::shard::landing::Parked;
use crate::shard::produce::row;
use crate::shard::retry::copy::Riding;
use crate::shard::tally::{Accepted, Ack, AppendResult, Refused};
use crate::shard::worker::{Hosted, Shard, ShardDeps};

/// Disk space of the journal that is left to notes of what was released and cancelled, in bytes: on
/// a full disk what is due goes out all the same.
const KEPT_BYTES: u64 = 64 << 10;

/// A batch with delayed records.
pub(in crate::shard) struct Delayed {
    pub(in crate::shard) live: Option<ValidBatch>,
    pub(in crate::shard) diverted: Box<Diverted>,
    /// Of the batch's nacks.
    pub(in crate::shard) copies: Riding,
    /// See [`crate::shard::append::Append`].
    pub(in crate::shard) elsewhere: SmallVec<[i32; 2]>,
}

/// What became of it.
struct Outcome {
    base_offset: i64,
    accepted_ms: i64,
    /// A retry: nothing was written.
    duplicate: bool,
    /// What its commands did not find here.
    offers: Vec<Offer>,
    /// How long its producer is to pause.
    pause: Duration,
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
        let pause = outcome.pause.max(deps.delay.pause());
        if !pause.is_zero() {
            ack.ask_to_pause(pause);
        }
        let result: AppendResult = Ok(Accepted {
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.accepted_ms,
            log_start_offset,
        });
        delays.appended(deps, tp, hosted.delay.as_mut().expect("its journal was appended to"));
        let parked = match acks {
            Acks::None => {
                ack.clone().complete(result.clone());
                park(deps, tp, outcome.offers, (ack, result))
            }
            Acks::Leader if outcome.offers.is_empty() => {
                ack.complete(result);
                Parked::Nothing
            }
            Acks::All | Acks::Leader => park(deps, tp, outcome.offers, (ack, result)),
        };
        let mut rows = SmallVec::new();
        if !outcome.duplicate {
            rows.extend(batch.live.as_ref().map(|live| row(tp, live)));
            rows.push(row(tp.journal(), &batch.diverted.batch));
        }
        let written = Written { rows, released_bytes: 0, parked };
        round.extend(hosted.send_off(written, deps.durability, &delays.flight));
    }

    /// Makes the copies that a batch's nacks ask for, unless the batch is a retry or is going to be
    /// refused. They are before it in both memory and commit log: a crash leaves no nack without
    /// its copy, and a copy without its nack is known when the nack comes again.
    fn copy_ahead(&mut self, tp: TopicPartition, batch: &Delayed) -> Result<(), Refused> {
        if batch.copies.sets.is_empty() {
            return Ok(());
        }
        let hosted = self.hosted.get_mut(&tp).ok_or(Fault::new(Code::NotLeaderOrFollower))?;
        if !hosted.would_accept(&self.deps, batch)? {
            return Ok(());
        }
        for set in &batch.copies.sets {
            self.copy_with_nack(set)?;
        }
        crash_point::pass("nack-copied");
        Ok(())
    }
}

/// What waits for the batch to be durable: the answer, or first what it asks of other partitions.
fn park(
    deps: &ShardDeps,
    tp: TopicPartition,
    offers: Vec<Offer>,
    (ack, result): (Ack, AppendResult),
) -> Parked {
    if offers.is_empty() {
        return Parked::Produced(ack, result);
    }
    let shared = (&deps.delay, &*deps.registry);
    Parked::Held(send_when_durable(shared, tp, offers, (ack, result)))
}

impl Shard {
    /// As [`Hosted::would_accept`], of a batch that is not here yet.
    pub(in crate::shard) fn would_accept(
        &mut self,
        tp: TopicPartition,
        diverted: Box<Diverted>,
    ) -> Result<bool, Refused> {
        let hosted = self.hosted.get_mut(&tp).ok_or(Fault::new(Code::NotLeaderOrFollower))?;
        let (live, copies, elsewhere) = (None, Riding::default(), SmallVec::new());
        hosted.would_accept(&self.deps, &Delayed { live, diverted, copies, elsewhere })
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
            let (offers, pause) = (self.offers_again(batch, base_offset), Duration::ZERO);
            return Ok(Outcome { base_offset, accepted_ms, duplicate: true, offers, pause });
        }
        let (decisions, offers, pause) = self.decide(batch, accepted_ms)?;
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
        Ok(Outcome { base_offset, accepted_ms, duplicate: false, offers, pause })
    }

    /// What a batch that is here already may not have done elsewhere.
    fn offers_again(&self, batch: &Delayed, base_offset: i64) -> Vec<Offer> {
        let state = self.delay.as_ref().and_then(|delay| delay.state.as_ref());
        let partition = self.partition.tp.partition;
        state.map_or_else(Vec::new, |state| {
            offers_again(partition, &batch.diverted, base_offset, state)
        })
    }

    /// Decides, and notes in the batch what is not plain.
    fn decide(
        &mut self,
        batch: &mut Delayed,
        accepted_ms: i64,
    ) -> Result<(Decisions, Vec<Offer>, Duration), Refused> {
        let partition = self.partition.tp.partition;
        let (decisions, pause) = self.plan(batch, accepted_ms)?;
        let offers = decisions.as_ref().map(|all| offers(partition, batch, all));
        if let Some(decisions) = &decisions
            && decisions.iter().any(|decision| decision.victim().is_some())
        {
            batch.diverted.batch = noted(&batch.diverted, decisions)?;
        }
        Ok((decisions, offers.unwrap_or_default(), pause))
    }

    /// What the batch does to what is pending, if there is room for it, and how long its producer
    /// then pauses.
    fn plan(
        &mut self,
        batch: &Delayed,
        accepted_ms: i64,
    ) -> Result<(Decisions, Duration), Refused> {
        let delay = self.delay.as_mut().expect("it was begun");
        delay.align(&mut self.log);
        let pending = delay.state.as_ref().map_or_else(Totals::default, State::pending);
        let limits = self.partition.rules.load().delay_limits;
        let puts = batch.diverted.entries.iter().filter(|entry| entry.what.is_put());
        let (records, bytes) =
            puts.fold((0, 0), |(records, bytes), put| (records + 1, bytes + u64::from(put.bytes)));
        let pause = match records {
            // Cancels make room.
            0 => Duration::ZERO,
            records => limits.admit(pending, records, bytes)?,
        };
        let (partition, base_offset) = (self.partition.tp.partition, delay.journal.next_offset());
        Ok((delay.decide(partition, batch, base_offset, accepted_ms)?, pause))
    }

    /// Writes journal and log, as a pair if the batch has something for both.
    fn write(&mut self, batch: &mut Delayed, accepted_ms: i64) -> Result<Appended, AppendError> {
        let delay = self.delay.as_mut().expect("it was begun");
        let diverted = &mut batch.diverted.batch;
        delay.journal.ready_leaving(diverted, KEPT_BYTES)?;
        let journaled = match &mut batch.live {
            None => delay.append(diverted, accepted_ms)?,
            Some(live) => {
                diverted.set_paired(true);
                live.set_paired(true);
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
