//! Sorted rows of three numbers: from an id's hash, or from a ticket, to a key.
//!
//! `<id>.ids` has rows (hash of the id, due ms, ticket) behind a filter (filter.rs), and
//! `<id>.tickets` has (ticket, due ms, length of the record). Rows name keys and not places in
//! slices, so tables of a merge are merges of tables. Only filter and the first number of each
//! page are in memory: 1.5 bytes an id, and 8 bytes for 170 rows.
//!
//! Little-endian:
//!
//! ```text
//! filter: blocks of 32 bytes; zeros up to a multiple of 4096
//! pages of 4096 bytes:  0 u32 CRC-32C of 4..4096   4 u32 rows   8 rows of 24 bytes
//! index: u64 per page, the first number of its first row
//! footer, 48 bytes:
//!    0 u32 magic 0x54524c4b ("KLRT")   4 u16 version = 1   6 u16 kind: 0 tickets, 1 ids
//!    8 u64 run   16 u64 rows   24 u32 filter blocks   28 u32 pages
//!   32 u32 CRC of the filter's blocks   36 u32 CRC of the index   40 u32 0   44 u32 CRC of 0..44
//! ```

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut};

use super::error::RunError;
use super::filter::{self, Block};
use super::meta::RunId;
use crate::store::{File, Files, OpenMode, Resize};

/// A row: what is looked for comes first.
pub(super) type Row = [u64; 3];

/// Which of a run's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tickets = 0,
    Ids = 1,
}

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Self::Tickets => "its table of tickets",
            Self::Ids => "its table of ids",
        }
    }
}

const PAGE_BYTES: usize = 4096;
const PAGE_HEAD_BYTES: usize = 8;
const ROW_BYTES: usize = 24;
const FOOTER_BYTES: usize = 48;
const MAGIC: u32 = u32::from_le_bytes(*b"KLRT");
const VERSION: u16 = 1;
/// Bytes gathered for one write, or taken by one read.
const STRETCH_BYTES: usize = 256 << 10;

/// A place in a file that is filled from front to back.
struct Stream {
    position: u64,
    buffer: Vec<u8>,
}

impl Stream {
    fn flush_above(&mut self, limit_bytes: usize, file: &dyn File) -> io::Result<()> {
        if self.buffer.len() > limit_bytes {
            file.write_at(&[IoSlice::new(&self.buffer)], self.position)?;
            self.position += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Writes a table while its rows come by in order.
pub(super) struct TableWriter {
    file: Arc<dyn File>,
    run: RunId,
    kind: Kind,
    pages: Stream,
    page: Vec<u8>,
    index: Vec<u64>,
    rows: u64,
    filter: FilterWriter,
}

struct FilterWriter {
    blocks: u32,
    stream: Stream,
    /// The block that is being filled, and its number.
    block: Block,
    number: u32,
    crc: u32,
}

impl TableWriter {
    /// Begins a table of at most `capacity` rows; a file of that name is overwritten.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn create(
        files: &dyn Files,
        path: &std::path::Path,
        run: RunId,
        kind: Kind,
        capacity: u64,
    ) -> io::Result<Self> {
        let file = files.open(path, OpenMode::Write)?;
        file.resize(Resize::Cut(0))?;
        let blocks = if kind == Kind::Ids { filter::blocks_for(capacity) } else { 0 };
        Ok(Self {
            file,
            run,
            kind,
            pages: Stream { position: pages_at(blocks), buffer: Vec::new() },
            page: Vec::with_capacity(PAGE_BYTES),
            index: Vec::new(),
            rows: 0,
            filter: FilterWriter {
                blocks,
                stream: Stream { position: 0, buffer: Vec::new() },
                block: Block::default(),
                number: 0,
                crc: 0,
            },
        })
    }

    /// Adds a row, not below the one before.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn push(&mut self, row: &Row) -> io::Result<()> {
        if self.kind == Kind::Ids {
            self.filter.add(row[0], &*self.file)?;
        }
        if self.page.is_empty() {
            self.index.push(row[0]);
            self.page.resize(PAGE_HEAD_BYTES, 0);
        }
        for number in row {
            self.page.put_u64_le(*number);
        }
        self.rows += 1;
        if self.page.len() + ROW_BYTES > PAGE_BYTES { self.finish_page() } else { Ok(()) }
    }

    fn finish_page(&mut self) -> io::Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        let rows = (self.page.len() - PAGE_HEAD_BYTES) / ROW_BYTES;
        self.page[4..8].copy_from_slice(&(rows as u32).to_le_bytes());
        self.page.resize(PAGE_BYTES, 0);
        let crc = crc32c::crc32c(&self.page[4..]);
        self.page[..4].copy_from_slice(&crc.to_le_bytes());
        self.pages.buffer.extend_from_slice(&self.page);
        self.page.clear();
        self.pages.flush_above(STRETCH_BYTES, &*self.file)
    }

