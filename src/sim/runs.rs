//! The jobs on runs of delayed records, over the disk that forgets, tears and fails.
//!
//! A life seals, merges and lets go at random, as a partition's sealer does, and is cut off within
//! some call. Afterwards the manifest must be the one before the job that was cut off or the one
//! after it, everything that manifest names must be there to the last byte, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use roaring::RoaringTreemap;

use super::disk::{Faults, SimDisk};
use super::random::Random;
use crate::delay::key::Key;
use crate::log::runs::{
    Manifest, ManifestError, NEVER_MS, Over, RunError, Runs, Source, merge, seal, sweep,
};
use crate::store::{Files, OpenMode, Resize};
use crate::wire::batch::HEADER_BYTES;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::Header;

const DELAY_DIR: &str = "/data/topic-0/delay";
const SEGMENT: &str = "/data/topic-0/segment";
const LAST: Key = Key { due_ms: i64::MAX, ticket: i64::MAX };
/// Jobs of one life, if nothing cuts it off.
const JOBS: u64 = 12;
/// Lives of one run.
const LIVES: u64 = 8;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sealed: u64,
    pub merged: u64,
    pub passed: u64,
    pub crashes: u64,
    /// Crashes after which the manifest of the job that was cut off stood.
    pub completed: u64,
    pub entries: u64,
}

/// A manifest and what its runs hold.
#[derive(Clone, Default)]
struct State {
    manifest: Manifest,
    records: BTreeMap<Key, Bytes>,
}

struct World {
    disk: SimDisk,
    random: Random,
    /// As of the last job that was completed.
    now: State,
    /// What the job that is under way will leave.
    next: State,
    ticket: i64,
    tally: Tally,
}

/// Runs one seed. `syncs_lie` plants a disk that says it synced and did not.
///
/// # Errors
/// The promise that was broken.
pub fn run(seed: u64, syncs_lie: bool) -> Result<Tally, String> {
    let disk = SimDisk::new(seed);
    disk.create_dir(Path::new(DELAY_DIR)).map_err(|error| error.to_string())?;
    disk.sync_dir(Path::new("/data/topic-0")).map_err(|error| error.to_string())?;
    disk.sync_dir(Path::new("/data")).map_err(|error| error.to_string())?;
    disk.sync_dir(Path::new("/")).map_err(|error| error.to_string())?;
    let (now, next) = (State::default(), State::default());
    let random = Random::new(seed ^ 0x7275_6e73);
    let mut world = World { disk, random, now, next, ticket: 0, tally: Tally::default() };
    for _ in 0..LIVES {
        world.live(syncs_lie);
        world.restart()?;
    }
    Ok(world.tally)
}

impl World {
    /// Jobs until one fails or the power does.
    fn live(&mut self, syncs_lie: bool) {
        let full_one_in = if self.random.one_in(3) { 40 } else { 0 };
        let sync_fails_one_in = if self.random.one_in(3) { 20 } else { 0 };
        self.disk.set_faults(Faults { full_one_in, sync_fails_one_in, syncs_lie });
        self.disk.crash_in(1 + self.random.below(250));
        for _ in 0..JOBS {
            self.next = self.now.clone();
            if self.job().is_err() {
                return;
            }
            self.now = self.next.clone();
        }
    }

    fn job(&mut self) -> Result<(), RunError> {
        match self.random.below(4) {
            0 | 1 => self.seal()?,
            2 => self.merge()?,
            _ => self.pass(),
        }
        let dir = Path::new(DELAY_DIR);
        self.next.manifest.write(&self.disk, dir)?;
        // From here on the new manifest stands, whatever becomes of the sweep.
        self.now = self.next.clone();
        sweep(&self.disk, dir, &self.next.manifest)?;
        Ok(())
    }

    fn seal(&mut self) -> Result<(), RunError> {
        let (bytes, sources) = self.segment();
        let segment = self.disk.open(Path::new(SEGMENT), OpenMode::Write)?;
        segment.resize(Resize::Cut(0))?;
        segment.write_at(&[IoSlice::new(&bytes)], 0)?;
        for source in &sources {
            let from = source.position as usize;
            let record = Bytes::copy_from_slice(&bytes[from..from + source.bytes as usize]);
            self.next.records.insert(source.key, record);
        }
        let id = self.take_id();
        let no = AtomicBool::new(false);
        let sealed = seal(&self.disk, Path::new(DELAY_DIR), id, &*segment, sources, &no)?;
        if let Some(lost) = sealed.lost.first() {
            return Err(io::Error::other(format!("sealing lost {:?}", lost.key)).into());
        }
        self.next.manifest.runs.extend(sealed.run);
        self.next.manifest.sealed = self.ticket;
        self.tally.sealed += 1;
        Ok(())
    }

