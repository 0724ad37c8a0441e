//! The file `manifest` of a partition's `delay` directory: which runs there are, and the state of
//! delivery from which the journal is replayed.
//!
//! Replaced whole by rename. A run exists if and only if the manifest names it: files it does not
//! name are what an interrupted job left, and are removed ([`sweep`]). State that is spread over
//! several files was not taken: a crash would leave a mixture.
//!
//! Version 2, little-endian:
//!
//! ```text
//!  0 u32 magic 0x4d444c4b ("KLDM")   4 u32 CRC-32C of 8..end
//!  8 u16 version                    10 u16 0
//! 12 i64 sealed                     20 i64 released due, ms    28 i64 released ticket
//! 36 u64 pending records            44 u64 pending bytes       52 i64 clock, ms
//! 60 u64 next run                   68 u32 runs                72 u32 bytes of cancelled
//! 76 cancelled tickets: a 64-bit roaring bitmap in its portable form
//!    then per run, 45 bytes:
//!     0 u64 id    8 u8 tier    9 u64 ids    17 u64 tickets
//!    25 i64 first ticket      33 i64 last ticket    41 u32 slices
//!    then per slice, 56 bytes:
//!     0 u32 number  4 u32 entries  8 u64 record bytes  16 u64 file bytes
//!    24 i64 first due, ms  32 i64 first ticket  40 i64 last due, ms  48 i64 last ticket
//!    then to the end what is remembered of copies (`delay/copies.rs`), which version 1 lacks
//! ```

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use roaring::RoaringTreemap;

use super::meta::{RunId, RunMeta, SliceMeta, ids_name, runs_dir, slice_name, tickets_name};
use crate::base::crash_point;
use crate::delay::copies::Copies;
use crate::delay::key::Key;
use crate::store::{Files, OpenMode, Resize};

/// Name of the file in a partition's `delay` directory.
pub const FILE_NAME: &str = "manifest";
const NEXT_NAME: &str = "manifest.tmp";
const MAGIC: u32 = u32::from_le_bytes(*b"KLDM");
const VERSION: u16 = 2;
/// Of brokers that made no copies.
const VERSION_WITHOUT_COPIES: u16 = 1;
const HEAD_BYTES: usize = 76;
const RUN_BYTES: usize = 45;
const SLICE_BYTES: usize = 56;

/// All that a partition's delayed delivery starts from, besides its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The journal is replayed from this offset on: what lies below is in runs, or is over.
    pub sealed: i64,
    /// The release position as the journal has it at `sealed`.
    pub released: Key,
    /// Entries that were pending at `sealed`, and the length of their records.
    pub pending_records: u64,
    pub pending_bytes: u64,
    /// Newest time of the release clock that the journal has below `sealed`.
    pub clock_ms: i64,
    /// Tickets that are in runs and were cancelled before `sealed`.
    pub cancelled: RoaringTreemap,
    /// Origins of the copies that the journal has, or had, below `sealed`.
    pub copies: Arc<Copies>,
    /// Number of the next run.
    pub next_run: RunId,
    pub runs: Vec<RunMeta>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            sealed: 0,
            released: Key::MIN,
            pending_records: 0,
            pending_bytes: 0,
            clock_ms: 0,
            cancelled: RoaringTreemap::new(),
            copies: Arc::default(),
            next_run: 0,
            runs: Vec::new(),
        }
    }
}

/// Why a manifest is not believed. What its runs hold can then not be told from leftovers.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("delay manifest: {0}")]
    Io(#[from] io::Error),
    #[error("delay manifest: format version {0}, this is {VERSION}")]
    Version(u16),
    #[error("delay manifest: damaged")]
    Damaged,
}

impl Manifest {
    /// Reads the manifest of a partition's `delay` directory; `None` if it has none.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn read(files: &dyn Files, delay_dir: &Path) -> Result<Option<Self>, ManifestError> {
        let file = match files.open(&delay_dir.join(FILE_NAME), OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(file.len_bytes()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        Self::decode(&bytes[..read]).map(Some)
    }

    /// Replaces the manifest, durably. The runs it names must be durable before.
    ///
    /// # Errors
    /// The disk's own; after a failed sync or rename either of both manifests may stand.
    pub fn write(&self, files: &dyn Files, delay_dir: &Path) -> io::Result<()> {
        let bytes = self.encode();
        let next = delay_dir.join(NEXT_NAME);
        let file = files.open(&next, OpenMode::Write)?;
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
        file.resize(Resize::Cut(bytes.len() as u64))?;
        file.sync()?;
        crash_point::pass("manifest");
        files.rename(&next, &delay_dir.join(FILE_NAME))?;
        files.sync_dir(delay_dir)
    }

    /// Lets go of slices and runs that the release position has wholly passed; says whether there
    /// were any. `durable` is the position as no crash can undo it.
    pub fn drop_passed(&mut self, durable: Key) -> bool {
        let count = |runs: &[RunMeta]| runs.iter().map(|run| run.slices.len()).sum::<usize>();
        let before = count(&self.runs);
        for run in &mut self.runs {
            run.slices.retain(|slice| slice.last > durable);
        }
        self.runs.retain(|run| !run.slices.is_empty());
        count(&self.runs) < before
    }

    fn encode(&self) -> Vec<u8> {
        let mut cancelled = Vec::with_capacity(self.cancelled.serialized_size());
        self.cancelled.serialize_into(&mut cancelled).expect("memory takes what is written");
        let slices: usize = self.runs.iter().map(|run| run.slices.len()).sum();
        let size = cancelled.len() + self.runs.len() * RUN_BYTES + slices * SLICE_BYTES;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + size);
        bytes.put_u32_le(MAGIC);
        bytes.put_u32_le(0);
        bytes.put_u16_le(VERSION);
        bytes.put_u16_le(0);
        bytes.put_i64_le(self.sealed);
        put_key(self.released, &mut bytes);
        bytes.put_u64_le(self.pending_records);
        bytes.put_u64_le(self.pending_bytes);
        bytes.put_i64_le(self.clock_ms);
        bytes.put_u64_le(self.next_run);
        bytes.put_u32_le(count(self.runs.len()));
        bytes.put_u32_le(count(cancelled.len()));
        bytes.put_slice(&cancelled);
        for run in &self.runs {
            encode_run(run, &mut bytes);
        }
        bytes.put_slice(&self.copies.encode());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() < HEAD_BYTES {
            return Err(ManifestError::Damaged);
        }
        let mut rest = bytes;
        let (magic, crc) = (rest.get_u32_le(), rest.get_u32_le());
        if magic != MAGIC || crc32c::crc32c(rest) != crc {
            return Err(ManifestError::Damaged);
        }
        let version = rest.get_u16_le();
        if ![VERSION, VERSION_WITHOUT_COPIES].contains(&version) {
            return Err(ManifestError::Version(version));
        }
        Self::decode_fields(&bytes[12..], version).ok_or(ManifestError::Damaged)
    }

