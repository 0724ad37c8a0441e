//! A segment whose name passes to its compacted successor.
//!
//! Readers may hold it for a while and open its files only then, by a name that is another
//! segment's by now. So the files are opened and kept before the name is given away; they close
//! with the last reader. Rejected: names of their own for compacted segments, which Kafka's tools
//! would not read.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::SegmentView;
use crate::log::cache::FileKind;
use crate::store::File;

/// Open files of a segment.
pub(super) struct Kept {
    log: Arc<dyn File>,
    /// Offset and time index; none where the index is in memory.
    indexes: Option<[Arc<dyn File>; 2]>,
}

impl SegmentView {
    /// Makes readers independent of the files' names; for a sealed segment. Must come before
    /// the names are given away.
    pub(crate) fn keep_open(&self) -> io::Result<()> {
        // From here on nobody makes its index files again, under names that are not its own.
        self.index_entries()?;
        let log = self.file()?;
        let indexes = match &*self.live() {
            Some(_) => None,
            None => Some([
                self.sealed_file(FileKind::OffsetIndex)?,
                self.sealed_file(FileKind::TimeIndex)?,
            ]),
        };
        // Kept before: the files are the same.
        let _ = self.kept.set(Kept { log, indexes });
        Ok(())
    }

    /// The kept file; an error where the index is in memory, which callers look at first.
    pub(super) fn kept(&self, kind: FileKind) -> Option<io::Result<Arc<dyn File>>> {
        let kept = self.kept.get()?;
        let indexes = kept.indexes.as_ref();
        let file = match kind {
            FileKind::Log => Some(&kept.log),
            FileKind::OffsetIndex => indexes.map(|[offsets, _]| offsets),
            FileKind::TimeIndex => indexes.map(|[_, times]| times),
        };
        Some(file.cloned().ok_or_else(|| ErrorKind::NotFound.into()))
    }
}
