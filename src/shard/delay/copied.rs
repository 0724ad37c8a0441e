//! What the broker itself writes into a partition's journal beside marks: copies of records, and
//! notes. Exempt from caps, and from everything that is asked of a producer.

use std::io;

use smallvec::SmallVec;

use super::flight::Written;
use super::{Delay, DelayHost};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::delay::copies::{Copies, CopyMark, Maker, Origin};
use crate::delay::headers::{self, Name};
use crate::delay::note::Note;
use crate::delay::state::State;
use crate::log::error::AppendError;
use crate::log::validate::ValidBatch;
use crate::shard::landing::{Held, Parked};
use crate::shard::produce::row;
use crate::shard::retry::copy::NewCopy;
use crate::shard::worker::{Hosted, Shard, ShardDeps};
use crate::wire::builder::{BatchBuilder, BuildError};
use crate::wire::compression::Codec;
use crate::wire::owned::OwnedHeader;
use crate::wire::records::Header;

pub(super) const UNREADABLE: &str = "what is delayed in this partition could not be read at start";

impl Delay {
    /// The origins of its copies; nothing while the journal can't be read.
    pub(in crate::shard) fn copies(&self) -> Option<&Copies> {
        self.state.as_ref().map(State::copies)
    }

    /// As [`Copies::trim`].
    pub(in crate::shard) fn trim_copies(
        &mut self,
        begins_at: impl Fn(&Maker, TopicPartition) -> Option<i64>,
    ) {
        if let Some(state) = &mut self.state {
            state.trim_copies(begins_at);
        }
    }
}

impl DelayHost {
    /// A partition's journal was appended to.
    pub(super) fn appended(&mut self, deps: &ShardDeps, tp: TopicPartition, delay: &mut Delay) {
        self.turns.arm(tp, delay.next_due_ms());
        if delay.count_window(&deps.delay)
            && let Err(error) = delay.close_window()
        {
            tracing::warn!(journal = ?tp, %error, "the window of delayed records goes on growing");
        }
        if delay.has_sealing() {
            self.has_unsealed(tp);
        }
    }
}

impl Hosted {
    /// Whether a copy of this origin is or was in the partition.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR if its journal can't be read.
    pub(in crate::shard) fn has_copy_of(&self, origin: &Origin) -> Result<bool, Fault> {
        let Some(delay) = &self.delay else { return Ok(false) };
        let copies = delay.copies().ok_or_else(|| Fault::with(Code::KafkaStorageError, UNREADABLE));
        copies.map(|copies| copies.contains(origin))
    }

    /// Appends copies to the journal, which is begun if there is none.
    ///
    /// # Errors
    /// Nothing was written.
    pub(in crate::shard) fn append_copies(
        &mut self,
        deps: &ShardDeps,
        copies: &[&NewCopy],
    ) -> Result<ValidBatch, Fault> {
        let accepted_ms = deps.delay.accept_ms();
        let built = batch(copies, accepted_ms);
        let built = built.map_err(|error| Fault::with(Code::MessageTooLarge, error.to_string()))?;
        self.begin_delay(deps)
            .map_err(|error| Fault::with(Code::KafkaStorageError, error.to_string()))?;
        let written = self.append_own(deps, built, accepted_ms, |state, batch, position| {
            let taken_in = state.replay(batch.header(), batch.records(), position);
            taken_in.expect("what was just written can be read");
        })?;
        self.delay.as_mut().expect("it was begun").count(&deps.metrics);
        Ok(written)
    }

    /// Appends a note to the journal that there is.
    ///
    /// # Errors
    /// Nothing was written.
    pub(in crate::shard) fn append_note(
        &mut self,
        deps: &ShardDeps,
        note: &Note,
    ) -> Result<ValidBatch, AppendError> {
        let now_ms = deps.delay.now_ms();
        let built = ValidBatch::own(note.batch(now_ms)).map_err(io::Error::other)?;
        self.append_own(deps, built, now_ms, |state, _, _| state.note(note))
    }

    fn append_own(
        &mut self,
        deps: &ShardDeps,
        mut batch: ValidBatch,
        now_ms: i64,
        take_in: impl FnOnce(&mut State, &ValidBatch, u64),
    ) -> Result<ValidBatch, AppendError> {
        if deps.failed.is_set() {
            return Err(AppendError::Failed(io::Error::other("the data directory has failed")));
        }
        let Some(delay) = self.delay.as_mut().filter(|delay| delay.state.is_some()) else {
            return Err(AppendError::Storage(io::Error::other(UNREADABLE)));
        };
        self.changed = true;
        delay.align(&mut self.log);
        let appended = delay.append(&mut batch, now_ms).inspect_err(|error| {
            if let AppendError::Failed(error) = error {
                deps.failed.set(&format!("writing to {:?}: {error}", self.partition.tp));
            }
        })?;
        delay.align(&mut self.log);
        let position = appended.end.position - batch.records().len() as u64;
        take_in(delay.state.as_mut().expect("it was looked at"), &batch, position);
        Ok(batch)
    }
}

impl Shard {
    /// Makes durable what was appended to a partition's journal alone, and all before it; then
    /// tells.
    pub(in crate::shard) fn land_in_journal(
        &mut self,
        tp: TopicPartition,
        batch: Option<&ValidBatch>,
        held: Held,
    ) {
        let Self { deps, hosted, delays, round, .. } = self;
        let Some(hosted) = hosted.get_mut(&tp).filter(|hosted| hosted.delay.is_some()) else {
            // Without a journal there is nothing to wait for.
            return held(Ok(()));
        };
        delays.appended(deps, tp, hosted.delay.as_mut().expect("it was looked at"));
        let written = Written {
            rows: batch.map(|batch| row(tp.journal(), batch)).into_iter().collect(),
            released_bytes: 0,
            parked: Parked::Held(held),
        };
        round.extend(hosted.send_off(written, deps.durability, &delays.flight));
    }
}

fn batch(copies: &[&NewCopy], accepted_ms: i64) -> Result<ValidBatch, BuildError> {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for NewCopy { origin, due, plain, record } in copies {
        let (origin, due_ms) = (origin.clone(), due.at_ms(accepted_ms));
        let mark = CopyMark { origin, due_ms, plain: *plain }.encode();
        let mark = Header { key: headers::COPY.as_bytes(), value: Some(&mark) };
        let own = record.headers.iter().map(OwnedHeader::borrowed);
        let own = own.filter(|header| headers::name(header.key) != Some(Name::Internal));
        let headers: SmallVec<[Header<'_>; 16]> = own.chain([mark]).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.timestamp_ms, key, value, headers.into_iter());
    }
    Ok(ValidBatch::own(builder)?.timed_by_append())
}
