//! What a new record does to those that are pending: decided before it is appended, in the order
//! of its batch, and noted beside it, so that a replay decides nothing again.
//!
//! Ids are unique among the pending of a partition. Memory knows only their hashes: every hit is
//! verified by reading its record.

use std::io;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::copies::is_copy;
use super::headers;
use super::ids::hash64;
use super::key::Key;
use super::state::{Outcome, State};
use super::victim::{Taken, Victim};
use super::window::{Found, Slot, Window};
use crate::wire::records::{Header, Record, RecordError, Records};

/// What becomes of a command, and of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A new pending entry.
    Put,
    /// A new pending entry in the place of this one.
    Replace(Taken),
    /// The same record is pending already under this id; this one is not.
    Same,
    Cancelled(Taken),
    TooLate,
    Unknown,
    /// A nack: what it does is done elsewhere.
    Nacked,
}

impl Decision {
    /// What is written beside the record; nothing beside a plain put.
    #[must_use]
    pub const fn victim(self) -> Option<Victim> {
        match self {
            Self::Put | Self::Nacked => None,
            Self::Replace(taken) | Self::Cancelled(taken) => Some(Victim::Entry(taken)),
            Self::Same => Some(Victim::Same),
            Self::TooLate => Some(Victim::Late),
            Self::Unknown => Some(Victim::None),
        }
    }

    /// The decision that was noted so beside a put, or beside a cancel.
    #[must_use]
    pub const fn noted(is_put: bool, victim: Option<Victim>) -> Self {
        match (is_put, victim) {
            (true, Some(Victim::Entry(taken))) => Self::Replace(taken),
            (true, Some(Victim::Same)) => Self::Same,
            (true, _) => Self::Put,
            (false, Some(Victim::Entry(taken))) => Self::Cancelled(taken),
            (false, Some(Victim::Late)) => Self::TooLate,
            (false, _) => Self::Unknown,
        }
    }

    /// What a cancel achieved.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Cancelled(_) => Outcome::Cancelled,
            Self::TooLate => Outcome::TooLate,
            _ => Outcome::Unknown,
        }
    }
}

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(
        "klamm.delay.id is that of another record that waits in this partition; \
         klamm.delay.replace: true takes its place"
    )]
    OtherContent,
    #[error("klamm.delay.cancel.strict: nothing is cancelled, the target is {0}")]
    NotCancelled(&'static str),
    /// What decides could not be read.
    #[error(transparent)]
    Storage(#[from] io::Error),
}

/// Where a window's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset at which its journal segment begins.
    pub segment: i64,
    /// Of its length field, in the segment's file.
    pub position: u32,
    pub bytes: u32,
}

/// An entry of a run.
#[derive(Clone, Debug)]
pub struct InRun {
    pub key: Key,
    /// With its length field.
    pub record: Bytes,
}

/// Records on disk, as the host reads them.
pub trait Stored {
    /// A record of a journal segment, with its length field.
    fn record(&mut self, place: Place) -> io::Result<Bytes>;

    /// The entry of a run that has this id, of those whose key `wanted` accepts.
    fn with_id(
        &mut self,
        hash: u64,
        id: &[u8],
        wanted: &mut dyn FnMut(Key) -> bool,
    ) -> io::Result<Option<InRun>>;

    /// The entry of a run that has this ticket, pending or not.
    fn with_ticket(&mut self, ticket: i64) -> io::Result<Option<InRun>>;
}

/// A command and the record that gave it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'b> {
    pub ticket: i64,
    pub what: What<'b>,
    /// With its length field.
    pub record: &'b [u8],
}

/// What a record of the journal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'b> {
    Put {
        /// Epoch ms.
        due_ms: i64,
        id: Option<&'b [u8]>,
        replace: bool,
    },
    CancelId {
        id: &'b [u8],
        strict: bool,
    },
    /// Of this partition.
    CancelTicket {
        ticket: i64,
        strict: bool,
    },
    Nack,
}

/// Decisions on one batch so far: later records of a batch see what earlier ones do.
#[derive(Debug, Default)]
pub struct Plan<'b> {
    decisions: Vec<Decision>,
    /// Entries of this batch with an id, by its hash.
    put: FxHashMap<u64, SmallVec<[Fresh<'b>; 1]>>,
    /// Tickets that this batch takes out.
    taken: SmallVec<[i64; 4]>,
}

#[derive(Clone, Copy, Debug)]
struct Fresh<'b> {
    taken: Taken,
    id: &'b [u8],
    record: &'b [u8],
}

