//! The thread that writes runs: seals closed windows, merges runs, removes files that are passed.
//!
//! Shards hand jobs over and go on; what came of one returns as a control message. A partition has
//! one job at a time, and only its job writes its manifest. Nobody waits for one but who deletes
//! the partition: a job writes into its directory, which is another's once it is gone.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use roaring::RoaringTreemap;

use crate::base::crash_point;
use crate::base::ids::TopicPartition;
use crate::delay::key::Key;
use crate::delay::state::Sealing;
use crate::log::runs::{self, Manifest, Over, Run, RunError, RunId, RunMeta, Source};
use crate::shard::control::Control;
use crate::shard::mailbox::Mailbox;
use crate::shard::worker::Message;
use crate::store::{File, Files};

/// What is to be done for one partition.
pub(super) struct Job {
    pub(super) tp: TopicPartition,
    pub(super) dir: PathBuf,
    /// As it is on disk.
    pub(super) manifest: Manifest,
    /// The release position that no crash can undo.
    pub(super) released: Key,
    pub(super) work: Work,
    pub(super) hold: Arc<Hold>,
    /// Of the shard that waits.
    pub(super) mailbox: Arc<Mailbox<Message>>,
}

pub(super) enum Work {
    Seal {
        sealing: Arc<Sealing>,
        segment: Arc<dyn File>,
    },
    Merge {
        inputs: Vec<Arc<Run>>,
        cancelled: RoaringTreemap,
    },
    /// Slices that are passed leave the manifest.
    Trim,
    /// Files that no manifest names any more are removed.
    Sweep,
}

/// A partition's say over its job.
#[derive(Default)]
pub(super) struct Hold {
    abort: AtomicBool,
    at_work: Mutex<()>,
}

impl Hold {
    /// Ends the job, if there is one, and waits until it is over.
    pub(super) fn end(&self) {
        self.abort.store(true, Ordering::SeqCst);
        drop(self.at_work.lock());
    }
}

/// What came of a job.
pub struct Done {
    pub(super) tp: TopicPartition,
    pub(super) outcome: Result<Changed, RunError>,
}

/// What a job changed.
pub(super) struct Changed {
    /// As it is on disk now.
    pub(super) manifest: Manifest,
    /// A run that is new.
    pub(super) run: Option<RunMeta>,
    /// Entries of a segment that its damage took.
    pub(super) lost: Vec<Source>,
    /// Tickets that were cancelled and are in no run any more.
    pub(super) dropped: RoaringTreemap,
    /// Files are left that the manifest does not name.
    pub(super) leftovers: bool,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    closed: bool,
}

/// The handle on the thread.
#[derive(Clone, Default)]
pub(super) struct Sealer(Arc<(Mutex<Queue>, Condvar)>);

impl Sealer {
    /// Hands a job over. Never waits: a partition has one at most.
    pub(super) fn send(&self, job: Job) {
        self.0.0.lock().jobs.push(job);
        self.0.1.notify_one();
    }

    pub(super) fn close(&self) {
        self.0.0.lock().closed = true;
        self.0.1.notify_one();
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.0.0.lock();
        while queue.jobs.is_empty() && !queue.closed {
            self.0.1.wait(&mut queue);
        }
        let is_next = !queue.closed && !queue.jobs.is_empty();
        is_next.then(|| queue.jobs.remove(0))
    }

    /// Starts the thread. It ends when it is closed, with the job in hand.
    pub(super) fn spawn(&self, files: Arc<dyn Files>) -> io::Result<JoinHandle<()>> {
        let queue = self.clone();
        let run = move || {
            while let Some(job) = queue.next() {
                work(&*files, job);
            }
        };
        std::thread::Builder::new().name("sealer".to_owned()).spawn(run)
    }
}

fn work(files: &dyn Files, job: Job) {
    let hold = Arc::clone(&job.hold);
    let at_work = hold.at_work.lock();
    let (tp, mailbox) = (job.tp, Arc::clone(&job.mailbox));
    let outcome = match hold.abort.load(Ordering::SeqCst) {
        true => Err(RunError::Aborted),
        false => job.run(files),
    };
    drop(at_work);
    // A shard that has stopped needs no answer: the manifest tells the next start.
    let _ = mailbox.send(Message::Control(Control::Sealed(Box::new(Done { tp, outcome }))));
}

impl Job {
    fn run(self, files: &dyn Files) -> Result<Changed, RunError> {
        let Self { dir, mut manifest, released, work, hold, .. } = self;
        let id = manifest.next_run;
        let (mut run, mut lost, mut dropped) = (None, Vec::new(), RoaringTreemap::new());
        match work {
            Work::Seal { sealing, segment } => {
                // With page cache alone, what a manifest stands for must not be less durable.
                segment.sync()?;
                let sources = sealing.window.sorted().map(|slot| Source {
                    key: slot.key,
                    asked_due_ms: slot.asked_due_ms,
                    expires_at_ms: slot.expires_at_ms,
                    position: slot.position,
                    bytes: slot.bytes,
                });
                let sealed = runs::seal(files, &dir, id, &*segment, sources, &hold.abort)?;
                crash_point::pass("sealed");
                let at = &sealing.at;
                manifest.sealed = at.below;
                manifest.released = at.w;
                manifest.pending_records = at.pending.records;
                manifest.pending_bytes = at.pending.bytes;
                manifest.clock_ms = at.clock_ms;
                manifest.cancelled = at.cancelled.clone();
                manifest.copies = Arc::clone(&at.copies);
                (run, lost) = (sealed.run, sealed.lost);
            }
            Work::Merge { inputs, cancelled } => {
                let over = Over { released, cancelled: &cancelled };
                let merged = runs::merge(files, &dir, id, &inputs, over, &hold.abort)?;
                crash_point::pass("merged");
                let gone: Vec<RunId> = inputs.iter().map(|run| run.meta().id).collect();
                manifest.runs.retain(|run| !gone.contains(&run.id));
                manifest.cancelled -= &merged.dropped;
                (run, dropped) = (merged.run, merged.dropped);
            }
            Work::Trim => {}
            Work::Sweep => {
                runs::sweep(files, &dir, &manifest)?;
                let none = RoaringTreemap::new();
                return Ok(Changed { manifest, run, lost, dropped: none, leftovers: false });
            }
        }
        manifest.next_run += 1;
        let before = manifest.runs.len();
        manifest.runs.extend(run.clone());
        let leftovers = manifest.drop_passed(released) || manifest.runs.len() <= before;
        manifest.write(files, &dir)?;
        Ok(Changed { manifest, run, lost, dropped, leftovers })
    }
}
