//! Reading a partition's visible records for the broker itself, in the way of a fetch: through the
//! shared view, whole batches at a time, without asking the shard. Blocks on the disk, so it is
//! for the blocking pool.

use std::io;

use crate::log::error::ReadError;
use crate::log::read::{ReadHint, Wanted};
use crate::log::view::PartitionView;
use crate::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::wire::records::{BodyError, Record, for_each};

/// Why records can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the batch at offset {offset}: {error}")]
    Batch { offset: i64, error: BodyError },
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Log(error.into())
    }
}

/// A record with its place and its time.
pub struct Placed<'a> {
    pub offset: i64,
    /// Epoch milliseconds.
    pub timestamp_ms: i64,
    pub record: &'a Record<'a>,
}

/// Whole batches as they lie in the log. The first may begin below the offset that was asked for.
pub struct Stretch {
    bytes: Vec<u8>,
    from: i64,
    hint: Option<ReadHint>,
    /// What a compressed batch may become.
    most_inflated_bytes: usize,
}

impl Stretch {
    /// Reads from an offset on, or from the log's start if that is above; nothing at the visible
    /// end. At most `max_bytes`, but for the first batch. `hint` is the stretch's before.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(
        view: &PartitionView,
        from: i64,
        hint: Option<ReadHint>,
        max_bytes: u64,
        most_inflated_bytes: usize,
    ) -> Result<Self, Unreadable> {
        let wanted = |offset| Wanted { offset, max_bytes, whole_first_batch: true, hint };
        let (from, slice) = match view.read(wanted(from)) {
            // What was deleted meanwhile is nobody's any more.
            Err(ReadError::OutOfRange { log_start, .. }) if log_start > from => {
                (log_start, view.read(wanted(log_start))?)
            }
            slice => (from, slice?),
        };
        let mut bytes = vec![0; usize::try_from(slice.len).map_err(io::Error::other)?];
        if let Some(file) = &slice.file
            && file.read_at(&mut bytes, slice.position)? < bytes.len()
        {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Self { bytes, from, hint: slice.next_hint, most_inflated_bytes })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// For the stretch that follows.
    #[must_use]
    pub const fn hint(&self) -> Option<ReadHint> {
        self.hint
    }

    /// Headers of the batches, each with its bytes.
    pub fn batches(&self) -> impl Iterator<Item = (BatchHeader, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let header = BatchHeader::parse(rest).ok()?;
            let (batch, others) = rest.split_at_checked(header.total_bytes())?;
            rest = others;
            Some((header, batch))
        })
    }

    /// The offset behind the last batch; `None` of an empty stretch.
    #[must_use]
    pub fn next_offset(&self) -> Option<i64> {
        self.batches().last().map(|(header, _)| header.last_offset() + 1)
    }

    /// Hands over every record from the offset on that was asked for.
    ///
    /// # Errors
    /// At the first batch that can't be read; records before it have been handed over.
    pub fn for_each(&self, mut each: impl FnMut(Placed<'_>)) -> Result<(), Unreadable> {
        for (header, batch) in self.batches().filter(|(header, _)| !header.is_control()) {
            let bad = |error| Unreadable::Batch { offset: header.base_offset, error };
            let corrupt = || ReadError::Corrupt { segment: header.base_offset, position: 0 };
            let codec = header.codec().ok_or_else(corrupt)?;
            let is_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
            let body = &batch[HEADER_BYTES..];
            for_each(codec, body, header.record_count, self.most_inflated_bytes, |record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset >= self.from {
                    let own_ms = header.base_timestamp_ms.wrapping_add(record.timestamp_delta_ms);
                    let timestamp_ms =
                        if is_append_time { header.max_timestamp_ms } else { own_ms };
                    each(Placed { offset, timestamp_ms, record });
                }
            })
            .map_err(bad)?;
        }
        Ok(())
    }
}
