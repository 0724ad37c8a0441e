//! Appends that wait for their commit-log entry: place taken, nothing written.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::PartitionLog;
use super::append::Appended;
use crate::log::error::AppendError;
use crate::log::validate::ValidBatch;
use crate::store::File;
use crate::wire::batch::HEADER_BYTES;

/// A batch with its place, not written yet.
pub struct Staged {
    file: Arc<dyn File>,
    position: u64,
    header: [u8; HEADER_BYTES],
    records: Bytes,
    appended: Appended,
}

impl Staged {
    /// What the append will have done. Of a duplicate nothing is to be committed or written.
    #[must_use]
    pub const fn appended(&self) -> &Appended {
        &self.appended
    }

    /// The stamped header, for the commit log.
    #[must_use]
    pub const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    #[must_use]
    pub const fn records(&self) -> &Bytes {
        &self.records
    }
}
impl PartitionLog {
    /// Takes offset and place for a batch that is written by [`PartitionLog::write_staged`].
    /// Batches appended after it come to lie behind it.
    ///
    /// # Errors
    /// As [`PartitionLog::ready`], which it repeats.
    pub fn stage(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<Staged, AppendError> {
        self.ready(batch)?;
        let active = self.active.as_ref().expect("made ready");
        let (file, position) = (active.file().clone(), active.position);
        let appended = match self.judge(batch.header())? {
            Some(appended) => appended,
            None => {
                let size = self.stamp_and_place(batch, now_ms)?;
                self.staged += 1;
                self.note(batch.header(), size, now_ms)
            }
        };
        let (header, records) = (*batch.header_bytes(), batch.records().clone());
        Ok(Staged { file, position, header, records, appended })
    }

    /// Writes a staged batch to its place. Each staged batch must come here exactly once.
    ///
    /// # Errors
    /// The disk's own. The batch is in the commit log, whose replay would write it: the owner
    /// must stop and recover.
    pub fn write_staged(&mut self, staged: Staged) -> io::Result<Appended> {
        if !staged.appended.duplicate {
            let slices = [IoSlice::new(&staged.header), IoSlice::new(&staged.records)];
            staged.file.write_at(&slices, staged.position)?;
            self.staged -= 1;
            // Its segment may have been synced, or sealed, since the place was taken.
            if !self.dirty.staged.iter().any(|file| Arc::ptr_eq(file, &staged.file)) {
                self.dirty.staged.push(staged.file);
            }
        }
        Ok(staged.appended)
    }
}
