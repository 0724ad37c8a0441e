//! The floor server: what a broker cannot avoid, and nothing else. It frames requests, checks the
//! batch's CRC, stores it, replies; for a fetch it looks a position up and sends the file. One
//! blocking thread per connection, one topic, one file per partition.
//!
//! A produce request is read whole and appended to a growing file with one write. From a size
//! that may be given, it is taken in 256 KiB pieces straight into a fallocated file instead, which
//! is cheaper where files are recycled and dearer where the pages are new. Fetch is header plus
//! sendfile. Produce v7 and Fetch v11 only, as the load generator sends them.
//!
//! `floor HOST:PORT DIRECTORY [STREAM_FROM_BYTES]`; prints `floor ready HOST:PORT pid=PID`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const PIECE_BYTES: usize = 256 * 1024;
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
const BATCH_HEADER_BYTES: usize = 61;

/// One partition: its file and where each batch begins.
struct Partition {
    file: Arc<File>,
    end: u64,
    reserved: u64,
    next_offset: i64,
    /// Base offset and position of every batch, in order.
    index: Vec<(i64, u64)>,
}

impl Partition {
    fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let file = Arc::new(file);
        Ok(Self { file, end: 0, reserved: 0, next_offset: 0, index: Vec::new() })
    }

    /// Takes the next place for a batch of this size and record count.
    fn place(&mut self, bytes: usize, records: i32) -> (u64, i64) {
        let (position, base_offset) = (self.end, self.next_offset);
        self.index.push((base_offset, position));
        self.end += bytes as u64;
        self.next_offset += i64::from(records);
        (position, base_offset)
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        while self.end + bytes > self.reserved {
            let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&*self.file, flags, self.reserved, RESERVE_BYTES)?;
            self.reserved += RESERVE_BYTES;
        }
        Ok(())
    }
}

type Partitions = Arc<Mutex<Vec<Arc<Mutex<Partition>>>>>;

fn partition(all: &Partitions, dir: &Path, index: usize) -> io::Result<Arc<Mutex<Partition>>> {
    let mut all = all.lock().expect("no thread panics with the lock");
    while all.len() <= index {
        let path = dir.join(format!("{}.log", all.len()));
        all.push(Arc::new(Mutex::new(Partition::open(&path)?)));
    }
    Ok(Arc::clone(&all[index]))
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(address), Some(dir)) = (args.next(), args.next()) else {
        writeln!(io::stderr(), "usage: floor HOST:PORT DIRECTORY [STREAM_FROM_BYTES]")?;
        std::process::exit(2);
    };
    let stream_from = args.next().and_then(|a| a.parse().ok()).unwrap_or(usize::MAX);
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir)?;
    let listener = TcpListener::bind(&address)?;
    writeln!(io::stdout(), "floor ready {} pid={}", listener.local_addr()?, std::process::id())?;
    let partitions = Partitions::default();
    for stream in listener.incoming() {
        let (stream, partitions, dir) = (stream?, Arc::clone(&partitions), dir.clone());
        stream.set_nodelay(true)?;
        std::thread::spawn(move || {
            let served = Connection::new(stream, partitions, dir, stream_from).serve();
            if let Err(error) = served
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                let _ = writeln!(io::stderr(), "floor: {error}");
            }
        });
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    partitions: Partitions,
    dir: PathBuf,
    /// Produce requests of this size and more are stored piece by piece.
    stream_from: usize,
    buffer: Vec<u8>,
    reply: Vec<u8>,
    /// Bytes of `buffer` that are filled but not yet used: `start..end`.
    start: usize,
    end: usize,
}

fn be_i32(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn be_i64(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))
}

impl Connection {
    fn new(stream: TcpStream, partitions: Partitions, dir: PathBuf, stream_from: usize) -> Self {
        let buffer = vec![0; PIECE_BYTES];
        Self { stream, partitions, dir, stream_from, buffer, reply: Vec::new(), start: 0, end: 0 }
    }