    /// Completes the table, durably but for its name; returns its rows.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.finish_page()?;
        self.filter.finish(&*self.file)?;
        let index_from = self.pages.buffer.len();
        for first in &self.index {
            self.pages.buffer.put_u64_le(*first);
        }
        let index_crc = crc32c::crc32c(&self.pages.buffer[index_from..]);
        let footer = self.pages.buffer.len();
        let bytes = &mut self.pages.buffer;
        bytes.put_u32_le(MAGIC);
        bytes.put_u16_le(VERSION);
        bytes.put_u16_le(self.kind as u16);
        bytes.put_u64_le(self.run);
        bytes.put_u64_le(self.rows);
        bytes.put_u32_le(self.filter.blocks);
        let pages = u32::try_from(self.index.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        bytes.put_u32_le(pages);
        bytes.put_u32_le(self.filter.crc);
        bytes.put_u32_le(index_crc);
        bytes.put_u32_le(0);
        let crc = crc32c::crc32c(&bytes[footer..]);
        bytes.put_u32_le(crc);
        self.pages.flush_above(0, &*self.file)?;
        self.file.sync()?;
        Ok(self.rows)
    }
}

impl FilterWriter {
    fn add(&mut self, hash: u64, file: &dyn File) -> io::Result<()> {
        let number = filter::block_of(hash, self.blocks);
        while self.number < number {
            self.next_block(file)?;
        }
        self.block.add(hash);
        Ok(())
    }

    fn next_block(&mut self, file: &dyn File) -> io::Result<()> {
        let from = self.stream.buffer.len();
        self.block.write(&mut self.stream.buffer);
        self.crc = crc32c::crc32c_append(self.crc, &self.stream.buffer[from..]);
        self.block = Block::default();
        self.number += 1;
        self.stream.flush_above(STRETCH_BYTES, file)
    }

    fn finish(&mut self, file: &dyn File) -> io::Result<()> {
        while self.number < self.blocks {
            self.next_block(file)?;
        }
        self.stream.flush_above(0, file)
    }
}

fn pages_at(filter_blocks: u32) -> u64 {
    let bytes = u64::from(filter_blocks) * filter::BLOCK_BYTES as u64;
    bytes.next_multiple_of(PAGE_BYTES as u64)
}

/// A table of a run. Nothing is open or in memory before it is first asked.
pub(super) struct Table {
    files: Arc<dyn Files>,
    path: PathBuf,
    run: RunId,
    kind: Kind,
    loaded: OnceLock<Loaded>,
}

/// What of a table is in memory.
struct Loaded {
    filter: Vec<Block>,
    /// First number of each page.
    firsts: Vec<u64>,
    pages_at: u64,
}

impl Table {
    pub(super) fn new(files: Arc<dyn Files>, path: PathBuf, run: RunId, kind: Kind) -> Self {
        Self { files, path, run, kind, loaded: OnceLock::new() }
    }

