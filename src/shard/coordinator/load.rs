//! Building a machine from its log, a slice at a time.

use std::time::Duration;

use crate::coord::machine::Machine;
use crate::log::error::ReadError;
use crate::log::read::{ReadHint, Wanted};
use crate::log::view::PartitionView;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};
use crate::wire::records;

/// Bytes read at a time, unless one batch is larger.
const SLICE_BYTES: u64 = 1 << 20;
/// What one compressed batch may become.
const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;
/// Lines about unreadable records of one load; the rest is counted.
const MOST_WARNINGS: u64 = 10;

/// A machine that has replayed its log up to some offset.
pub(super) struct Load<M> {
    pub(super) machine: M,
    /// Monotonic time at which it began.
    pub(super) began: Duration,
    pub(super) replayed: u64,
    unreadable: u64,
    next_offset: i64,
    hint: Option<ReadHint>,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// All that is durable was read; the log's tail is on its way to be.
    Waits,
    Done,
}

impl<M: Machine> Load<M> {
    pub(super) fn begin(machine: M, now: Duration) -> Self {
        Self { machine, began: now, replayed: 0, unreadable: 0, next_offset: 0, hint: None }
    }

    /// Replays one slice. `buffer` is scratch space.
    ///
    /// # Errors
    /// The log cannot be read: what lies behind is unknown, so the machine is of no use.
    pub(super) fn step(
        &mut self,
        view: &PartitionView,
        buffer: &mut Vec<u8>,
    ) -> Result<Progress, ReadError> {
        self.next_offset = self.next_offset.max(view.log_start());
        let log_end = view.log_end();
        if self.next_offset >= log_end {
            return Ok(Progress::Done);
        }
        let readable = view.high_watermark();
        let wanted = Wanted {
            offset: self.next_offset,
            max_bytes: SLICE_BYTES,
            whole_first_batch: true,
            hint: self.hint,
        };
        let slice = view.read(wanted)?;
        let Some(file) = slice.file else {
            // Nothing at or behind the offset is left below the readable end.
            self.next_offset = self.next_offset.max(readable);
            return Ok(if readable < log_end { Progress::Waits } else { Progress::Done });
        };
        let len = usize::try_from(slice.len).unwrap_or(usize::MAX);
        buffer.resize(len, 0);
        let read = file.read_at(buffer, slice.position)?;
        self.hint = slice.next_hint;
        self.replay(view, &buffer[..read]);
        Ok(Progress::More)
    }

    /// Replays whole batches.
    fn replay(&mut self, view: &PartitionView, mut batches: &[u8]) {
        while let Ok(header) = BatchHeader::parse(batches) {
            let Some((batch, rest)) = batches.split_at_checked(header.total_bytes()) else { break };
            batches = rest;
            self.next_offset = header.last_offset() + 1;
            if !header.is_control() {
                self.replay_batch(view, &header, &batch[HEADER_BYTES..]);
            }
        }
    }

    fn replay_batch(&mut self, view: &PartitionView, header: &BatchHeader, body: &[u8]) {
        let Some(codec) = header.codec() else {
            return self.warn(view, header.base_offset, "the batch names no codec");
        };
        let mut unreadable = Vec::new();
        let machine = &mut self.machine;
        let mut replayed = 0;
        let read =
            records::for_each(codec, body, header.record_count, MAX_DECOMPRESSED_BYTES, |record| {
                replayed += 1;
                let Some(key) = record.key else { return };
                if let Err(line) = machine.replay(key, record.value) {
                    unreadable.push((header.base_offset + i64::from(record.offset_delta), line));
                }
            });
        self.replayed += replayed;
        for (offset, line) in unreadable {
            self.warn(view, offset, &line);
        }
        if let Err(error) = read {
            self.warn(view, header.base_offset, &error.to_string());
        }
    }

    fn warn(&mut self, view: &PartitionView, offset: i64, why: &str) {
        self.unreadable += 1;
        if self.unreadable <= MOST_WARNINGS {
            let partition = view.topic_partition();
            tracing::warn!(?partition, offset, why, "a coordinator's record is skipped");
        }
    }
}
