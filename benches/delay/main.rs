//! How late delayed records are, and what they cost: raw sockets, an outside consumer that waits in
//! long polls, and the due time in each payload, all on one host's clock.
//!
//! `late` is an open loop of records that come due evenly; `storm` lets all come due in the same
//! millisecond. Beside both a probe produces single live records, one at a time, and is told from
//! them: what a sync costs in this minute is subtracted by whoever compares. With `--pid` the
//! broker's CPU time is counted from the first record to the last delivery.
//!
//! `accept` compares taking delayed records with taking plain ones, in turn in one run; `cancel`
//! takes records with ids and cancels them all; `pending` leaves as many as it is told, and says
//! what memory that took (`benches/delay/pending` has the broker started and killed around it).
//! `nack` has a group fail on every record once.

mod accept;
mod consume;
#[path = "../load/cpu.rs"]
mod cpu;
mod nack;
mod produce;
mod wire;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;

/// What comes due how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// `--rate` records a second for `--seconds`.
    Late,
    /// `--count` records in one millisecond.
    Storm,
    /// `--count` records of each kind, three times in turn.
    Accept,
    /// `--count` records, and as many cancels.
    Cancel,
    /// `--count` records.
    Pending,
    /// `--count` records, and a nack of each.
    Nack,
}

/// Options of one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "delay")]
pub struct Options {
    #[arg(value_enum)]
    pub work: Work,
    /// HOST:PORT of the broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub target: String,
    #[arg(long, default_value_t = 6)]
    pub partitions: i32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records a second, of `late`.
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// From acceptance to due time, of `late`; of `storm` from the first record on.
    #[arg(long, default_value_t = 5_000)]
    pub delay_ms: i64,
    /// Records of all but `late`.
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// Records of one batch, of `accept`, `cancel`, `pending` and `nack`.
    #[arg(long, default_value_t = 100)]
    pub batch_records: usize,
    /// Live records of this topic are produced beside it, a request of 64 KB at a time, this many
    /// megabytes a second.
    #[arg(long, default_value_t = 0)]
    pub beside_mb_per_s: u64,
    /// The nacks of `nack` make dead letters.
    #[arg(long)]
    pub dead: bool,
    /// The broker's process.
    #[arg(long)]
    pub pid: Option<u32>,
    #[arg(long)]
    pub json: bool,
    /// Passed by cargo bench; means nothing here.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    fn records(&self) -> u64 {
        if self.work == Work::Storm { self.count } else { self.rate * self.seconds }
    }
}

/// The topic of the delayed records, and that of the live ones.
pub const TOPICS: [&str; 2] = ["delay-bench", "delay-bench-live"];

/// Microseconds since the epoch.
pub fn now_us() -> i64 {
    let since_epoch = UNIX_EPOCH.elapsed().expect("the clock is behind 1970");
    i64::try_from(since_epoch.as_micros()).expect("the clock is ahead")
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds are valid")
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    for topic in TOPICS {
        wire::create_topic(&options.target, topic, options.partitions)?;
    }
    let began_us = now_us();
    let figures = match options.work {
        Work::Late | Work::Storm => return deliveries(&options),
        Work::Accept => accept::against_plain(&options)?,
        Work::Cancel => accept::cancels(&options)?,
        Work::Pending => accept::pending(&options)?,
        Work::Nack => nack::flood(&options)?,
    };
    let took = Duration::from_micros((now_us() - began_us).unsigned_abs());
    accept::report(&options, figures, took)
}

fn deliveries(options: &Options) -> io::Result<()> {
    let done = Arc::new(AtomicBool::new(false));
    let (probing, beside) = (done.clone(), done.clone());
    let (target, traffic) = (options.target.clone(), options.clone());
    // In a storm what counts is how live records fare in it, not in the calm before.
    let calm_ms = if options.work == Work::Storm { options.delay_ms } else { 0 };
    let probe_from_us = now_us() + calm_ms * 1_000;
    let probe = thread::spawn(move || produce::probe(&target, probe_from_us, &probing));
    let beside = thread::spawn(move || produce::beside(&traffic, &beside));
    let cpu_before = options.pid.and_then(cpu::cpu_seconds);
    let started_us = now_us();
    let sending = options.clone();
    let producer = thread::spawn(move || produce::delayed(&sending));
    let delivered = consume::all(options)?;
    let took_s = (now_us() - started_us) as f64 / 1e6;
    let cpu_s = cpu_before.zip(options.pid.and_then(cpu::cpu_seconds)).map(|(a, b)| b - a);
    done.store(true, Ordering::Release);
    let accepted_in_s = producer.join().expect("the producer does not panic")?;
    let probe = probe.join().expect("the probe does not panic")?;
    let beside_bytes = beside.join().expect("the traffic does not panic")?;
    report(options, &delivered, &probe, (took_s, accepted_in_s, cpu_s, beside_bytes))
}

fn report(
    options: &Options,
    delivered: &consume::Delivered,
    probe: &Histogram<u64>,
    (took_s, accepted_in_s, cpu_s, beside_bytes): (f64, f64, Option<f64>, u64),
) -> io::Result<()> {
    let late = &delivered.late_us;
    let at = |histogram: &Histogram<u64>, percentile| histogram.value_at_percentile(percentile);
    let records = options.records();
    let figures = serde_json::json!({
        "records": records, "seconds": took_s, "accepted_per_second": records as f64 / accepted_in_s,
        "early": delivered.early, "doubled": delivered.doubled,
        "late_p50_us": at(late, 50.0), "late_p99_us": at(late, 99.0), "late_p999_us": at(late, 99.9),
        "late_max_us": late.max(), "probe_p50_us": at(probe, 50.0), "probe_p99_us": at(probe, 99.0),
        "probe_p999_us": at(probe, 99.9), "cpu_seconds": cpu_s,
        "cpu_s_per_100k_records": cpu_s.map(|cpu| cpu * 1e5 / records as f64),
        "beside_mb_per_second": beside_bytes as f64 / 1e6 / took_s,
    });
    print(options, &figures)
}

/// Figures as lines for eyes, or as JSON.
pub fn print(options: &Options, figures: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if options.json {
        return writeln!(out, "{figures}");
    }
    for (name, figure) in figures.as_object().expect("it is one") {
        writeln!(out, "{name:24} {figure}")?;
    }
    Ok(())
}

/// Waits until a moment of [`now_us`].
pub fn sleep_until(moment_us: i64) {
    loop {
        let left = moment_us - now_us();
        if left <= 0 {
            return;
        }
        thread::park_timeout(Duration::from_micros(left.unsigned_abs()));
    }
}
