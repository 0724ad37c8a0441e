//! The shard's part: segments, submissions, and the mailbox that completions come back through.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use klamm::base::env::Env;
use klamm::base::ids::{TopicPartition, Uuid};
use klamm::log::checkpoint::SyncWork;
use klamm::log::commit::{CommitError, CommitLog, CommitSettings, Row};
use klamm::shard::checkpointer::syncing::Syncing;
use klamm::shard::checkpointer::{
    self, Bell, CheckpointFailed, CheckpointSettings, Checkpointer, Collected, Sources,
};
use klamm::shard::committer::{
    self, Committer, CommitterHandle, CommitterSettings, Completion, Submission, Submitted,
};
use klamm::store::local::LocalFiles;
use klamm::store::{File, Files, OpenMode};
use klamm::wire::batch::HEADER_BYTES;

use super::account::{Report, Usage};
use super::{Options, Shape};

/// Which way a batch takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Segments,
    Log,
    LogAll,
}

impl Path {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Log => "log",
            Self::LogAll => "log, no bulk",
        }
    }
}

/// Requests that are done, on their way back to the shard.
#[derive(Default)]
struct Mailbox {
    done: Mutex<Vec<Request>>,
    arrived: Condvar,
}

struct Request {
    begun: Duration,
}

struct Done {
    request: Request,
    mailbox: Arc<Mailbox>,
}

impl Completion for Done {
    fn complete(self, outcome: Result<(), &CommitError>) {
        outcome.expect("the disk works");
        let mut done = self.mailbox.done.lock().expect("no thread panics with the lock");
        done.push(self.request);
        if done.len() == 1 {
            self.mailbox.arrived.notify_one();
        }
    }
}

struct Segment {
    file: Arc<dyn File>,
    position: u64,
    next_offset: i64,
    dirty: Arc<AtomicBool>,
}

/// Segments on disk, written once so that their pages are warm.
pub struct Rig {
    dir: PathBuf,
    shape: Shape,
    options: Options,
    segments: Vec<Segment>,
    segment_bytes: u64,
    records: Bytes,
    header: [u8; HEADER_BYTES],
    next_segment: usize,
}

impl Rig {
    pub fn prepare(dir: &FilePath, shape: Shape, options: &Options) -> io::Result<Self> {
        let all_bytes: u64 = 768 << 20;
        let segment_bytes = all_bytes / shape.partitions as u64;
        let chunk = vec![1; 1 << 18];
        let mut segments = Vec::new();
        for partition in 0..shape.partitions {
            let file =
                LocalFiles.open(&dir.join(format!("segment-{partition}")), OpenMode::Write)?;
            for at in (0..segment_bytes).step_by(chunk.len()) {
                file.write_at(&[IoSlice::new(&chunk)], at)?;
            }
            let dirty = Arc::new(AtomicBool::new(true));
            segments.push(Segment { file, position: 0, next_offset: 0, dirty });
        }
        let files: Vec<_> = segments.iter().map(|segment| Arc::clone(&segment.file)).collect();
        sync_all(dir, &files)?;
        let records = vec![7; shape.batch_bytes - HEADER_BYTES];
        let mut header = [0; HEADER_BYTES];
        let length = i32::try_from(shape.batch_bytes - 12).expect("a batch's length");
        header[8..12].copy_from_slice(&length.to_be_bytes());
        header[16] = 2;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[21..]), &records);
        header[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(Self {
            dir: dir.to_owned(),
            shape,
            options: options.clone(),
            segments,
            segment_bytes,
            records: Bytes::from(records),
            header,
            next_segment: 0,
        })
    }

    /// One closed loop over one path.
    pub fn run(&mut self, path: Path) -> io::Result<Report> {
        let env = Env::system();
        let mailbox = Arc::new(Mailbox::default());
        let machinery = (path != Path::Segments).then(|| self.start(path, &env)).transpose()?;
        let mut report = Report::new(self.shape.batch_bytes * self.shape.batches_per_request);
        let mut ready: VecDeque<Request> =
            (0..self.shape.in_flight).map(|_| Request { begun: Duration::ZERO }).collect();
        let warm_up = self.options.time / 4;
        let mut begun = env.monotonic();
        let mut usage = None;
        let mut commits_before = 0;
        loop {
            let now = env.monotonic();
            if usage.is_none() && now - begun > warm_up {
                begun = now;
                usage = Some(Usage::now());
                report = Report::new(self.shape.batch_bytes * self.shape.batches_per_request);
                commits_before = machinery.as_ref().map_or(0, Machinery::commits);
            }
            if usage.is_some() && now - begun > self.options.time {
                break;
            }
            let mut submissions = Vec::with_capacity(ready.len());
            for mut request in ready.drain(..) {
                request.begun = now;
                let batches = self.append()?;
                let mailbox = Arc::clone(&mailbox);
                submissions.push(Submission { batches, completion: Done { request, mailbox } });
            }
            match &machinery {
                Some(machinery) => {
                    machinery.commits.submit(submissions);
                }
                None => {
                    for submission in submissions {
                        report.completed(env.monotonic() - submission.completion.request.begun);
                        ready.push_back(submission.completion.request);
                    }
                    continue;
                }
            }
            let now_done = {
                let mut done = mailbox.done.lock().expect("no thread panics with the lock");
                while done.is_empty() {
                    done = mailbox.arrived.wait(done).expect("no thread panics with the lock");
                }
                std::mem::take(&mut *done)
            };
            let now = env.monotonic();
            for request in now_done {
                report.completed(now - request.begun);
                ready.push_back(request);
            }
        }
        report.end(env.monotonic() - begun, &usage.expect("the warm-up is over"));
        report.commits = machinery.as_ref().map_or(0, Machinery::commits) - commits_before;
        if let Some(machinery) = machinery {
            machinery.stop();
        }
        Ok(report)
    }

    /// Writes the batches of one request to their segments.
    fn append(&mut self) -> io::Result<smallvec::SmallVec<[Submitted; 1]>> {
        let mut batches = smallvec::SmallVec::new();
        for _ in 0..self.shape.batches_per_request {
            let at = self.next_segment;
            // A stride that is prime to every partition count used.
            self.next_segment = (at + 7) % self.segments.len();
            let segment = &mut self.segments[at];
            let size = self.shape.batch_bytes as u64;
            if segment.position + size > self.segment_bytes {
                segment.position = 0;
            }
            self.header[..8].copy_from_slice(&segment.next_offset.to_be_bytes());
            let slices = [IoSlice::new(&self.header), IoSlice::new(&self.records)];
            segment.file.write_at(&slices, segment.position)?;
            segment.dirty.store(true, Ordering::Relaxed);
            segment.position += size;
            segment.next_offset += 1;
            let partition = i32::try_from(at).expect("few partitions");
            let tp = TopicPartition::new(Uuid::from_u128(1), partition);
            let (header, records) = (self.header, self.records.clone());
            let row = Row { tp, header, records, in_segment: false };
            batches.push(Submitted { row, segment: Some(Arc::clone(&segment.file)) });
        }
        Ok(batches)
    }

    fn start(&self, path: Path, env: &Env) -> io::Result<Machinery> {
        let files: Arc<dyn Files> = Arc::new(LocalFiles);
        let settings =
            CommitSettings { max_bytes: self.options.ring_bytes, ..CommitSettings::default() };
        let dir = self.dir.join("commit");
        let (mut log, _) = CommitLog::open(Arc::clone(&files), &dir, settings, None, 1)?;
        log.release(log.last().sequence);
        let bulk_bytes = if path == Path::Log { self.options.bulk_bytes } else { usize::MAX };
        let settings = CommitterSettings {
            bulk_bytes,
            bulk_segments: self.options.bulk_segments,
            checkpoint_percent: self.options.checkpoint_percent,
            light_checkpoint_percent: self.options.checkpoint_percent,
            ..CommitterSettings::default()
        };
        let bell = Bell::default();
        let press = bell.clone();
        let (committer, commits) = Committer::new(log, settings, env.clone(), move || press.ring());
        let sources = Dirty(
            self.segments.iter().map(|s| (Arc::clone(&s.file), Arc::clone(&s.dirty))).collect(),
        );
        let settings = CheckpointSettings { interval: self.options.interval };
        let checkpointer = Checkpointer::new(
            files,
            self.dir.clone(),
            settings,
            sources,
            commits.clone(),
            Vec::new(),
        );
        let committer = committer::spawn(committer, |reason| panic!("{reason}"))?;
        let checkpointer =
            checkpointer::spawn(checkpointer, bell.clone(), |reason| panic!("{reason}"))?;
        Ok(Machinery { commits, bell, committer, checkpointer })
    }
}

