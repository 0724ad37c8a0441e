use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::base::env::scripted::{self, ScriptedClock};
use crate::base::ids::{TopicPartition, Uuid};
use crate::log::commit::{CommitSettings, Mark, ReplayedCommit};
use crate::store::memory::MemoryFiles;
use crate::store::{Files, OpenMode, Resize};
use crate::wire::batch::HEADER_BYTES;

type Done = Box<dyn FnOnce(Result<(), &CommitError>) + Send>;

struct Rig {
    files: Arc<MemoryFiles>,
    mark: Mark,
    committer: Committer<Done>,
    handle: CommitterHandle<Done>,
    pressed: Arc<AtomicUsize>,
    outcomes: Arc<Mutex<Vec<(i64, bool)>>>,
}

fn dir() -> &'static Path {
    Path::new("/data/commit")
}

fn small_ring() -> CommitSettings {
    CommitSettings { file_bytes: 16 << 10, max_bytes: 64 << 10, durable: true }
}

impl Rig {
    fn new(settings: CommitterSettings) -> Self {
        let files = Arc::new(MemoryFiles::new());
        let ring = Arc::clone(&files) as Arc<dyn Files>;
        let (mut log, _) = CommitLog::open(ring, dir(), small_ring(), None, 1).unwrap();
        let mark = log.last();
        log.release(mark.sequence);
        let env = scripted::env(ScriptedClock::at(0), 1);
        let pressed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pressed);
        let (committer, handle) = Committer::new(log, settings, env, move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self { files, mark, committer, handle, pressed, outcomes: Arc::default() }
    }

    fn submission(&self, batches: Vec<Submitted>) -> Submission<Done> {
        let outcomes = Arc::clone(&self.outcomes);
        let offset = batches[0].row.base_offset();
        let completion: Done =
            Box::new(move |outcome| outcomes.lock().push((offset, outcome.is_ok())));
        Submission { batches: batches.into(), completion }
    }

    fn submit(&self, batches: Vec<Submitted>) {
        self.handle.submit([self.submission(batches)]);
    }

    fn replay(&self) -> Vec<ReplayedCommit> {
        let files = Arc::clone(&self.files) as Arc<dyn Files>;
        let (_, replay) = CommitLog::open(files, dir(), small_ring(), Some(self.mark), 2).unwrap();
        replay.collect::<io::Result<_>>().unwrap()
    }

    fn outcomes(&self) -> Vec<(i64, bool)> {
        std::mem::take(&mut self.outcomes.lock())
    }
}

fn batch(base_offset: i64, bytes: usize) -> Submitted {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    let length = i32::try_from(HEADER_BYTES - 12 + bytes).unwrap();
    header[8..12].copy_from_slice(&length.to_be_bytes());
    header[16] = 2;
    let records = Bytes::from(vec![0; bytes]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[21..]), &records);
    header[17..21].copy_from_slice(&crc.to_be_bytes());
    let tp = TopicPartition::new(Uuid::from_u128(1), 0);
    Submitted { row: Row { tp, header, records, in_segment: false }, segment: None }
}

/// A segment that counts its syncs and can fail them.
#[derive(Default)]
struct Segment {
    syncs: AtomicUsize,
    failing: bool,
}

impl File for Segment {
    fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, _slices: &[IoSlice<'_>], _position: u64) -> io::Result<()> {
        Ok(())
    }
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn resize(&self, _change: Resize) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.failing { Err(io::Error::other("lost write")) } else { Ok(()) }
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn bulk(base_offset: i64, segment: &Arc<Segment>) -> Submitted {
    let segment = Arc::clone(segment) as Arc<dyn File>;
    Submitted { segment: Some(segment), ..batch(base_offset, 300 << 10) }
}

#[test]
fn what_gathered_is_one_commit_and_completes_in_order() {
    let mut rig = Rig::new(CommitterSettings::default());
    rig.submit(vec![batch(1, 10)]);
    rig.submit(vec![batch(2, 10), batch(3, 10)]);
    rig.submit(vec![batch(4, 10)]);
    assert!(rig.outcomes().is_empty());
    assert_eq!(rig.committer.step(), Step::Committed);
    assert_eq!(rig.outcomes(), [(1, true), (2, true), (4, true)]);
    assert_eq!(rig.committer.step(), Step::Idle);
    assert_eq!(rig.handle.settled().sequence, rig.mark.sequence + 1);
    let commits = rig.replay();
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0].rows.len(), 4);
    assert_eq!(rig.handle.stats().submissions.get(), 3);
    assert_eq!(rig.handle.stats().batches.get(), 4);
}

