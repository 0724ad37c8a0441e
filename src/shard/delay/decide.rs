//! What the delayed records of a batch do to those that are pending: asked of the machine before
//! anything is written, and noted in the batch that is.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;

use super::Delay;
use super::accept::Delayed;
use super::copied::UNREADABLE;
use super::seal::Sealed;
use crate::base::fault::{Code, Fault};
use crate::delay::decide::{Asked, Decision, InRun, Place, Plan, Refusal, Stored, What};
use crate::delay::key::Key;
use crate::delay::release::with_notes;
use crate::log::partition::PartitionLog;
use crate::log::runs::{OwnedEntry, Runs};
use crate::log::validate::ValidBatch;
use crate::log::validate::divert::{self, Diverted, Entry};
use crate::shard::tally::Refused;

/// What is decided on a batch: nothing if all of it is plainly put.
pub(super) type Decisions = Option<Vec<Decision>>;

/// Records of one partition on disk.
#[derive(Clone, Copy)]
pub(super) struct OnDisk<'a> {
    pub(super) journal: &'a PartitionLog,
    pub(super) runs: Option<&'a Runs>,
}

impl<'a> OnDisk<'a> {
    pub(super) fn of(journal: &'a PartitionLog, sealed: Option<&'a Sealed>) -> Self {
        Self { journal, runs: sealed.map(|sealed| &sealed.runs) }
    }
}

impl Stored for OnDisk<'_> {
    fn record(&mut self, place: Place) -> io::Result<Bytes> {
        let mut record = vec![0; place.bytes as usize];
        self.journal.read_at(place.segment, u64::from(place.position), &mut record)?;
        Ok(record.into())
    }

    fn with_id(
        &mut self,
        _hash: u64,
        id: &[u8],
        wanted: &mut dyn FnMut(Key) -> bool,
    ) -> io::Result<Option<InRun>> {
        let Some(runs) = self.runs else { return Ok(None) };
        let wanted = RefCell::new(wanted);
        let found = runs.find_id(id, |key| (wanted.borrow_mut())(key));
        Ok(found.map_err(io::Error::other)?.map(in_run))
    }

    fn with_ticket(&mut self, ticket: i64) -> io::Result<Option<InRun>> {
        let Some(runs) = self.runs else { return Ok(None) };
        let Some(found) = runs.find_ticket(ticket).map_err(io::Error::other)? else {
            return Ok(None);
        };
        Ok(runs.get(found.key).map_err(io::Error::other)?.map(in_run))
    }
}

fn in_run(entry: OwnedEntry) -> InRun {
    InRun { key: entry.key, record: entry.record }
}

impl Delay {
    /// Decides on a batch that will have this base offset.
    ///
    /// # Errors
    /// The batch is refused as a whole.
    pub(super) fn decide(
        &self,
        partition: i32,
        batch: &Delayed,
        base_offset: i64,
        accepted_ms: i64,
    ) -> Result<Decisions, Refused> {
        let Some(state) = &self.state else {
            return Err(Fault::with(Code::KafkaStorageError, UNREADABLE).into());
        };
        let Delayed { diverted, elsewhere, .. } = batch;
        if diverted.entries.iter().all(is_plain) {
            return Ok(None);
        }
        let records = diverted.batch.records();
        let mut on_disk = OnDisk::of(&self.journal, self.sealed.as_ref());
        let mut plan = Plan::default();
        for entry in &diverted.entries {
            let here = (partition, !elsewhere.contains(&entry.delta));
            let asked = Asked {
                ticket: base_offset + i64::from(entry.delta),
                what: what(entry, records, here, accepted_ms),
                record: diverted.record(entry),
            };
            state
                .decide(&mut plan, &asked, &mut on_disk)
                .map_err(|refusal| refused(entry.delta, &refusal))?;
        }
        let entries = diverted.entries.iter();
        let decisions = plan.into_decisions().into_iter().zip(entries);
        let settled = decisions.map(|(decision, entry)| self.unless_handed(decision, entry));
        settled.collect::<Result<_, _>>().map(Some)
    }

    /// What has expired and may have its dead letter already is not taken out any more.
    fn unless_handed(&self, decision: Decision, entry: &Entry) -> Result<Decision, Refused> {
        let (Decision::Cancelled(taken) | Decision::Replace(taken)) = decision else {
            return Ok(decision);
        };
        if !self.burial.holds(taken.key.ticket) {
            return Ok(decision);
        }
        match &entry.what {
            divert::What::CancelId { strict: true, .. }
            | divert::What::CancelTicket { strict: true, .. } => {
                Err(refused(entry.delta, &Refusal::NotCancelled("expired already")))
            }
            divert::What::CancelId { .. } | divert::What::CancelTicket { .. } => {
                Ok(Decision::TooLate)
            }
            divert::What::Put { .. } | divert::What::Nack => Ok(Decision::Put),
        }
    }
}

fn is_plain(entry: &Entry) -> bool {
    match &entry.what {
        divert::What::Put { id, .. } => id.is_empty(),
        divert::What::Nack => true,
        divert::What::CancelId { .. } | divert::What::CancelTicket { .. } => false,
    }
}

/// No ticket is negative, so nothing has it.
const NO_TICKET: i64 = -1;

/// `strictly`: a strict command must find its target in this partition.
fn what<'b>(
    entry: &Entry,
    records: &'b [u8],
    (partition, strictly): (i32, bool),
    accepted_ms: i64,
) -> What<'b> {
    let id_at = |range: &std::ops::Range<u32>| &records[range.start as usize..range.end as usize];
    match &entry.what {
        divert::What::Put { due, id, replace, .. } => What::Put {
            due_ms: due.at_ms(accepted_ms),
            id: (!id.is_empty()).then(|| id_at(id)),
            replace: *replace,
        },
        divert::What::Nack => What::Nack,
        divert::What::CancelId { id, strict } => {
            What::CancelId { id: id_at(id), strict: *strict && strictly }
        }
        divert::What::CancelTicket { partition: named, offset, strict } => {
            let is_ours = named.is_none_or(|named| named == partition);
            What::CancelTicket {
                ticket: if is_ours { *offset } else { NO_TICKET },
                strict: *strict && strictly,
            }
        }
    }
}

/// The batch with every decision noted in its record.
///
/// # Errors
/// The notes make it too large for a batch.
pub(super) fn noted(diverted: &Diverted, decisions: &[Decision]) -> Result<ValidBatch, Refused> {
    let (header, records) = (diverted.batch.header(), diverted.batch.records());
    let builder = with_notes(header, records, decisions)
        .map_err(|error| Fault::with(Code::InvalidRecord, error.to_string()))?;
    let batch = ValidBatch::own(builder).map_err(|error| too_much(&error.to_string()))?;
    Ok(batch.timed_by_append())
}

fn too_much(why: &str) -> Refused {
    Fault::with(Code::MessageTooLarge, why.to_owned()).into()
}

fn refused(delta: i32, refusal: &Refusal) -> Refused {
    let message = refusal.to_string();
    match refusal {
        Refusal::Storage(_) => Fault::with(Code::KafkaStorageError, message).into(),
        Refusal::OtherContent | Refusal::NotCancelled(_) => Refused {
            records: vec![(delta, message.clone())],
            ..Refused::from(Fault::with(Code::InvalidRecord, message))
        },
    }
}