impl Plan<'_> {
    /// One for each record, in order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// As [`Plan::decisions`], of a plan that is complete.
    #[must_use]
    pub fn into_decisions(self) -> Vec<Decision> {
        self.decisions
    }

    /// Whether any must be written beside its record.
    #[must_use]
    pub fn has_notes(&self) -> bool {
        self.decisions.iter().any(|decision| decision.victim().is_some())
    }
}

/// A target, or why there is none.
enum Hit {
    Pending { taken: Taken, record: Option<Bytes> },
    Late,
    Unknown,
}

impl State {
    /// Decides on the batch's next record.
    ///
    /// # Errors
    /// The batch as a whole is refused; the plan is of no use then.
    pub fn decide<'b>(
        &self,
        plan: &mut Plan<'b>,
        asked: &Asked<'b>,
        stored: &mut impl Stored,
    ) -> Result<Decision, Refusal> {
        let decision = match asked.what {
            What::Nack => Decision::Nacked,
            What::Put { id: None, .. } => Decision::Put,
            What::Put { id: Some(id), replace, .. } => {
                self.decide_put(plan, asked, id, replace, stored)?
            }
            What::CancelId { id, strict } => cancel(self.find_id(plan, id, stored, true)?, strict)?,
            What::CancelTicket { ticket, strict } => {
                let hit = self.find_ticket(ticket, stored)?;
                cancel(unless_taken(plan, hit), strict)?
            }
        };
        plan.note(self, asked, decision);
        Ok(decision)
    }

    fn decide_put(
        &self,
        plan: &Plan<'_>,
        asked: &Asked<'_>,
        id: &[u8],
        replace: bool,
        stored: &mut impl Stored,
    ) -> Result<Decision, Refusal> {
        let Hit::Pending { taken, record } = self.find_id(plan, id, stored, false)? else {
            return Ok(Decision::Put);
        };
        if replace {
            return Ok(Decision::Replace(taken));
        }
        let same = match record {
            Some(record) => same_content(&record, asked.record),
            None => plan.fresh(id).is_some_and(|fresh| same_content(fresh.record, asked.record)),
        };
        if same { Ok(Decision::Same) } else { Err(Refusal::OtherContent) }
    }

    /// What cancelling this ticket now would do, for an operator. Changes nothing.
    ///
    /// # Errors
    /// Runs could not be read.
    pub fn decide_cancel(&self, ticket: i64, stored: &mut impl Stored) -> io::Result<Decision> {
        Ok(match self.find_ticket(ticket, stored)? {
            Hit::Pending { taken, .. } => Decision::Cancelled(taken),
            Hit::Late => Decision::TooLate,
            Hit::Unknown => Decision::Unknown,
        })
    }

    /// The pending entry with this id, wherever it is.
    ///
    /// # Errors
    /// Its record, or runs, could not be read.
    pub fn pending_with_id(
        &self,
        id: &[u8],
        stored: &mut impl Stored,
    ) -> io::Result<Option<Taken>> {
        Ok(match self.find_id(&Plan::default(), id, stored, false)? {
            Hit::Pending { taken, .. } => Some(taken),
            Hit::Late | Hit::Unknown => None,
        })
    }

    /// The pending entry with this id. `tell_late` asks for the difference between a target that
    /// is out and one that never was, which costs reading.
    fn find_id(
        &self,
        plan: &Plan<'_>,
        id: &[u8],
        stored: &mut impl Stored,
        tell_late: bool,
    ) -> io::Result<Hit> {
        if let Some(fresh) = plan.fresh(id) {
            return Ok(Hit::Pending { taken: fresh.taken, record: None });
        }
        let hash = hash64(id);
        let mut late = None;
        for window in self.windows().iter().rev() {
            for found in window.candidates(hash) {
                match found {
                    Found::Pending(slot) if !plan.taken.contains(&slot.key.ticket) => {
                        let record = stored.record(place(window, &slot))?;
                        if id_of(&record) == Some(id) {
                            let taken = Taken { key: slot.key, bytes: slot.bytes };
                            return Ok(Hit::Pending { taken, record: Some(record) });
                        }
                    }
                    Found::Out(Some(slot)) if slot.key <= self.w() => {
                        late = late.or(Some(Some(place(window, &slot))));
                    }
                    Found::Out(None) => late = late.or(Some(None)),
                    Found::Pending(_) | Found::Out(_) => {}
                }
            }
        }
        let mut passed = false;
        let in_run = stored.with_id(hash, id, &mut |key| {
            passed |= key <= self.w();
            self.waits_in_run(key) && !plan.taken.contains(&key.ticket)
        })?;
        if let Some(InRun { key, record }) = in_run {
            let taken = Taken { key, bytes: length(&record) };
            return Ok(Hit::Pending { taken, record: Some(record) });
        }
        let late = match late.filter(|_| tell_late && !passed) {
            Some(Some(place)) => id_of(&stored.record(place)?) == Some(id),
            // Its block is freed: the hash has to do.
            Some(None) => true,
            None => passed,
        };
        Ok(if late { Hit::Late } else { Hit::Unknown })
    }

    fn find_ticket(&self, ticket: i64, stored: &mut impl Stored) -> io::Result<Hit> {
        let window = self.windows().iter().rev().find(|window| window.base() <= ticket);
        let key = match window {
            Some(window) => match window.find(ticket) {
                Some(Found::Pending(slot)) => {
                    let taken = Taken { key: slot.key, bytes: slot.bytes };
                    return Ok(Hit::Pending { taken, record: None });
                }
                Some(Found::Out(slot)) => slot.map_or(self.w(), |slot| slot.key),
                None => return Ok(Hit::Unknown),
            },
            None => match stored.with_ticket(ticket)? {
                Some(InRun { key, record }) if self.waits_in_run(key) => {
                    let taken = Taken { key, bytes: length(&record) };
                    return Ok(Hit::Pending { taken, record: None });
                }
                Some(in_run) => in_run.key,
                None => return Ok(Hit::Unknown),
            },
        };
        Ok(if key <= self.w() { Hit::Late } else { Hit::Unknown })
    }

    /// Whether an entry of a run is pending. Those of closed windows are found there.
    fn waits_in_run(&self, key: Key) -> bool {
        key > self.w() && !self.is_cancelled(key.ticket)
    }
}

