//! One thread, all connections, driven by epoll.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::net::RecvFlags;

use crate::account::{self, Report};
use crate::cpu;
use crate::request;
use crate::{Options, Work};

const READ_BYTES: usize = 64 * 1024;
const DISCARD_BYTES: usize = 4 * 1024 * 1024;

/// Prepared requests, handed out in turn.
struct Script {
    options: Options,
    produces: Vec<Bytes>,
    next: usize,
    /// Next fetch offset of each partition, and records in one whole answer.
    offsets: Vec<i64>,
    records_per_fetch: i64,
    fetches: Vec<bytes::BytesMut>,
    /// Bytes and records that one request moves.
    bytes: u64,
    records: u64,
}

impl Script {
    fn new(options: &Options) -> Self {
        let batch = request::batch(options.records, options.record_bytes);
        let per_request = options.batches.min(options.partitions);
        let mut produces = Vec::new();
        let mut fetches = Vec::new();
        let mut records_per_fetch = 0;
        let (bytes, records);
        match options.work {
            Work::Produce => {
                let all: Vec<i32> = (0..options.partitions).collect();
                let chunk = usize::try_from(per_request).expect("positive");
                produces
                    .extend(all.chunks_exact(chunk).map(|p| request::produce(options, p, &batch)));
                bytes = (batch.len() * chunk) as u64;
                records = u64::from(options.records.unsigned_abs() * per_request.unsigned_abs());
            }
            Work::Fetch => {
                fetches.extend((0..options.partitions).map(|p| request::fetch(options, p)));
                let whole = (options.fetch_bytes.unsigned_abs() as usize / batch.len()).max(1);
                records_per_fetch = i64::from(options.records) * whole as i64;
                bytes = u64::from(options.fetch_bytes.unsigned_abs());
                records = records_per_fetch.unsigned_abs();
            }
        }
        let offsets = vec![0; fetches.len()];
        let options = options.clone();
        Self { options, produces, next: 0, offsets, records_per_fetch, fetches, bytes, records }
    }

    fn next(&mut self) -> Bytes {
        if self.options.work == Work::Produce {
            self.next = (self.next + 1) % self.produces.len();
            return self.produces[self.next].clone();
        }
        self.next = (self.next + 1) % self.fetches.len();
        let offset = &mut self.offsets[self.next];
        let at = request::fetch_offset_at(&self.options);
        let template = &mut self.fetches[self.next];
        template[at..at + 8].copy_from_slice(&offset.to_be_bytes());
        *offset += self.records_per_fetch;
        if *offset + self.records_per_fetch > self.options.end_offset {
            *offset = 0;
        }
        Bytes::copy_from_slice(template)
    }
}

struct Link {
    stream: TcpStream,
    /// Requests not yet fully written, and how much of the first is.
    out: VecDeque<Bytes>,
    written: usize,
    /// Intended send times of requests without an answer.
    sent: VecDeque<Instant>,
    /// Bytes of the current answer still to be discarded.
    skip: u64,
    input: Vec<u8>,
    filled: usize,
    interested: bool,
}