struct Machinery {
    commits: CommitterHandle<Done>,
    bell: Bell,
    committer: JoinHandle<()>,
    checkpointer: JoinHandle<Result<(), CheckpointFailed>>,
}

impl Machinery {
    fn commits(&self) -> u64 {
        self.commits.stats().write_seconds.count()
    }

    fn stop(self) {
        self.commits.close();
        self.committer.join().expect("the committer ends");
        self.bell.stop(checkpointer::Stop::Clean);
        let outcome = self.checkpointer.join().expect("the checkpointer ends");
        outcome.expect("the disk works");
    }
}

/// Hands out the segments written since it was last asked.
struct Dirty(Vec<(Arc<dyn File>, Arc<AtomicBool>)>);

impl Sources for Dirty {
    fn collect(&mut self) -> Option<Collected> {
        let written = self.0.iter().filter(|(_, dirty)| dirty.swap(false, Ordering::Relaxed));
        let mut dirty = SyncWork::default();
        for (file, _) in written {
            dirty.merge(SyncWork::of(Arc::clone(file)));
        }
        Some(Collected { dirty, ..Collected::default() })
    }
}

fn sync_all(dir: &FilePath, files: &[Arc<dyn File>]) -> io::Result<()> {
    let mut work = SyncWork::default();
    for file in files {
        work.merge(SyncWork::of(Arc::clone(file)));
    }
    Syncing::new(Arc::new(LocalFiles), dir).run(work).map(drop)
}

/// Time to sync many files, each with a little to sync.
pub fn sync_many(options: &Options, count: usize) -> io::Result<()> {
    let dir = options.dir.join(format!("klamm-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let open = |n: usize| LocalFiles.open(&dir.join(n.to_string()), OpenMode::Write);
    let files = (0..count).map(open).collect::<io::Result<Vec<_>>>()?;
    let env = Env::system();
    for round in 0..10 {
        for file in &files {
            file.write_at(&[IoSlice::new(&[5; 10_240])], round * 10_240)?;
        }
        let begun = env.monotonic();
        sync_all(&dir, &files)?;
        let millis = (env.monotonic() - begun).as_secs_f64() * 1e3;
        super::say(&format!("{count} files: {millis:.1} ms"))?;
    }
    std::fs::remove_dir_all(&dir)
}