impl<'b> Plan<'b> {
    /// This batch's own entry with the id.
    fn fresh(&self, id: &[u8]) -> Option<Fresh<'b>> {
        if self.put.is_empty() {
            return None;
        }
        let fresh = self.put.get(&hash64(id))?.iter().rev();
        let mut waiting = fresh.filter(|fresh| !self.taken.contains(&fresh.taken.key.ticket));
        waiting.find(|fresh| fresh.id == id).copied()
    }

    fn note(&mut self, state: &State, asked: &Asked<'b>, decision: Decision) {
        self.decisions.push(decision);
        if let Decision::Replace(taken) | Decision::Cancelled(taken) = decision {
            self.taken.push(taken.key.ticket);
        }
        if let What::Put { due_ms, id: Some(id), .. } = asked.what
            && decision != Decision::Same
        {
            let key = state.key_of(due_ms, asked.ticket);
            let taken = Taken { key, bytes: length(asked.record) };
            let fresh = Fresh { taken, id, record: asked.record };
            self.put.entry(hash64(id)).or_default().push(fresh);
        }
    }
}

/// A target that an earlier record of the batch took out is not pending any more.
fn unless_taken(plan: &Plan<'_>, hit: Hit) -> Hit {
    match hit {
        Hit::Pending { taken, .. } if plan.taken.contains(&taken.key.ticket) => Hit::Unknown,
        hit => hit,
    }
}

fn cancel(hit: Hit, strict: bool) -> Result<Decision, Refusal> {
    match hit {
        Hit::Pending { taken, .. } => Ok(Decision::Cancelled(taken)),
        Hit::Late if strict => Err(Refusal::NotCancelled("released already")),
        Hit::Unknown if strict => Err(Refusal::NotCancelled("not pending here")),
        Hit::Late => Ok(Decision::TooLate),
        Hit::Unknown => Ok(Decision::Unknown),
    }
}

fn place(window: &Window, slot: &Slot) -> Place {
    Place { segment: window.base(), position: slot.position, bytes: slot.bytes }
}

fn length(record: &[u8]) -> u32 {
    u32::try_from(record.len()).unwrap_or(u32::MAX)
}

/// Reads a record that has its length field.
///
/// # Errors
/// It is none.
pub fn parse(record: &[u8]) -> Result<Record<'_>, RecordError> {
    Records::new(record, 1).next().unwrap_or(Err(RecordError::Truncated(0)))
}

/// The record's id: the last that it names. A copy has none, whatever its headers say: it is not
/// among the ids that are unique.
#[must_use]
pub fn id_of(record: &[u8]) -> Option<&[u8]> {
    let record = parse(record).ok().filter(|record| !is_copy(record))?;
    let headers = record.headers.iter();
    headers.filter(|header| header.key == headers::ID.as_bytes()).last()?.value
}

/// Whether two records have the same key, value and headers, but for what the broker noted.
fn same_content(a: &[u8], b: &[u8]) -> bool {
    let (Ok(a), Ok(b)) = (parse(a), parse(b)) else { return false };
    let own = |header: &Header<'_>| header.key != headers::VICTIM.as_bytes();
    a.key == b.key
        && a.value == b.value
        && a.headers.iter().filter(own).eq(b.headers.iter().filter(own))
}