    /// Hands all rows that begin with `wanted` to `each`, until it says that it is satisfied.
    ///
    /// # Errors
    /// The disk's own, or damage.
    pub(super) fn find(
        &self,
        wanted: u64,
        mut each: impl FnMut(&Row) -> bool,
    ) -> Result<(), RunError> {
        let loaded = self.loaded()?;
        let blocks = loaded.filter.len() as u32;
        if blocks > 0 {
            let block = &loaded.filter[filter::block_of(wanted, blocks) as usize];
            if !block.may_have(wanted) {
                return Ok(());
            }
        }
        let first = loaded.firsts.partition_point(|first| *first < wanted).saturating_sub(1);
        let file = self.files.open(&self.path, OpenMode::Read)?;
        let mut page = [0; PAGE_BYTES];
        for number in first..loaded.firsts.len() {
            if loaded.firsts[number] > wanted {
                return Ok(());
            }
            let position = loaded.pages_at + (number * PAGE_BYTES) as u64;
            file.read_at(&mut page, position)?;
            let rows = checked_page(&page).ok_or_else(|| self.damaged())?;
            let from = rows.partition_point(|row| first_of(row) < wanted);
            for row in &rows[from..] {
                if first_of(row) > wanted || each(&read_row(row)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads all rows, in order.
    pub(super) fn rows(&self) -> Result<TableRows<'_>, RunError> {
        let loaded = self.loaded()?;
        let file = self.files.open(&self.path, OpenMode::Read)?;
        let pages = loaded.firsts.len();
        Ok(TableRows {
            table: self,
            file,
            at: loaded.pages_at,
            pages,
            buffer: Vec::new(),
            row: 0,
            page: 0,
        })
    }

    /// Reads filter and index into memory, as the first look-up would.
    ///
    /// # Errors
    /// The disk's own, or damage.
    pub(super) fn warm(&self) -> Result<(), RunError> {
        self.loaded().map(drop)
    }

    fn loaded(&self) -> Result<&Loaded, RunError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let file = self.files.open(&self.path, OpenMode::Read)?;
        let loaded = Loaded::read(&*file, self.run, self.kind)?.ok_or_else(|| self.damaged())?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    fn damaged(&self) -> RunError {
        RunError::Damaged { run: self.run, what: self.kind.what() }
    }
}

impl Loaded {
    /// `None` if it is damaged.
    fn read(file: &dyn File, run: RunId, kind: Kind) -> io::Result<Option<Self>> {
        let len_bytes = file.len_bytes()?;
        let mut footer = [0; FOOTER_BYTES];
        let Some(footer_at) = len_bytes.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        file.read_at(&mut footer, footer_at)?;
        let mut rest = &footer[..];
        let (magic, version, found) = (rest.get_u32_le(), rest.get_u16_le(), rest.get_u16_le());
        let (number, _rows) = (rest.get_u64_le(), rest.get_u64_le());
        let (blocks, pages) = (rest.get_u32_le(), rest.get_u32_le());
        let (filter_crc, index_crc) = (rest.get_u32_le(), rest.get_u32_le());
        rest.advance(4);
        let whole = rest.get_u32_le() == crc32c::crc32c(&footer[..FOOTER_BYTES - 4]);
        let ours = (magic, version, found, number) == (MAGIC, VERSION, kind as u16, run);
        let pages_at = pages_at(blocks);
        let index_at = pages_at + u64::from(pages) * PAGE_BYTES as u64;
        // All that is reserved below is bounded by the file's own length.
        if !whole || !ours || index_at + u64::from(pages) * 8 != footer_at {
            return Ok(None);
        }
        let mut filter = Vec::with_capacity(blocks as usize);
        let filter_bytes = blocks as usize * filter::BLOCK_BYTES;
        let crc = stretches(file, 0, filter_bytes, |bytes| {
            let (blocks, _) = bytes.as_chunks();
            filter.extend(blocks.iter().map(Block::read));
        })?;
        let mut firsts = Vec::with_capacity(pages as usize);
        let found_index_crc = stretches(file, index_at, pages as usize * 8, |bytes| {
            let (numbers, _) = bytes.as_chunks();
            firsts.extend(numbers.iter().map(|number| u64::from_le_bytes(*number)));
        })?;
        let whole = crc == filter_crc && found_index_crc == index_crc;
        Ok(whole.then_some(Self { filter, firsts, pages_at }))
    }
}

/// Reads so many bytes, a stretch at a time; returns their CRC.
fn stretches(
    file: &dyn File,
    position: u64,
    bytes: usize,
    mut each: impl FnMut(&[u8]),
) -> io::Result<u32> {
    let mut buffer = vec![0; bytes.min(STRETCH_BYTES)];
    let (mut crc, mut done) = (0, 0);
    while done < bytes {
        let count = buffer.len().min(bytes - done);
        let stretch = &mut buffer[..count];
        let read = file.read_at(stretch, position + done as u64)?;
        // A file that ends early has another CRC.
        stretch[read..].fill(0);
        crc = crc32c::crc32c_append(crc, stretch);
        each(stretch);
        done += count;
    }
    Ok(crc)
}

/// The rows of a page, if it is whole.
fn checked_page(page: &[u8; PAGE_BYTES]) -> Option<&[[u8; ROW_BYTES]]> {
    let mut head = &page[..PAGE_HEAD_BYTES];
    let (crc, rows) = (head.get_u32_le(), head.get_u32_le() as usize);
    let (slots, _) = page[PAGE_HEAD_BYTES..].as_chunks();
    (crc == crc32c::crc32c(&page[4..])).then(|| slots.get(..rows)).flatten()
}

fn first_of(row: &[u8; ROW_BYTES]) -> u64 {
    read_row(row)[0]
}

#[inline]
fn read_row(row: &[u8; ROW_BYTES]) -> Row {
    let (numbers, _) = row.as_chunks();
    let mut read = [0; 3];
    for (number, bytes) in read.iter_mut().zip(numbers) {
        *number = u64::from_le_bytes(*bytes);
    }
    read
}

/// All rows of a table, a stretch of pages at a time.
pub(super) struct TableRows<'a> {
    table: &'a Table,
    file: Arc<dyn File>,
    /// Where the next stretch begins, and how many pages are left from there.
    at: u64,
    pages: usize,
    buffer: Vec<[u8; PAGE_BYTES]>,
    /// The next row and its page in the buffer.
    page: usize,
    row: usize,
}

impl TableRows<'_> {
    /// The next row.
    ///
    /// # Errors
    /// The disk's own, or damage.
    pub(super) fn next(&mut self) -> Result<Option<Row>, RunError> {
        loop {
            if let Some(page) = self.buffer.get(self.page) {
                // The page was checked when it was read.
                let rows = u32::from_le_bytes([page[4], page[5], page[6], page[7]]) as usize;
                if self.row < rows {
                    let (slots, _) = page[PAGE_HEAD_BYTES..].as_chunks();
                    self.row += 1;
                    return Ok(Some(read_row(&slots[self.row - 1])));
                }
                (self.page, self.row) = (self.page + 1, 0);
            } else if self.pages == 0 {
                return Ok(None);
            } else {
                self.read_stretch()?;
            }
        }
    }

    fn read_stretch(&mut self) -> Result<(), RunError> {
        let count = self.pages.min(STRETCH_BYTES / PAGE_BYTES);
        self.buffer.resize(count, [0; PAGE_BYTES]);
        self.file.read_at(self.buffer.as_flattened_mut(), self.at)?;
        if !self.buffer.iter().all(|page| checked_page(page).is_some()) {
            return Err(self.table.damaged());
        }
        self.at += (count * PAGE_BYTES) as u64;
        self.pages -= count;
        (self.page, self.row) = (0, 0);
        Ok(())
    }
}