    /// All behind the version; `bytes` holds the rest of the head at least.
    fn decode_fields(bytes: &[u8], version: u16) -> Option<Self> {
        let mut rest = bytes;
        let mut manifest = Self {
            sealed: rest.get_i64_le(),
            released: get_key(&mut rest),
            pending_records: rest.get_u64_le(),
            pending_bytes: rest.get_u64_le(),
            clock_ms: rest.get_i64_le(),
            next_run: rest.get_u64_le(),
            ..Self::default()
        };
        let (runs, cancelled_bytes) = (rest.get_u32_le(), rest.get_u32_le());
        let (mut cancelled, mut rest) =
            rest.split_at_checked(usize::try_from(cancelled_bytes).ok()?)?;
        manifest.cancelled = RoaringTreemap::deserialize_from(&mut cancelled).ok()?;
        manifest.runs = (0..runs).map(|_| decode_run(&mut rest)).collect::<Option<_>>()?;
        if version > VERSION_WITHOUT_COPIES {
            manifest.copies = Arc::new(Copies::decode(std::mem::take(&mut rest))?);
        }
        (cancelled.is_empty() && rest.is_empty()).then_some(manifest)
    }
}

fn put_key(key: Key, bytes: &mut Vec<u8>) {
    bytes.put_i64_le(key.due_ms);
    bytes.put_i64_le(key.ticket);
}

fn get_key(rest: &mut &[u8]) -> Key {
    Key { due_ms: rest.get_i64_le(), ticket: rest.get_i64_le() }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("runs, slices and cancelled tickets of a partition stay below this")
}

fn encode_run(run: &RunMeta, bytes: &mut Vec<u8>) {
    bytes.put_u64_le(run.id);
    bytes.put_u8(run.tier);
    bytes.put_u64_le(run.ids);
    bytes.put_u64_le(run.tickets);
    bytes.put_i64_le(run.first_ticket);
    bytes.put_i64_le(run.last_ticket);
    bytes.put_u32_le(count(run.slices.len()));
    for slice in &run.slices {
        bytes.put_u32_le(slice.number);
        bytes.put_u32_le(slice.entries);
        bytes.put_u64_le(slice.record_bytes);
        bytes.put_u64_le(slice.file_bytes);
        put_key(slice.first, bytes);
        put_key(slice.last, bytes);
    }
}

fn decode_run(rest: &mut &[u8]) -> Option<RunMeta> {
    if rest.len() < RUN_BYTES {
        return None;
    }
    let mut run = RunMeta {
        id: rest.get_u64_le(),
        tier: rest.get_u8(),
        ids: rest.get_u64_le(),
        tickets: rest.get_u64_le(),
        first_ticket: rest.get_i64_le(),
        last_ticket: rest.get_i64_le(),
        slices: Vec::new(),
    };
    let slices = rest.get_u32_le();
    run.slices = (0..slices).map(|_| decode_slice(rest)).collect::<Option<_>>()?;
    Some(run)
}

fn decode_slice(rest: &mut &[u8]) -> Option<SliceMeta> {
    if rest.len() < SLICE_BYTES {
        return None;
    }
    Some(SliceMeta {
        number: rest.get_u32_le(),
        entries: rest.get_u32_le(),
        record_bytes: rest.get_u64_le(),
        file_bytes: rest.get_u64_le(),
        first: get_key(rest),
        last: get_key(rest),
    })
}

/// Removes files of runs that `manifest` does not name. Never while a job writes a run, or while
/// a reader of a run that is no longer named has slices yet to open.
///
/// # Errors
/// The disk's own; what is left is removed next time.
pub fn sweep(files: &dyn Files, delay_dir: &Path, manifest: &Manifest) -> io::Result<()> {
    let dir = runs_dir(delay_dir);
    let mut named = HashSet::new();
    for run in &manifest.runs {
        named.insert(tickets_name(run.id));
        if run.ids > 0 {
            named.insert(ids_name(run.id));
        }
        named.extend(run.slices.iter().map(|slice| slice_name(run.id, slice.number)));
    }
    for entry in files.list(&dir)? {
        if !named.contains(&entry.name) {
            files.remove(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