    /// Makes at least `bytes` available at `start`.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.end - self.start >= bytes {
            return Ok(());
        }
        if self.start + bytes > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if bytes > self.buffer.len() {
            self.buffer.resize(bytes, 0);
        }
        while self.end - self.start < bytes {
            let read = self.stream.read(&mut self.buffer[self.end..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.end += read;
        }
        Ok(())
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            self.fill(4)?;
            let size = usize::try_from(be_i32(&self.buffer[self.start..])).expect("a size");
            self.start += 4;
            self.fill(size.min(256))?;
            match self.buffer[self.start + 1] {
                0 => self.produce(size)?,
                1 => self.fetch(size)?,
                key => return Err(io::Error::other(format!("API key {key}"))),
            }
            if self.start == self.end {
                self.start = 0;
                self.end = 0;
            }
        }
    }

    fn produce(&mut self, size: usize) -> io::Result<()> {
        if size < self.stream_from {
            self.fill(size)?;
        }
        let head = Head::of(&self.buffer[self.start..self.end]);
        self.reply.clear();
        self.reply.extend([0; 4]);
        self.reply.extend(head.correlation_id.to_be_bytes());
        self.reply.extend(1_i32.to_be_bytes());
        self.reply.extend(&head.topic);
        self.reply.extend(head.partitions.to_be_bytes());
        let request_end_left = size - head.bytes;
        self.start += head.bytes;
        let mut left = request_end_left;
        for _ in 0..head.partitions {
            self.fill((8 + BATCH_HEADER_BYTES).min(left))?;
            let index = be_i32(&self.buffer[self.start..]);
            let bytes = usize::try_from(be_i32(&self.buffer[self.start + 4..])).expect("a size");
            self.start += 8;
            left -= 8 + bytes;
            let slot = usize::try_from(index).expect("an index");
            let target = partition(&self.partitions, &self.dir, slot)?;
            let base = if size < self.stream_from {
                self.store_whole(&target, bytes)?
            } else {
                self.store_streaming(&target, bytes)?
            };
            self.reply.extend(index.to_be_bytes());
            self.reply.extend(0_i16.to_be_bytes());
            self.reply.extend(base.to_be_bytes());
            self.reply.extend((-1_i64).to_be_bytes());
            self.reply.extend(0_i64.to_be_bytes());
        }
        self.reply.extend(0_i32.to_be_bytes());
        self.send_reply()
    }

    fn send_reply(&mut self) -> io::Result<()> {
        let size = u32::try_from(self.reply.len() - 4).expect("small");
        self.reply[..4].copy_from_slice(&size.to_be_bytes());
        self.stream.write_all(&self.reply)
    }

    fn store_whole(&mut self, target: &Mutex<Partition>, bytes: usize) -> io::Result<i64> {
        let batch = &mut self.buffer[self.start..self.start + bytes];
        check(crc32c::crc32c(&batch[21..]), batch)?;
        let records = be_i32(&batch[57..]);
        let mut target = target.lock().expect("no thread panics with the lock");
        let (position, base) = target.place(bytes, records);
        batch[..8].copy_from_slice(&base.to_be_bytes());
        target.file.write_all_at(batch, position)?;
        self.start += bytes;
        Ok(base)
    }

    fn store_streaming(&mut self, target: &Mutex<Partition>, bytes: usize) -> io::Result<i64> {
        let mut target = target.lock().expect("no thread panics with the lock");
        target.reserve(bytes as u64)?;
        let header = self.buffer[self.start..self.start + BATCH_HEADER_BYTES].to_vec();
        let (position, base) = target.place(bytes, be_i32(&header[57..]));
        let (mut crc, mut done) = (0, 0);
        while done < bytes {
            if self.start == self.end {
                self.start = 0;
                self.end = 0;
                let room = (bytes - done).min(PIECE_BYTES);
                let read = self.stream.read(&mut self.buffer[..room])?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.end = read;
            }
            let take = (self.end - self.start).min(bytes - done);
            let piece = &mut self.buffer[self.start..self.start + take];
            if done == 0 {
                crc = crc32c::crc32c_append(crc, &piece[21..]);
                piece[..8].copy_from_slice(&base.to_be_bytes());
            } else {
                crc = crc32c::crc32c_append(crc, piece);
            }
            target.file.write_all_at(piece, position + done as u64)?;
            self.start += take;
            done += take;
        }
        check(crc, &header)?;
        Ok(base)
    }

    fn fetch(&mut self, size: usize) -> io::Result<()> {
        self.fill(size)?;
        let frame = &self.buffer[self.start..self.start + size];
        let client = usize::try_from(i16::from_be_bytes([frame[8], frame[9]])).unwrap_or(0);
        let correlation_id = be_i32(&frame[4..]);
        // After the header: replica, wait, min, max bytes, isolation, session id and epoch.
        let mut at = 10 + client + 4 * 4 + 1 + 4 * 2 + 4;
        let name = usize::try_from(i16::from_be_bytes([frame[at], frame[at + 1]])).expect("a name");
        let topic = frame[at..at + 2 + name].to_vec();
        at += 2 + name + 4;
        let (index, offset) = (be_i32(&frame[at..]), be_i64(&frame[at + 8..]));
        let max_bytes = be_i32(&frame[at + 24..]);
        self.start += size;
        let slot = usize::try_from(index).expect("an index");
        let target = partition(&self.partitions, &self.dir, slot)?;
        let (file, position, bytes, end_offset) = {
            let target = target.lock().expect("no thread panics with the lock");
            let found = target.index.partition_point(|(base, _)| *base <= offset);
            let position = target.index[found.saturating_sub(1)].1;
            let bytes = (target.end - position).min(u64::from(max_bytes.unsigned_abs()));
            (Arc::clone(&target.file), position, bytes, target.next_offset)
        };
        self.reply.clear();
        self.reply.extend([0; 4]);
        self.reply.extend(correlation_id.to_be_bytes());
        self.reply.extend([0; 10]);
        self.reply.extend(1_i32.to_be_bytes());
        self.reply.extend(&topic);
        self.reply.extend(1_i32.to_be_bytes());
        self.reply.extend(index.to_be_bytes());
        self.reply.extend(0_i16.to_be_bytes());
        self.reply.extend(end_offset.to_be_bytes());
        self.reply.extend(end_offset.to_be_bytes());
        self.reply.extend(0_i64.to_be_bytes());
        self.reply.extend((-1_i32).to_be_bytes());
        self.reply.extend((-1_i32).to_be_bytes());
        self.reply.extend(u32::try_from(bytes).expect("bounded").to_be_bytes());
        let total = self.reply.len() as u64 - 4 + bytes;
        self.reply[..4].copy_from_slice(&u32::try_from(total).expect("bounded").to_be_bytes());
        rustix::net::send(&self.stream, &self.reply, rustix::net::SendFlags::MORE)?;
        let mut at = position;
        let end = position + bytes;
        while at < end {
            let left = usize::try_from(end - at).expect("bounded");
            rustix::fs::sendfile(&self.stream, &*file, Some(&mut at), left)?;
        }
        Ok(())
    }
}

fn check(crc: u32, header: &[u8]) -> io::Result<()> {
    let claimed = u32::from_be_bytes(header[17..21].try_into().expect("four bytes"));
    if crc == claimed { Ok(()) } else { Err(io::Error::other("CRC mismatch")) }
}

/// What precedes the partitions of a produce request v7.
struct Head {
    correlation_id: i32,
    /// The topic's name with its length, as it stands in the request.
    topic: Vec<u8>,
    partitions: i32,
    bytes: usize,
}

impl Head {
    fn of(frame: &[u8]) -> Self {
        let client = usize::try_from(i16::from_be_bytes([frame[8], frame[9]])).unwrap_or(0);
        // After the header: null transactional id, acks, time-out, one topic.
        let at = 10 + client + 2 + 2 + 4 + 4;
        let name = usize::try_from(i16::from_be_bytes([frame[at], frame[at + 1]])).expect("a name");
        let after = at + 2 + name;
        Self {
            correlation_id: be_i32(&frame[4..]),
            topic: frame[at..after].to_vec(),
            partitions: be_i32(&frame[after..]),
            bytes: after + 4,
        }
    }
}
