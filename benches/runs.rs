//! Runs of delayed records without a broker: sealing, merging, opening, delivery, look-ups.
//!
//! `cargo bench --bench runs -- fill [--dir DIR] [--entries N]` seals segments of 64 MiB of
//! records with values of 100 bytes and an id each, due within 30 days in random order, and merges
//! as the broker would. `... -- read [--dir DIR]`, a process of its own so that its memory is the
//! readers', opens them and delivers everything: first with the files out of the page cache, then
//! with what is in it. Compare rates with the disk's own, e.g. `dd iflag=direct` of a slice.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use klamm::base::env::Env;
use klamm::delay::key::Key;
use klamm::log::runs::{
    Manifest, NEVER_MS, Over, RunError, Runs, Source, due_for_merge, merge, seal, sweep,
};
use klamm::store::local::{LocalFiles, forget_cached};
use klamm::store::{Files, OpenMode, Resize};
use klamm::wire::batch::{BatchHeader, HEADER_BYTES};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records::Header;
use klamm::wire::varint::take_i32;
use roaring::RoaringTreemap;

const VALUE_BYTES: usize = 100;
const SEGMENT_BYTES: usize = 64 << 20;
const RECORDS_PER_BATCH: usize = 500;
const START_MS: i64 = 1_800_000_000_000;
const SPREAD_MS: u64 = 30 * 24 * 3_600_000;
const LAST: Key = Key { due_ms: i64::MAX, ticket: i64::MAX };

fn main() -> Result<(), RunError> {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut what, mut dir, mut entries) = (String::new(), std::env::temp_dir(), 1_000_000);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dir" => dir = PathBuf::from(args.next().unwrap_or_default()),
            "--entries" => {
                entries = args.next().and_then(|n| n.parse().ok()).expect("a number follows");
            }
            _ => what = arg,
        }
    }
    let bench = Bench { env: Env::system(), files: Arc::new(LocalFiles), dir: dir.join("delay") };
    match what.as_str() {
        "fill" => bench.fill(entries),
        "read" => bench.read(),
        _ => {
            say("fill or read?");
            Ok(())
        }
    }
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Resident memory now and at most so far, in MiB.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) >> 10
    };
    format!("RSS {} MiB, peak {} MiB", field("VmRSS"), field("VmHWM"))
}

/// Wall and CPU time; this process has one thread.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }

    /// A rate by the clock, and by CPU time alone: on a busy machine the second says more.
    fn rate(&self, count: u64) -> String {
        let per_second = |time: Duration| count as f64 / time.as_secs_f64().max(1e-9);
        format!("{:.0}/s ({:.0}/s of CPU)", per_second(self.wall), per_second(self.cpu))
    }
}

fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// SplitMix64 of a number: the same chance in both processes.
fn chance(of: u64) -> u64 {
    let mut z = of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn key_of(ticket: i64) -> Key {
    let after = chance(ticket.cast_unsigned()) % SPREAD_MS;
    Key { due_ms: START_MS + after.cast_signed(), ticket }
}

fn id_of(ticket: i64) -> String {
    format!("order-{ticket:012}")
}

struct Bench {
    env: Env,
    files: Arc<dyn Files>,
    dir: PathBuf,
}

impl Bench {
    /// The call's outcome and how long it took.
    fn timed<T>(&self, call: impl FnOnce() -> T) -> (T, Spent) {
        let (start, cpu) = (self.env.monotonic(), cpu_time());
        let done = call();
        (done, Spent { wall: self.env.monotonic() - start, cpu: cpu_time() - cpu })
    }

    fn fill(&self, entries: u64) -> Result<(), RunError> {
        self.files.remove(&self.dir)?;
        self.files.create_dir(&self.dir)?;
        let (mut manifest, mut ticket) = (Manifest::default(), 0_i64);
        let (mut sealing, mut merging, mut merged) = (Spent::default(), Spent::default(), 0);
        while ticket.cast_unsigned() < entries {
            let (segment, sources) = segment(&mut ticket, entries);
            let file = self.files.open(&self.dir.join("segment"), OpenMode::Write)?;
            file.resize(Resize::Cut(0))?;
            file.write_at(&[std::io::IoSlice::new(&segment)], 0)?;
            drop(segment);
            let id = manifest.next_run;
            let no = AtomicBool::new(false);
            let (sealed, time) =
                self.timed(|| seal(&*self.files, &self.dir, id, &*file, sources, &no));
            sealing.add(time);
            manifest.runs.extend(sealed?.run);
            manifest.next_run += 1;
            let ((), time) = self.timed(|| merged += self.merge(&mut manifest).unwrap_or(0));
            merging.add(time);
            manifest.write(&*self.files, &self.dir)?;
            sweep(&*self.files, &self.dir, &manifest)?;
        }
        let bytes: u64 =
            manifest.runs.iter().flat_map(|run| &run.slices).map(|slice| slice.file_bytes).sum();
        say(&format!("{ticket} entries, {bytes} bytes in {} runs", manifest.runs.len()));
        say(&format!("seal:  {} entries, syncs included", sealing.rate(ticket.cast_unsigned())));
        say(&format!("merge: {} entries, {merged} in all; {}", merging.rate(merged), memory()));
        Ok(())
    }

    /// Merges sixteen runs, if there are as many in a tier; returns how many entries.
    fn merge(&self, manifest: &mut Manifest) -> Result<u64, RunError> {
        let Some(ids) = due_for_merge(&manifest.runs, &[]) else { return Ok(0) };
        let runs = Runs::open(Arc::clone(&self.files), &self.dir, manifest)?;
        let inputs: Vec<_> =
            runs.all().iter().filter(|run| ids.contains(&run.meta().id)).cloned().collect();
        let (no, none) = (AtomicBool::new(false), RoaringTreemap::new());
        let over = Over { released: Key::MIN, cancelled: &none };
        let merged = merge(&*self.files, &self.dir, manifest.next_run, &inputs, over, &no)?;
        manifest.next_run += 1;
        manifest.runs.retain(|run| !ids.contains(&run.id));
        manifest.runs.extend(merged.run);
        Ok(manifest.runs.last().map_or(0, |run| run.entries()))
    }

    fn read(&self) -> Result<(), RunError> {
        self.forget_cached()?;
        let (runs, time) = self.timed(|| -> Result<Runs, RunError> {
            let manifest = Manifest::read(&*self.files, &self.dir).expect("it was filled");
            let manifest = manifest.expect("it was filled");
            Ok(Runs::open(Arc::clone(&self.files), &self.dir, &manifest)?)
        });
        let runs = runs?;
        let total: u64 = runs.all().iter().map(|run| run.meta().entries()).sum();
        let (wall, count) = (time.wall, runs.all().len());
        say(&format!("open:  {wall:.1?} for {count} runs, {total} entries; {}", memory()));
        let (first, time) = self.timed(|| runs.after(Key::MIN).peek(LAST));
        first?;
        say(&format!("first entry, cold: {:.1?}; {}", time.wall, memory()));
        let (warm, time) = self.timed(|| runs.all().iter().try_for_each(|run| run.warm()));
        warm?;
        say(&format!("tables, cold:      {:.1?}; {}", time.wall, memory()));
        self.forget_cached()?;
        for name in ["cold", "warm"] {
            self.deliver(&runs, name)?;
        }
        let counted = self.timed(|| {
            let edges = (0..100).map(|n| START_MS + n * (SPREAD_MS / 100).cast_signed());
            edges.map(|edge| runs.count_below(edge).unwrap_or(0)).max()
        });
        say(&format!("histogram of 100:  {:.1?}", counted.1.wall));
        self.look_up(&runs, total)
    }

    fn deliver(&self, runs: &Runs, name: &str) -> Result<(), RunError> {
        let (mut count, mut bytes) = (0_u64, 0_u64);
        let (done, time) = self.timed(|| -> Result<(), RunError> {
            let mut merge = runs.after(Key::MIN);
            while merge.peek(LAST)?.is_some() {
                if let Some(entry) = merge.entry() {
                    count += 1;
                    bytes += entry.record.len() as u64;
                }
                merge.advance();
            }
            Ok(())
        });
        done?;
        let mib = bytes as f64 / time.wall.as_secs_f64() / f64::from(1 << 20);
        let rate = time.rate(count);
        say(&format!("release, {name}: {rate} entries, {mib:.0} MiB/s of records; {}", memory()));
        Ok(())
    }

    fn look_up(&self, runs: &Runs, total: u64) -> Result<(), RunError> {
        let known = |n: u64| (chance(n) % total).cast_signed();
        let strange = |n: u64| total.cast_signed() + known(n);
        let mut hits = 0_u64;
        let mut rate = |name: &str, count: u64, look: &dyn Fn(u64) -> Result<bool, RunError>| {
            let (found, time) =
                self.timed(|| (0..count).map(look).filter(|hit| matches!(hit, Ok(true))).count());
            hits += found as u64;
            say(&format!("{name}: {}, {found} of {count} found", time.rate(count)));
        };
        let id = |ticket: i64| Ok(runs.find_id(id_of(ticket).as_bytes(), |_| true)?.is_some());
        rate("fresh ids       ", 1_000_000, &|n| id(strange(n)));
        rate("pending ids     ", 20_000, &|n| id(known(n)));
        rate("pending ids     ", 20_000, &|n| id(known(n)));
        rate("tickets         ", 20_000, &|n| Ok(runs.find_ticket(known(n))?.is_some()));
        rate("keys            ", 20_000, &|n| Ok(runs.get(key_of(known(n)))?.is_some()));
        say(&format!("{hits} hits; {}", memory()));
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), RunError> {
        let dir = self.dir.join("runs");
        for entry in self.files.list(&dir)? {
            let file = self.files.open(&dir.join(entry.name), OpenMode::Read)?;
            forget_cached(&*file, 0);
        }
        Ok(())
    }
}

/// A journal segment from this ticket on, and what seals it.
fn segment(ticket: &mut i64, entries: u64) -> (Vec<u8>, Vec<Source>) {
    let (mut bytes, mut sources) = (Vec::new(), Vec::new());
    while bytes.len() < SEGMENT_BYTES && ticket.cast_unsigned() < entries {
        let first = *ticket;
        let mut builder = BatchBuilder::new(Codec::None, None);
        for n in 0..RECORDS_PER_BATCH as i64 {
            let id = id_of(first + n);
            let headers = [("klamm.delay", "20d"), ("klamm.delay.id", &id)];
            let headers = headers
                .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
            let value = [b'v'; VALUE_BYTES];
            builder.push(START_MS + n, None, Some(&value), headers.into_iter());
        }
        let batch = builder.build().expect("it is far below 2 GiB");
        let header = BatchHeader::parse(&batch).expect("it was built so");
        let mut at = HEADER_BYTES;
        for _ in 0..header.record_count {
            let mut rest = &batch[at..];
            let body = take_i32(&mut rest).expect("it was built so") as usize;
            let end = batch.len() - rest.len() + body;
            sources.push(Source {
                key: key_of(*ticket),
                asked_due_ms: key_of(*ticket).due_ms,
                expires_at_ms: NEVER_MS,
                position: (bytes.len() + at) as u32,
                bytes: (end - at) as u32,
            });
            *ticket += 1;
            at = end;
        }
        bytes.extend_from_slice(&batch);
    }
    sources.sort_unstable_by_key(|source| source.key);
    (bytes, sources)
}
