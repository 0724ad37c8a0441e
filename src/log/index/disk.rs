//! Index files: written from memory, checked before use, searched in place.
//!
//! A search takes some 17 small reads, so the files of sealed segments are opened mapped.

use std::io::{self, ErrorKind, IoSlice};

use super::{OFFSET_ENTRY_BYTES, OffsetEntry, TIME_ENTRY_BYTES, TimeEntry};
use crate::log::index::growing::MemoryIndex;
use crate::store::{File, Resize};

/// Entries of an index file, as far as it has been written from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub offsets: usize,
    pub times: usize,
}

/// Adds to both files what memory has beyond `written`, and returns what they hold now.
///
/// # Errors
/// The disk's own; the files may then hold a part, which the next check throws out.
pub fn extend(
    offsets: &dyn File,
    times: &dyn File,
    index: &MemoryIndex,
    written: Written,
) -> io::Result<Written> {
    let now = Written { offsets: index.offset_entries(), times: index.time_entries() };
    let mut bytes = Vec::with_capacity((now.offsets - written.offsets) * OFFSET_ENTRY_BYTES);
    for n in written.offsets..now.offsets {
        let entry = index.offset_entry(n);
        bytes.extend_from_slice(&entry.last_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.position.to_be_bytes());
    }
    write_tail(offsets, &bytes, written.offsets * OFFSET_ENTRY_BYTES)?;
    bytes.clear();
    for n in written.times..now.times {
        let entry = index.time_entry(n);
        bytes.extend_from_slice(&entry.timestamp_ms.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset.to_be_bytes());
    }
    write_tail(times, &bytes, written.times * TIME_ENTRY_BYTES)?;
    Ok(now)
}

fn write_tail(file: &dyn File, bytes: &[u8], at: usize) -> io::Result<()> {
    // What an earlier process left beyond is not ours.
    if file.len_bytes()? > at as u64 {
        file.resize(Resize::Cut(at as u64))?;
    }
    if bytes.is_empty() { Ok(()) } else { file.write_at(&[IoSlice::new(bytes)], at as u64) }
}

/// Both indexes as read from their files; the base offsets of entries are not known there.
#[derive(Debug, Default)]
pub struct Loaded {
    pub offsets: Vec<OffsetEntry>,
    pub times: Vec<TimeEntry>,
}

impl Loaded {
    /// How many entries there are of each kind.
    #[must_use]
    pub fn written(&self) -> Written {
        Written { offsets: self.offsets.len(), times: self.times.len() }
    }

    /// Without the entries of batches from `position` on.
    #[must_use]
    pub fn below(mut self, position: u64) -> Self {
        self.offsets.retain(|entry| u64::from(entry.position) < position);
        let last_offset = self.offsets.last().map(|entry| entry.last_offset);
        self.times.retain(|entry| last_offset.is_some_and(|last| entry.last_offset <= last));
        self
    }
}

/// Decodes whole index files; `None` if a length is odd or anything does not rise strictly.
#[must_use]
pub fn decode(offsets: &[u8], times: &[u8]) -> Option<Loaded> {
    let (offsets, odd_offsets) = offsets.as_chunks::<OFFSET_ENTRY_BYTES>();
    let (times, odd_times) = times.as_chunks::<TIME_ENTRY_BYTES>();
    if !odd_offsets.is_empty() || !odd_times.is_empty() {
        return None;
    }
    let loaded = Loaded {
        offsets: offsets.iter().map(|bytes| offset_entry(*bytes)).collect(),
        times: times.iter().map(|bytes| time_entry(*bytes)).collect(),
    };
    let offsets_rise = loaded.offsets.windows(2).all(|pair| {
        pair[0].last_offset < pair[1].last_offset && pair[0].position < pair[1].position
    });
    let times_rise = loaded.times.windows(2).all(|pair| {
        pair[0].last_offset < pair[1].last_offset && pair[0].timestamp_ms < pair[1].timestamp_ms
    });
    (offsets_rise && times_rise).then_some(loaded)
}

fn offset_entry(bytes: [u8; OFFSET_ENTRY_BYTES]) -> OffsetEntry {
    let [a, b, c, d, e, f, g, h] = bytes;
    let last_offset = u32::from_be_bytes([a, b, c, d]);
    OffsetEntry { base_offset: 0, last_offset, position: u32::from_be_bytes([e, f, g, h]) }
}

fn time_entry(bytes: [u8; TIME_ENTRY_BYTES]) -> TimeEntry {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    TimeEntry {
        timestamp_ms: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        last_offset: u32::from_be_bytes([i, j, k, l]),
    }
}

/// The last entry whose batch ends at or before relative offset `last_offset`.
pub fn floor_offset(
    file: &dyn File,
    count: usize,
    last_offset: u32,
) -> io::Result<Option<OffsetEntry>> {
    floor(file, count, offset_entry, |entry| entry.last_offset <= last_offset)
}

/// The last entry whose batch begins at or before `position`.
pub fn floor_position(
    file: &dyn File,
    count: usize,
    position: u32,
) -> io::Result<Option<OffsetEntry>> {
    floor(file, count, offset_entry, |entry| entry.position <= position)
}

/// The last entry with a timestamp below `timestamp_ms`.
pub fn floor_time(
    file: &dyn File,
    count: usize,
    timestamp_ms: i64,
) -> io::Result<Option<TimeEntry>> {
    floor(file, count, time_entry, |entry| entry.timestamp_ms < timestamp_ms)
}

fn floor<const BYTES: usize, Entry>(
    file: &dyn File,
    count: usize,
    decode: impl Fn([u8; BYTES]) -> Entry,
    before: impl Fn(&Entry) -> bool,
) -> io::Result<Option<Entry>> {
    let (mut low, mut high, mut found) = (0, count, None);
    while low < high {
        let middle = low.midpoint(high);
        let mut bytes = [0; BYTES];
        if file.read_at(&mut bytes, (middle * BYTES) as u64)? < BYTES {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let entry = decode(bytes);
        if before(&entry) {
            low = middle + 1;
            found = Some(entry);
        } else {
            high = middle;
        }
    }
    Ok(found)
}