impl Link {
    fn open(target: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            out: VecDeque::new(),
            written: 0,
            sent: VecDeque::new(),
            skip: 0,
            input: vec![0; READ_BYTES],
            filled: 0,
            interested: false,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.out.front() {
            match self.stream.write(&first[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.written == first.len() {
                self.out.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }
}

/// What has been answered.
struct Progress {
    answered: u64,
    bytes: u64,
    latency_us: Histogram<u64>,
    work: Work,
    discard: Vec<u8>,
}

impl Progress {
    fn answer(&mut self, link: &mut Link) -> io::Result<()> {
        let intended = link.sent.pop_front().ok_or_else(|| io::Error::other("extra answer"))?;
        let us = u64::try_from(intended.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(us.max(1));
        self.answered += 1;
        Ok(())
    }

    /// Takes what has arrived on a connection.
    fn receive(&mut self, link: &mut Link) -> io::Result<()> {
        loop {
            if link.skip > 0 {
                let want = usize::try_from(link.skip).unwrap_or(usize::MAX).min(DISCARD_BYTES);
                let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
                match rustix::net::recv(&link.stream, &mut self.discard[..want], flags) {
                    Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok((_, bytes)) => {
                        link.skip -= bytes as u64;
                        self.bytes += bytes as u64;
                        if link.skip == 0 {
                            self.answer(link)?;
                        }
                        continue;
                    }
                    Err(rustix::io::Errno::AGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            // A fetch's head is read alone, so that its records can be discarded unread.
            let room = if self.work == Work::Fetch { 64 } else { READ_BYTES };
            let end = room.max(link.filled + 1);
            match link.stream.read(&mut link.input[link.filled..end]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => link.filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            self.frames(link)?;
        }
    }

    fn frames(&mut self, link: &mut Link) -> io::Result<()> {
        let mut at = 0;
        while link.filled - at >= 4 {
            let size =
                u32::from_be_bytes(link.input[at..at + 4].try_into().expect("four")) as usize;
            let have = link.filled - at - 4;
            if self.work == Work::Fetch {
                self.bytes += have.min(size) as u64;
                if have < size {
                    link.skip = (size - have) as u64;
                    link.filled = 0;
                    return Ok(());
                }
            } else if have < size {
                break;
            } else {
                check_produced(&link.input[at + 4..at + 4 + size])?;
            }
            at += 4 + size;
            self.answer(link)?;
        }
        link.input.copy_within(at..link.filled, 0);
        link.filled -= at;
        Ok(())
    }
}

/// Every partition of a produce response v7 must be free of errors.
fn check_produced(frame: &[u8]) -> io::Result<()> {
    let be = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let name = usize::from(u16::from_be_bytes([frame[8], frame[9]]));
    let partitions = be(10 + name);
    let mut at = 14 + name;
    for _ in 0..partitions {
        let code = i16::from_be_bytes([frame[at + 4], frame[at + 5]]);
        if code != 0 {
            return Err(io::Error::other(format!("produce: error code {code}")));
        }
        at += 4 + 2 + 8 + 8 + 8;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Runs warm-up and measurement.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut script = Script::new(options);
    let mut links: Vec<Link> =
        (0..options.connections).map(|_| Link::open(&options.target)).collect::<io::Result<_>>()?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, link) in links.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &link.stream, data, epoll::EventFlags::IN)?;
    }
    let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are valid");
    let mut progress = Progress {
        answered: 0,
        bytes: 0,
        latency_us,
        work: options.work,
        discard: vec![0; DISCARD_BYTES],
    };
    let request_bytes = script.bytes;
    let mut phase = |count: u64, progress: &mut Progress, rate: f64| {
        drive(&poll, &mut links, &mut script, progress, count, options, rate)
    };
    phase(options.warm_up, &mut progress, 0.0)?;
    progress.latency_us.reset();
    progress.bytes = 0;
    if let Some(path) = &options.heat {
        heat(path, request_bytes, options.requests)?;
    }
    let cpu_before = options.pid.and_then(cpu::cpu_seconds);
    let start = now();
    phase(options.requests, &mut progress, options.rate)?;
    let wall = start.elapsed();
    let cpu_after = options.pid.and_then(cpu::cpu_seconds);
    let bytes = match options.work {
        Work::Produce => script.bytes * options.requests,
        Work::Fetch => progress.bytes,
    };
    Ok(Report {
        requests: options.requests,
        records: script.records * options.requests,
        bytes,
        wall,
        latency_us: progress.latency_us,
        broker_cpu_seconds: cpu_before.zip(cpu_after).map(|(before, after)| after - before),
        broker_peak_rss_bytes: options.pid.and_then(account::peak_rss_bytes),
    })
}

/// Leaves the machine with as much touched free memory as the measurement will write. The kernel
/// prefers a free block of the very size it needs, so the pieces have to be alike too.
fn heat(path: &Path, piece_bytes: u64, pieces: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let piece = vec![1; usize::try_from(piece_bytes).expect("a request fits memory")];
    for _ in 0..pieces + pieces / 8 {
        file.write_all(&piece)?;
    }
    drop(file);
    std::fs::remove_file(path)
}

/// Sends `count` requests and waits for their answers.
fn drive(
    poll: &impl std::os::fd::AsFd,
    links: &mut [Link],
    script: &mut Script,
    progress: &mut Progress,
    count: u64,
    options: &Options,
    rate: f64,
) -> io::Result<()> {
    let start = now();
    let goal = progress.answered + count;
    let mut sent = 0;
    let mut turn = 0;
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    while progress.answered < goal {
        let mut timeout = None;
        if rate > 0.0 {
            // Everything that is due goes out, however slow the answers are.
            while sent < count {
                let intended = start + Duration::from_secs_f64(sent as f64 / rate);
                let wait = intended.saturating_duration_since(now());
                if !wait.is_zero() {
                    timeout = Some(wait);
                    break;
                }
                turn = (turn + 1) % links.len();
                enqueue(&mut links[turn], script.next(), intended)?;
                sent += 1;
            }
        } else {
            for link in links.iter_mut() {
                while sent < count && link.sent.len() < options.in_flight {
                    enqueue(link, script.next(), now())?;
                    sent += 1;
                }
            }
        }
        set_interest(poll, links)?;
        let timeout = if options.spin { Some(Duration::ZERO) } else { timeout };
        wait(poll, &mut events, timeout)?;
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).expect("an index");
            let link = &mut links[index];
            link.flush()?;
            progress.receive(link)?;
        }
    }
    Ok(())
}

fn enqueue(link: &mut Link, request: Bytes, intended: Instant) -> io::Result<()> {
    link.out.push_back(request);
    link.sent.push_back(intended);
    link.flush()
}

/// Asks for writability only where something waits to be written.
fn set_interest(poll: &impl std::os::fd::AsFd, links: &mut [Link]) -> io::Result<()> {
    for (index, link) in links.iter_mut().enumerate() {
        let wanted = !link.out.is_empty();
        if wanted != link.interested {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wanted);
            epoll::modify(poll, &link.stream, epoll::EventData::new_u64(index as u64), flags)?;
            link.interested = wanted;
        }
    }
    Ok(())
}

fn wait(
    poll: &impl std::os::fd::AsFd,
    events: &mut Vec<epoll::Event>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let timeout = timeout.map(|t| rustix::event::Timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
