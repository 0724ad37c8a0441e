//! Journal segments with known entries, and runs of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use crate::delay::key::Key;
use crate::log::runs::{
    Entry, Manifest, Merge, NEVER_MS, OwnedEntry, RunError, RunId, Runs, Sealed, Source, seal,
};
use crate::store::memory::MemoryFiles;
use crate::store::{Files, OpenMode};
use crate::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES, TimestampType};
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::crc;
use crate::wire::records::Header;
use crate::wire::varint::take_i32;

pub const START_MS: i64 = 1_800_000_000_000;
pub const LAST: Key = Key { due_ms: i64::MAX, ticket: i64::MAX };

pub fn delay_dir() -> &'static Path {
    Path::new("/data/topic-0/delay")
}

fn segment_path() -> &'static Path {
    Path::new("/data/segment")
}

/// A delayed record as a test wants it. Its ticket is its place in the journal.
#[derive(Clone, Debug)]
pub struct Put {
    pub due_in_ms: i64,
    pub passed_by_ms: i64,
    pub expires: bool,
    pub id: Option<u8>,
    pub value_bytes: usize,
}

pub fn any_put(value_bytes: std::ops::Range<usize>) -> impl Strategy<Value = Put> {
    let id = prop::option::of(0..40_u8);
    (0..500_i64, 0..3_i64, any::<bool>(), id, value_bytes).prop_map(
        |(due_in_ms, passed_by_ms, expires, id, value_bytes)| Put {
            due_in_ms,
            passed_by_ms,
            expires,
            id,
            value_bytes,
        },
    )
}

/// Journals of one to four segments.
pub fn any_journal() -> impl Strategy<Value = Vec<Vec<Put>>> {
    prop::collection::vec(prop::collection::vec(any_put(0..300), 1..120), 1..5)
}

pub fn id_name(id: u8) -> Vec<u8> {
    format!("order-{id}").into_bytes()
}

/// A segment whose first ticket is this, with batches of up to seven records; what seals it, in
/// key order; and its entries.
pub fn segment(first_ticket: i64, puts: &[Put]) -> (Vec<u8>, Vec<Source>, Vec<OwnedEntry>) {
    let (mut bytes, mut sources, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut ticket = first_ticket;
    for batch in puts.chunks(7) {
        let accepted_ms = START_MS + ticket / 10;
        let built = batch_bytes(ticket, accepted_ms, batch);
        let header = BatchHeader::parse(&built).unwrap();
        let mut at = HEADER_BYTES;
        for put in batch {
            let mut rest = &built[at..];
            let body = usize::try_from(take_i32(&mut rest).unwrap()).unwrap();
            let end = built.len() - rest.len() + body;
            let due_ms = accepted_ms + put.due_in_ms;
            let expires_at_ms = if put.expires { due_ms + 1_000 } else { NEVER_MS };
            let entry = Entry {
                key: Key { due_ms, ticket },
                asked_due_ms: due_ms - put.passed_by_ms,
                expires_at_ms,
                accepted_ms,
                base_timestamp_ms: header.base_timestamp_ms,
                record: built.slice(at..end),
            };
            sources.push(Source {
                key: entry.key,
                asked_due_ms: entry.asked_due_ms,
                expires_at_ms,
                position: u32::try_from(bytes.len() + at).unwrap(),
                bytes: u32::try_from(end - at).unwrap(),
            });
            entries.push(entry);
            at = end;
            ticket += 1;
        }
        bytes.extend_from_slice(&built);
    }
    sources.sort_unstable_by_key(|source| source.key);
    (bytes, sources, entries)
}

fn batch_bytes(base_offset: i64, accepted_ms: i64, puts: &[Put]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for (n, put) in puts.iter().enumerate() {
        let name = put.id.map(id_name);
        let id = name.iter().map(|id| Header { key: b"klamm.delay.id", value: Some(id) });
        let other = Header { key: b"trace", value: Some(b"t") };
        let value = vec![b'v'; put.value_bytes];
        let headers: Vec<_> = std::iter::once(other).chain(id).collect();
        builder.push(START_MS - 5_000 + n as i64, Some(b"key"), Some(&value), headers.into_iter());
    }
    let (mut header, records) = builder.build_parts().unwrap();
    header.base_offset = base_offset;
    header.max_timestamp_ms = accepted_ms;
    header.set_timestamp_type(TimestampType::LogAppendTime);
    let mut bytes = header.write().to_vec();
    bytes.extend_from_slice(&records);
    header.crc = crc::crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.write());
    bytes.into()
}

/// Seals a segment of these bytes, with the abort flag down.
pub fn seal_bytes(
    files: &MemoryFiles,
    id: RunId,
    bytes: Vec<u8>,
    sources: Vec<Source>,
) -> Result<Sealed, RunError> {
    files.put(segment_path(), bytes);
    let segment = files.open(segment_path(), OpenMode::Read).unwrap();
    seal(files, delay_dir(), id, &*segment, sources, &AtomicBool::new(false))
}

/// What is in the runs of a partition, by key.
pub type Wanted = BTreeMap<Key, OwnedEntry>;

/// A partition with one run per segment, named by a manifest on disk.
pub struct Partition {
    pub files: MemoryFiles,
    pub manifest: Manifest,
    pub wanted: Wanted,
    next_ticket: i64,
}

impl Partition {
    pub fn of(journal: &[Vec<Put>]) -> Self {
        let (files, manifest) = (MemoryFiles::new(), Manifest::default());
        files.create_dir(delay_dir()).unwrap();
        let mut partition = Self { files, manifest, wanted: Wanted::new(), next_ticket: 100 };
        for puts in journal {
            partition.seal(puts);
        }
        partition
    }

    pub fn seal(&mut self, puts: &[Put]) {
        let (bytes, sources, entries) = segment(self.next_ticket, puts);
        let sealed = seal_bytes(&self.files, self.manifest.next_run, bytes, sources).unwrap();
        assert!(sealed.lost.is_empty());
        self.next_ticket += puts.len() as i64;
        self.manifest.next_run += 1;
        self.manifest.runs.extend(sealed.run);
        self.manifest.write(&self.files, delay_dir()).unwrap();
        self.wanted.extend(entries.into_iter().map(|entry| (entry.key, entry)));
    }

    /// As after a restart.
    pub fn open(&self) -> Runs {
        let manifest = Manifest::read(&self.files, delay_dir()).unwrap().unwrap();
        assert_eq!(manifest, self.manifest);
        Runs::open(Arc::new(self.files.clone()), delay_dir(), &manifest).unwrap()
    }

    /// Names of the files of runs.
    pub fn names(&self) -> Vec<String> {
        let listed = self.files.list(&delay_dir().join("runs")).unwrap();
        listed.into_iter().map(|entry| entry.name).collect()
    }
}

/// All that is left of a sequence.
pub fn drain(merge: &mut Merge) -> Vec<OwnedEntry> {
    let mut entries = Vec::new();
    while let Some(key) = merge.peek(LAST).unwrap() {
        let entry = merge.entry().unwrap().to_owned();
        assert_eq!(entry.key, key);
        entries.push(entry);
        merge.advance();
    }
    entries
}
