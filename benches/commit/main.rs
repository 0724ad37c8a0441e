//! The durable path alone: what a commit costs between a shard and the disk, without network and
//! protocol. One thread plays the shard: it writes each batch to its segment, submits it, and
//! sends the next of that client once the committer has completed it (closed loop, no linger).
//! A real checkpointer runs beside it.
//!
//! The five shapes are those of the prototype that chose this path: A 1 MB batches, B 16 KB,
//! C single records of 64 clients, D 10 KB for one of 1,000 partitions, E 1 MB over 100 of 1,000
//! partitions. Rows: `segments` writes to the page cache only; `log` is the default; `log, no
//! bulk` copies large batches too; `bare` is a loop that does nothing but the direct, synced
//! write of as many bytes as all clients have in flight.
//!
//! `cargo bench --bench commit -- [--dir DIR] [--seconds N] [--shapes ABCDE] [--rounds N]
//! [--ring-mb N] [--interval-ms N] [--syncs FILES]`. Machine CPU is all that is not idle.

mod account;
mod shard;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use account::{Report, Usage};
use klamm::base::env::Env;
use shard::{Path as CommitPath, Rig};

/// What clients send.
#[derive(Clone, Copy)]
pub struct Shape {
    name: char,
    batch_bytes: usize,
    batches_per_request: usize,
    partitions: usize,
    in_flight: usize,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: 'A',
        batch_bytes: 1_000_000,
        batches_per_request: 1,
        partitions: 6,
        in_flight: 20,
    },
    Shape { name: 'B', batch_bytes: 16_000, batches_per_request: 1, partitions: 6, in_flight: 20 },
    Shape { name: 'C', batch_bytes: 170, batches_per_request: 1, partitions: 6, in_flight: 64 },
    Shape {
        name: 'D',
        batch_bytes: 10_240,
        batches_per_request: 1,
        partitions: 1_000,
        in_flight: 80,
    },
    Shape {
        name: 'E',
        batch_bytes: 10_240,
        batches_per_request: 100,
        partitions: 1_000,
        in_flight: 16,
    },
];

/// The command line.
#[derive(Clone)]
pub struct Options {
    dir: PathBuf,
    time: Duration,
    shapes: String,
    rounds: u32,
    ring_bytes: u64,
    interval: Duration,
    bulk_bytes: usize,
    bulk_segments: usize,
    checkpoint_percent: u64,
}

fn main() -> std::io::Result<()> {
    let mut options = Options {
        dir: std::env::temp_dir(),
        time: Duration::from_secs(2),
        shapes: "ABCDE".to_owned(),
        rounds: 1,
        ring_bytes: 512 << 20,
        interval: Duration::from_secs(10),
        bulk_bytes: 256 << 10,
        bulk_segments: 4,
        checkpoint_percent: 25,
    };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(key) = args.next() {
        let value = args.next().unwrap_or_default();
        let number = || value.parse::<u64>().expect("a number follows");
        match key.as_str() {
            "--dir" => options.dir = PathBuf::from(&value),
            "--seconds" => options.time = Duration::from_secs(number()),
            "--shapes" => options.shapes.clone_from(&value),
            "--rounds" => options.rounds = u32::try_from(number()).expect("a small number"),
            "--ring-mb" => options.ring_bytes = number() << 20,
            "--interval-ms" => options.interval = Duration::from_millis(number()),
            "--bulk-kb" => options.bulk_bytes = usize::try_from(number() << 10).expect("fits"),
            "--bulk-segments" => options.bulk_segments = usize::try_from(number()).expect("fits"),
            "--percent" => options.checkpoint_percent = number(),
            "--syncs" => {
                return shard::sync_many(&options, usize::try_from(number()).expect("fits"));
            }
            other => panic!("unknown option {other}"),
        }
    }
    for _ in 0..options.rounds {
        for shape in SHAPES.iter().filter(|shape| options.shapes.contains(shape.name)) {
            run(&options, *shape)?;
        }
    }
    Ok(())
}

fn run(options: &Options, shape: Shape) -> std::io::Result<()> {
    let dir = options.dir.join(format!("klamm-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let mut rig = Rig::prepare(&dir, shape, options)?;
    for path in [CommitPath::Segments, CommitPath::Log, CommitPath::LogAll] {
        if path == CommitPath::LogAll && shape.batch_bytes < options.bulk_bytes {
            continue;
        }
        let report = rig.run(path)?;
        say(&format!("{} {:<12} {report}", shape.name, path.name()))?;
    }
    let report = bare(&dir, shape, options.time)?;
    say(&format!("{} {:<12} {report}", shape.name, "bare"))?;
    drop(rig);
    std::fs::remove_dir_all(&dir)
}

/// Nothing but the write: all clients' bytes at once, direct and synced, into warm blocks.
fn bare(dir: &Path, shape: Shape, time: Duration) -> std::io::Result<Report> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let bytes = shape.batch_bytes * shape.batches_per_request * shape.in_flight;
    let bytes = bytes.next_multiple_of(4096);
    let memory = vec![0; bytes + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let buffer = &memory[start..start + bytes];
    let path = dir.join("bare");
    let laps = (64 << 20) / bytes + 2;
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(false);
    let flags = rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC;
    open.custom_flags(i32::try_from(flags.bits()).expect("flags are small"));
    let file = open.open(path)?;
    for lap in 0..laps {
        file.write_all_at(buffer, (lap * bytes) as u64)?;
    }
    let env = Env::system();
    let mut report = Report::new(shape.batch_bytes * shape.batches_per_request);
    let (begun, usage) = (env.monotonic(), Usage::now());
    for lap in (0..laps).cycle() {
        let before = env.monotonic();
        file.write_all_at(buffer, (lap * bytes) as u64)?;
        let after = env.monotonic();
        report.commits += 1;
        for _ in 0..shape.in_flight {
            report.completed(after - before);
        }
        if after - begun > time {
            break;
        }
    }
    report.end(env.monotonic() - begun, &usage);
    Ok(report)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}
