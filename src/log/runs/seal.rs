//! Writes what is pending of a sealed journal segment as a run.
//!
//! The segment is read once from front to back and its batches are verified; then records are
//! copied out of memory in key order. What a damaged batch held is told, not written.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::error::RunError;
use super::meta::{RunId, RunMeta, ids_name, tickets_name};
use super::run::hash;
use super::table::{Kind, Row, TableWriter};
use super::write::SliceWriter;
use crate::base::crash_point;
use crate::delay::decide::id_of;
use crate::delay::key::Key;
use crate::store::{File, Files};
use crate::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES};
use crate::wire::crc;

/// A pending entry of the segment: its place in the order, and that of its record in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub key: Key,
    pub asked_due_ms: i64,
    /// [`super::entry::NEVER_MS`]: it does not expire.
    pub expires_at_ms: i64,
    /// Of the record's length field in the segment file.
    pub position: u32,
    /// Length of the record, that field included.
    pub bytes: u32,
}

/// What became of a segment.
#[derive(Debug)]
pub struct Sealed {
    /// Durable, and to be named by the next manifest; `None` if nothing was pending.
    pub run: Option<RunMeta>,
    /// Entries that were in damaged batches.
    pub lost: Vec<Source>,
}

/// A batch of the segment.
struct Batch {
    position: usize,
    base_timestamp_ms: i64,
    accepted_ms: i64,
    whole: bool,
}

/// Writes the run `id` of the partition whose `delay` directory this is. `sources` are in key
/// order. Takes memory for the segment, 48 bytes per source, and 1 MiB.
///
/// # Errors
/// The disk's own, or [`RunError::Aborted`]; what was written is then removed.
pub fn seal(
    files: &dyn Files,
    delay_dir: &Path,
    id: RunId,
    segment: &dyn File,
    sources: impl IntoIterator<Item = Source>,
    abort: &AtomicBool,
) -> Result<Sealed, RunError> {
    let len = usize::try_from(segment.len_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = segment.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    super::job(files, delay_dir, id, |dir| write(files, dir, id, &bytes, sources, abort))
}

fn write(
    files: &dyn Files,
    dir: &Path,
    id: RunId,
    segment: &[u8],
    sources: impl IntoIterator<Item = Source>,
    abort: &AtomicBool,
) -> Result<Sealed, RunError> {
    let batches = batches(segment);
    let mut slices = SliceWriter::new(files, dir, id);
    let (mut ids, mut tickets, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        let Some((batch, record)) = find(segment, &batches, &source) else {
            lost.push(source);
            continue;
        };
        let Source { key, asked_due_ms, expires_at_ms, .. } = source;
        let Batch { base_timestamp_ms, accepted_ms, .. } = *batch;
        let entry =
            Entry { key, asked_due_ms, expires_at_ms, accepted_ms, base_timestamp_ms, record };
        if slices.push(&entry)? && abort.load(Ordering::Relaxed) {
            return Err(RunError::Aborted);
        }
        let (due, ticket) = (key.due_ms.cast_unsigned(), key.ticket.cast_unsigned());
        tickets.push([ticket, due, record.len() as u64]);
        if let Some(name) = id_of(record) {
            ids.push([hash(name), due, ticket]);
        }
    }
    crash_point::pass("seal");
    let slices = slices.finish()?;
    let run = (!slices.is_empty()).then(|| {
        let [first, last] =
            write_table(files, &dir.join(tickets_name(id)), id, Kind::Tickets, &mut tickets)?;
        if !ids.is_empty() {
            write_table(files, &dir.join(ids_name(id)), id, Kind::Ids, &mut ids)?;
        }
        Ok::<_, io::Error>(RunMeta {
            id,
            tier: 0,
            ids: ids.len() as u64,
            tickets: tickets.len() as u64,
            first_ticket: first.cast_signed(),
            last_ticket: last.cast_signed(),
            slices,
        })
    });
    Ok(Sealed { run: run.transpose()?, lost })
}

/// Returns the first numbers of the first and the last row.
fn write_table(
    files: &dyn Files,
    path: &Path,
    id: RunId,
    kind: Kind,
    rows: &mut [Row],
) -> io::Result<[u64; 2]> {
    rows.sort_unstable();
    let mut table = TableWriter::create(files, path, id, kind, rows.len() as u64)?;
    for row in &*rows {
        table.push(row)?;
    }
    table.finish()?;
    Ok([rows.first(), rows.last()].map(|row| row.map_or(0, |row| row[0])))
}

/// The batches of a segment, up to where its bytes are none.
fn batches(segment: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut position = 0;
    while let Some(rest) = segment.get(position..)
        && let Ok(header) = BatchHeader::parse(rest)
        && let Some(bytes) = rest.get(..header.total_bytes())
    {
        batches.push(Batch {
            position,
            base_timestamp_ms: header.base_timestamp_ms,
            accepted_ms: header.max_timestamp_ms,
            whole: crc::crc32c(&bytes[CRC_START..]) == header.crc,
        });
        position += bytes.len();
    }
    batches.push(Batch { position, base_timestamp_ms: 0, accepted_ms: 0, whole: false });
    batches
}

/// The whole batch that holds a source, and the source's record.
fn find<'a, 'b>(
    segment: &'a [u8],
    batches: &'b [Batch],
    source: &Source,
) -> Option<(&'b Batch, &'a [u8])> {
    let start = source.position as usize;
    let end = start.checked_add(source.bytes as usize)?;
    let next = batches.partition_point(|batch| batch.position <= start);
    let batch = batches.get(next.checked_sub(1)?)?;
    let inside = start >= batch.position + HEADER_BYTES && end <= batches.get(next)?.position;
    (batch.whole && inside).then(|| segment.get(start..end)).flatten().map(|record| (batch, record))
}
