//! Building a partition's machine from its manifest and its journal, before the partition is
//! served.

use std::io;
use std::sync::Arc;

use super::Delay;
use super::seal::Sealed;
use crate::delay::note::Totals;
use crate::delay::replay::JournalError;
use crate::delay::state::{AtSeal, State};
use crate::log::runs::{Manifest, ManifestError, Runs};
use crate::log::segment::SegmentView;
use crate::shard::worker::{Shard, ShardDeps};
use crate::wire::batch::{BatchHeader, HEADER_BYTES};

/// Bytes of the journal that are read at a time, unless a batch is larger.
const READ_BYTES: usize = 4 << 20;

/// Why a partition's delayed records stay where they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the journal's segment {segment} ends inside a batch at byte {position}")]
    CutOff { segment: i64, position: u64 },
}

impl Shard {
    /// Builds what is delayed in every partition, and arms it. What can't be read is reported: its
    /// partition serves what is live.
    pub(in crate::shard) fn load_delayed(&mut self) {
        let Self { hosted, delays, deps, .. } = self;
        for (tp, hosted) in hosted.iter_mut() {
            let Some(delay) = &mut hosted.delay else { continue };
            if let Err(error) = delay.load(deps) {
                let (topic, partition) = (&hosted.partition.topic_name, tp.partition);
                tracing::error!(topic, partition, %error,
                    "delayed records are neither taken nor released until the next start");
            }
            let clock_ms = delay.state.as_ref().map_or(0, State::clock_ms);
            deps.delay.raise_clock(clock_ms);
            delays.has_unsealed(*tp);
            delays.turns.arm(*tp, delay.next_due_ms());
        }
    }
}

impl Delay {
    /// Builds the machine.
    ///
    /// # Errors
    /// See [`LoadError`].
    fn load(&mut self, deps: &ShardDeps) -> Result<(), LoadError> {
        let files = deps.store.files_shared();
        let manifest = Manifest::read(&*files, &self.dir)?.unwrap_or_default();
        let runs = Runs::open(files, &self.dir, &manifest)?;
        let (records, bytes) = (manifest.pending_records, manifest.pending_bytes);
        let mut state = State::at(AtSeal {
            below: manifest.sealed,
            w: manifest.released,
            pending: Totals { records, bytes },
            cancelled: manifest.cancelled.clone(),
            copies: Arc::clone(&manifest.copies),
            clock_ms: manifest.clock_ms,
        });
        // A crash may have left segments that a run stands for already.
        let segments = self.journal.view().segments();
        let unsealed = |segment: &&Arc<SegmentView>| segment.base_offset() >= manifest.sealed;
        for segment in segments.iter().filter(unsealed) {
            replay(&mut state, segment)?;
        }
        self.trim(deps, manifest.sealed);
        let next = runs.after(state.w());
        self.durable_w = state.w();
        self.sealed = Some(Sealed::new(manifest, runs, next));
        self.counted = *state.tally();
        self.state = Some(state);
        Ok(())
    }
}

/// Replays one segment of the journal.
fn replay(state: &mut State, segment: &SegmentView) -> Result<(), LoadError> {
    state.roll(segment.base_offset());
    let (file, size) = (segment.file()?, segment.size_bytes());
    let mut buffer = vec![0; READ_BYTES];
    let mut position = 0;
    while position < size {
        let left = usize::try_from(size - position).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let read = file.read_at(&mut buffer[..wanted], position)?;
        let cut_off = LoadError::CutOff { segment: segment.base_offset(), position };
        match replay_batches(state, &buffer[..read], position)? {
            0 => match BatchHeader::parse(&buffer[..read]).map(|header| header.total_bytes()) {
                Ok(bytes) if bytes > buffer.len() && bytes <= left => buffer.resize(bytes, 0),
                _ => return Err(cut_off),
            },
            used => position += used as u64,
        }
    }
    Ok(())
}

/// Replays the whole batches among these bytes of a segment; returns how many bytes those are.
fn replay_batches(state: &mut State, bytes: &[u8], position: u64) -> Result<usize, JournalError> {
    let mut used = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[used..])
        && let Some(batch) = bytes.get(used..used + header.total_bytes())
    {
        let (head, records) = batch.split_at(HEADER_BYTES);
        state.replay(&header, records, position + (used + head.len()) as u64)?;
        used += batch.len();
    }
    Ok(used)
}