    /// A batch per record, due at random, some with an id.
    fn segment(&mut self) -> (Vec<u8>, Vec<Source>) {
        let (mut bytes, mut sources) = (Vec::new(), Vec::new());
        for _ in 0..=self.random.below(60) {
            let value = vec![self.random.next() as u8; self.random.below(3_000) as usize];
            let id = self.random.below(20).to_string();
            let header = Header { key: b"klamm.delay.id", value: Some(id.as_bytes()) };
            let headers = self.random.coin().then_some(header);
            let mut builder = BatchBuilder::new(Codec::None, None);
            builder.push(1_000, None, Some(&value), headers.as_slice().iter().copied());
            let batch = builder.build().expect("one small record");
            let due_ms = self.released().due_ms.max(0) + self.random.below(1_000).cast_signed() + 1;
            sources.push(Source {
                key: Key { due_ms, ticket: self.ticket },
                asked_due_ms: due_ms,
                expires_at_ms: NEVER_MS,
                position: (bytes.len() + HEADER_BYTES) as u32,
                bytes: (batch.len() - HEADER_BYTES) as u32,
            });
            self.ticket += 1;
            bytes.extend_from_slice(&batch);
        }
        sources.sort_unstable_by_key(|source| source.key);
        (bytes, sources)
    }

    /// Merges all runs, without some that were cancelled.
    fn merge(&mut self) -> Result<(), RunError> {
        let dir = Path::new(DELAY_DIR);
        let runs = Runs::open(Arc::new(self.disk.clone()), dir, &self.now.manifest)?;
        let mut cancelled = RoaringTreemap::new();
        for key in self.now.records.keys() {
            if self.random.one_in(4) {
                cancelled.insert(key.ticket.cast_unsigned());
            }
        }
        let over = Over { released: self.released(), cancelled: &cancelled };
        let (id, no) = (self.take_id(), AtomicBool::new(false));
        let merged = merge(&self.disk, dir, id, runs.all(), over, &no)?;
        self.next.manifest.runs = merged.run.into_iter().collect();
        self.next.records.retain(|key, _| !cancelled.contains(key.ticket.cast_unsigned()));
        self.tally.merged += 1;
        Ok(())
    }

    /// Moves the release position.
    fn pass(&mut self) {
        let count = self.random.below(self.now.records.len() as u64 + 1) as usize;
        let Some(last) = self.now.records.keys().take(count).last().copied() else { return };
        self.next.manifest.released = last;
        self.next.manifest.drop_passed(last);
        self.next.records.retain(|key, _| *key > last);
        self.tally.passed += 1;
    }

    fn released(&self) -> Key {
        self.now.manifest.released
    }

    fn take_id(&mut self) -> u64 {
        self.next.manifest.next_run += 1;
        self.next.manifest.next_run - 1
    }

    /// The machine or the process ends, and the partition is opened again.
    fn restart(&mut self) -> Result<(), String> {
        let power = self.disk.has_crashed() || self.random.coin();
        self.disk = if power { self.disk.power_cut() } else { self.disk.process_end() };
        self.tally.crashes += 1;
        let dir = Path::new(DELAY_DIR);
        let found = match Manifest::read(&self.disk, dir) {
            Ok(found) => found.unwrap_or_default(),
            Err(ManifestError::Io(error)) => return Err(format!("no manifest: {error}")),
            Err(error) => return Err(error.to_string()),
        };
        if found == self.next.manifest && found != self.now.manifest {
            self.now = self.next.clone();
            self.tally.completed += 1;
        }
        if found != self.now.manifest {
            return Err("a manifest stands that nobody wrote".to_owned());
        }
        let opened = Runs::open(Arc::new(self.disk.clone()), dir, &found);
        let runs = opened.map_err(|error| error.to_string())?;
        self.judge(&runs).map_err(|error| error.to_string())?
    }

    fn judge(&mut self, runs: &Runs) -> Result<Result<(), String>, RunError> {
        let mut merge = runs.after(self.released());
        let mut wanted = self.now.records.iter();
        while let Some(key) = merge.peek(LAST)? {
            let record = merge.entry().map(|entry| Bytes::copy_from_slice(entry.record));
            if wanted.next() != Some((&key, &record.unwrap_or_default())) {
                return Ok(Err(format!("{key:?} is not what was sealed")));
            }
            self.tally.entries += 1;
            merge.advance();
        }
        if let Some((missing, _)) = wanted.next() {
            return Ok(Err(format!("{missing:?} is gone")));
        }
        for key in self.now.records.keys() {
            if runs.find_ticket(key.ticket)?.map(|ticket| ticket.key) != Some(*key) {
                return Ok(Err(format!("the ticket of {key:?} is not found")));
            }
        }
        let named: usize = self.now.manifest.runs.iter().map(|run| run.slices.len()).sum();
        let listed = self.disk.list(&Path::new(DELAY_DIR).join("runs"))?;
        let slices = listed.iter().filter(|entry| entry.name.ends_with(".run")).count();
        Ok(if slices == named { Ok(()) } else { Err("a leftover was kept".to_owned()) })
    }
}