#[test]
fn an_empty_submission_completes_behind_what_came_before_and_writes_nothing() {
    let mut rig = Rig::new(CommitterSettings { commit_bytes: 1, ..Default::default() });
    rig.submit(vec![batch(1, 10)]);
    let outcomes = Arc::clone(&rig.outcomes);
    let completion: Done = Box::new(move |outcome| outcomes.lock().push((2, outcome.is_ok())));
    rig.handle.submit([Submission { batches: SmallVec::new(), completion }]);
    while rig.committer.step() == Step::Committed {}
    assert_eq!(rig.outcomes(), [(1, true), (2, true)]);
    assert_eq!(rig.replay().len(), 1);
}

#[test]
fn a_commit_ends_before_the_submission_that_makes_it_too_large() {
    let mut rig = Rig::new(CommitterSettings { commit_bytes: 1_000, ..Default::default() });
    for offset in 0..3 {
        rig.submit(vec![batch(offset, 400)]);
    }
    rig.submit(vec![batch(3, 800), batch(4, 800)]);
    let mut sizes = Vec::new();
    while rig.committer.step() == Step::Committed {
        sizes.push(rig.outcomes().len());
    }
    assert_eq!(sizes, [2, 1, 1]);
    let rows: Vec<_> = rig.replay().iter().map(|commit| commit.rows.len()).collect();
    assert_eq!(rows, [2, 1, 2], "a submission is never split");
}

#[test]
fn a_large_batch_is_synced_where_it_is() {
    let mut rig = Rig::new(CommitterSettings { bulk_segments: 2, ..Default::default() });
    let segments: Vec<_> = (0..2).map(|_| Arc::new(Segment::default())).collect();
    rig.submit(vec![bulk(1, &segments[0])]);
    rig.submit(vec![batch(2, 10)]);
    rig.submit(vec![bulk(3, &segments[0])]);
    rig.submit(vec![bulk(4, &segments[1])]);
    assert_eq!(rig.committer.step(), Step::Committed);
    let syncs: Vec<_> = segments.iter().map(|s| s.syncs.load(Ordering::SeqCst)).collect();
    assert_eq!(syncs, [1, 1]);
    let commits = rig.replay();
    let logged: Vec<_> = commits[0].rows.iter().map(|row| row.batch.is_some()).collect();
    assert_eq!(logged, [false, true, false, false]);
    assert_eq!(rig.handle.stats().bulk_batches.get(), 3);
}

#[test]
fn large_batches_for_many_segments_are_logged() {
    let mut rig = Rig::new(CommitterSettings { bulk_segments: 1, ..Default::default() });
    let segments: Vec<_> = (0..2).map(|_| Arc::new(Segment::default())).collect();
    for (offset, segment) in (0..).zip(&segments) {
        rig.submit(vec![Submitted { row: batch(offset, 5_000).row, ..bulk(offset, segment) }]);
    }
    rig.committer.settings.bulk_bytes = 5_000;
    assert_eq!(rig.committer.step(), Step::Committed);
    let logged: Vec<_> = rig.replay()[0].rows.iter().map(|row| row.batch.is_some()).collect();
    assert_eq!(logged, [false, true]);
    assert_eq!(segments[1].syncs.load(Ordering::SeqCst), 0);
}

#[test]
fn a_failed_sync_fails_everything_for_good() {
    let mut rig = Rig::new(CommitterSettings::default());
    let failing = Arc::new(Segment { failing: true, ..Default::default() });
    rig.submit(vec![bulk(1, &failing)]);
    rig.submit(vec![batch(2, 10)]);
    assert_eq!(rig.committer.step(), Step::Dead);
    assert!(rig.handle.death().is_some() && rig.outcomes().is_empty(), "known before it is told");
    assert_eq!(rig.committer.step(), Step::Dead);
    assert_eq!(rig.outcomes(), [(1, false), (2, false)]);
    rig.submit(vec![batch(3, 10)]);
    assert_eq!(rig.outcomes(), [(3, false)], "refused at once");
    assert_eq!(rig.committer.step(), Step::Dead);
    assert!(rig.replay().is_empty());
    assert_eq!(rig.handle.death().unwrap().to_string(), "the commit log failed: lost write");
}

