//! Writes the slices of a run while its entries come by in key order.
//!
//! Holds one block and what one write takes. A slice is synced when it is complete; names become
//! durable with the directory, by whoever finishes the run.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::BlockBuilder;
use super::entry::EntryRef;
use super::index::{Index, SLICE_BYTES};
use super::meta::{RunId, SliceMeta, slice_name};
use crate::delay::key::Key;
use crate::store::{File, Files, OpenMode, Resize};

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// See the module's head.
pub(super) struct SliceWriter<'a> {
    files: &'a dyn Files,
    dir: PathBuf,
    run: RunId,
    open: Option<Open>,
    block: BlockBuilder,
    buffer: Vec<u8>,
    slices: Vec<SliceMeta>,
    last: Key,
}

/// The slice that is being written.
struct Open {
    file: Arc<dyn File>,
    index: Index,
    /// Bytes of it that were written; what is in the buffer follows.
    written: u64,
}

impl<'a> SliceWriter<'a> {
    pub(super) fn new(files: &'a dyn Files, runs_dir: &Path, run: RunId) -> Self {
        Self {
            files,
            dir: runs_dir.to_owned(),
            run,
            open: None,
            block: BlockBuilder::default(),
            buffer: Vec::new(),
            slices: Vec::new(),
            last: Key::MIN,
        }
    }

    /// Adds an entry, whose key is above that of the last. Says whether it began a block.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn push(&mut self, entry: &EntryRef<'_>) -> io::Result<bool> {
        let began = self.block.is_full_for(entry.record.len());
        if began {
            self.finish_block()?;
        }
        self.block.push(entry);
        self.last = entry.key;
        Ok(began)
    }

    fn finish_block(&mut self) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin_slice()?,
        };
        if let Some(block) = self.block.finish(open.index.end, &mut self.buffer) {
            open.index.blocks.push(block);
            let end = open.written + self.buffer.len() as u64;
            open.index.end = u32::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
        }
        if self.buffer.len() >= WRITE_BYTES {
            open.flush(&mut self.buffer)?;
        }
        if u64::from(open.index.end) < SLICE_BYTES {
            self.open = Some(open);
            return Ok(());
        }
        self.finish_slice(open)
    }

    fn begin_slice(&self) -> io::Result<Open> {
        let number = self.slices.len() as u32;
        let path = self.dir.join(slice_name(self.run, number));
        let file = self.files.open(&path, OpenMode::Write)?;
        // A leftover of a job that was cut short.
        file.resize(Resize::Cut(0))?;
        Ok(Open { file, index: Index::default(), written: 0 })
    }

    fn finish_slice(&mut self, mut open: Open) -> io::Result<()> {
        let number = self.slices.len() as u32;
        self.buffer.extend_from_slice(&open.index.encode(self.run, number));
        open.flush(&mut self.buffer)?;
        open.file.sync()?;
        let blocks = &open.index.blocks;
        self.slices.push(SliceMeta {
            number,
            entries: blocks.iter().map(|block| block.entries).sum(),
            record_bytes: blocks.iter().map(|block| u64::from(block.record_bytes)).sum(),
            file_bytes: open.written,
            first: blocks.first().map_or(Key::MIN, |block| block.first),
            last: self.last,
        });
        Ok(())
    }

    /// Completes the last slice; returns all, none if there was no entry.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn finish(mut self) -> io::Result<Vec<SliceMeta>> {
        if self.last > Key::MIN {
            self.finish_block()?;
        }
        if let Some(open) = self.open.take() {
            self.finish_slice(open)?;
        }
        Ok(self.slices)
    }
}

impl Open {
    fn flush(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(buffer)], self.written)?;
        self.written += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }
}
