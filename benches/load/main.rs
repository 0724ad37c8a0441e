//! Load generator: raw sockets, requests encoded once, one thread, so that what is measured is
//! the broker and not a client library.
//!
//! Closed loop (the default) keeps `--in-flight` requests on every connection; open loop
//! (`--rate`) sends on a schedule that is fixed at the start and measures latency from the
//! intended time, so a slow reply does not hide the ones queued behind it. Fetched records are
//! discarded in the kernel. With `--pid` the broker's CPU time and peak memory are reported for
//! the measured window.

mod account;
mod cpu;
mod drive;
mod request;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    Produce,
    Fetch,
}

/// Options of one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "load")]
pub struct Options {
    #[arg(value_enum)]
    pub work: Work,
    /// HOST:PORT of the broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub target: String,
    #[arg(long, default_value = "load")]
    pub topic: String,
    /// Creates the topic first, with `--partitions`.
    #[arg(long)]
    pub create: bool,
    #[arg(long, default_value_t = 6)]
    pub partitions: i32,
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Requests on the way per connection.
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records per batch.
    #[arg(long, default_value_t = 1000)]
    pub records: i32,
    /// Batches (partitions) per produce request.
    #[arg(long, default_value_t = 1)]
    pub batches: i32,
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub acks: i16,
    /// `max_bytes` of a fetch.
    #[arg(long, default_value_t = 1_048_576)]
    pub fetch_bytes: i32,
    /// Offset at which fetches start over.
    #[arg(long, default_value_t = 0)]
    pub end_offset: i64,
    /// Requests that are measured.
    #[arg(long, default_value_t = 1000)]
    pub requests: u64,
    /// Requests sent first and not measured.
    #[arg(long, default_value_t = 100)]
    pub warm_up: u64,
    /// Requests per second of an open loop; 0 is a closed loop.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Never sleeps, so that the broker does not pay for waking this process up: for figures of
    /// CPU, on a core of its own.
    #[arg(long)]
    pub spin: bool,
    /// The broker's process.
    #[arg(long)]
    pub pid: Option<u32>,
    /// A scratch file that is written, in pieces as the requests bring them, and deleted just
    /// before the measurement, so that the page cache finds memory which has been touched
    /// already: on virtual machines a first touch costs many times what a broker does.
    #[arg(long)]
    pub heat: Option<PathBuf>,
    /// One JSON object instead of lines for people.
    #[arg(long)]
    pub json: bool,
    /// Passed by cargo bench; means nothing here.
    #[arg(long, hide = true)]
    pub bench: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if options.create {
        request::create_topic(&options)?;
    }
    let report = drive::run(&options)?;
    let mut out = io::stdout().lock();
    if options.json { writeln!(out, "{}", report.json()) } else { writeln!(out, "{report}") }
}