#[test]
fn a_full_log_waits_for_a_release() {
    let mut rig = Rig::new(CommitterSettings { commit_bytes: 1, ..Default::default() });
    for offset in 0..10 {
        rig.submit(vec![batch(offset, 8_100)]);
    }
    let mut committed = 0;
    while rig.committer.step() == Step::Committed {
        committed += 1;
    }
    assert_eq!((committed, rig.outcomes().len()), (4, 4));
    assert_eq!(rig.committer.step(), Step::Full);
    assert_eq!(rig.pressed.load(Ordering::SeqCst), 1, "asked once, early");
    assert_eq!(rig.handle.ring_bytes(), (60 << 10, 64 << 10));

    rig.handle.release(rig.handle.settled().sequence);
    assert_eq!(rig.committer.step(), Step::Committed);
    assert_eq!(rig.outcomes(), [(4, true)]);
}

#[test]
fn a_checkpoint_that_costs_much_is_asked_for_later() {
    for (is_light, commits) in [(true, 1), (false, 3)] {
        let mut rig = Rig::new(CommitterSettings {
            commit_bytes: 1,
            light_checkpoint_percent: 1,
            checkpoint_percent: 50,
            ..Default::default()
        });
        rig.handle.note_checkpoint(is_light);
        for offset in 0..4 {
            rig.submit(vec![batch(offset, 8_100)]);
        }
        let mut committed = 0;
        while rig.pressed.load(Ordering::SeqCst) == 0 {
            assert_eq!(rig.committer.step(), Step::Committed);
            committed += 1;
        }
        assert_eq!(committed, commits);
    }
}

#[test]
fn the_queue_has_room_again_once_commits_are_done() {
    let mut rig = Rig::new(CommitterSettings { queue_bytes: 5_000, ..Default::default() });
    rig.submit(vec![batch(0, 6_000)]);
    assert!(!rig.handle.has_room());
    let waiting = rig.submission(vec![batch(1, 10)]);
    let handle = rig.handle.clone();
    let (told, done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        handle.submit([waiting]);
        told.send(()).unwrap();
    });
    assert!(done.try_recv().is_err());
    assert_eq!(rig.committer.step(), Step::Committed);
    done.recv().unwrap();
    thread.join().unwrap();
    assert!(rig.handle.has_room());
    assert_eq!(rig.committer.step(), Step::Committed);
    assert_eq!(rig.outcomes(), [(0, true), (1, true)]);
}

#[test]
fn the_thread_commits_what_many_submit_and_ends_when_closed() {
    let Rig { committer, handle, .. } = Rig::new(CommitterSettings::default());
    let thread = spawn(committer, |reason| panic!("{reason}")).unwrap();
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                for offset in 0..50 {
                    let (told, done) = mpsc::channel();
                    let completion: Done = Box::new(move |outcome| {
                        told.send(outcome.is_ok()).unwrap();
                    });
                    let batches = [batch(offset, 10)].into_iter().collect();
                    handle.submit([Submission { batches, completion }]);
                    assert!(done.recv().unwrap());
                    // As a checkpoint would, so that the small log never fills.
                    handle.release(handle.settled().sequence);
                }
            })
        })
        .collect();
    submitters.into_iter().for_each(|thread| thread.join().unwrap());
    handle.close();
    thread.join().unwrap();
    assert_eq!(handle.stats().batches.get(), 200);
}

#[test]
fn the_memory_ring_takes_direct_writes() {
    // What the rig relies on: frames are aligned, or the memory files would refuse them.
    let files = MemoryFiles::new();
    files.create_dir(dir()).unwrap();
    let file = files.open(&dir().join("0"), OpenMode::Direct).unwrap();
    assert!(file.write_at(&[IoSlice::new(&[1; 100])], 0).is_err());
}
