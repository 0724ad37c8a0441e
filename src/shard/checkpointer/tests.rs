use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::env::scripted::{self, ScriptedClock};
use crate::base::ids::Uuid;
use crate::log::commit::{CommitError, CommitLog, CommitSettings, Row};
use crate::shard::committer::{Committer, CommitterSettings, Step, Submission, Submitted};
use crate::store::memory::MemoryFiles;
use crate::store::{File, Resize};
use crate::wire::batch::HEADER_BYTES;

type Done = Box<dyn FnOnce(Result<(), &CommitError>) + Send>;
type Script = Box<dyn FnMut() -> Option<Collected> + Send>;

struct Scripted(Script);

impl Sources for Scripted {
    fn collect(&mut self) -> Option<Collected> {
        (self.0)()
    }
}

/// A file whose sync does what the test says.
struct OnSync<F>(F);

impl<F: Fn() -> io::Result<()> + Send + Sync> File for OnSync<F> {
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
        (self.0)()
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn data_dir() -> &'static Path {
    Path::new("/data")
}

struct Rig {
    files: Arc<MemoryFiles>,
    committer: Arc<Mutex<Committer<Done>>>,
    commits: CommitterHandle<Done>,
}

impl Rig {
    fn new() -> Self {
        let files = Arc::new(MemoryFiles::new());
        let shared = Arc::clone(&files) as Arc<dyn Files>;
        let dir = data_dir().join("commit");
        let ring = CommitSettings { file_bytes: 16 << 10, max_bytes: 64 << 10, durable: true };
        let (mut log, _) = CommitLog::open(shared, &dir, ring, None, 1).unwrap();
        log.release(log.last().sequence);
        let env = scripted::env(ScriptedClock::at(0), 1);
        let (committer, commits) = Committer::new(log, CommitterSettings::default(), env, || {});
        Self { files, committer: Arc::new(Mutex::new(committer)), commits }
    }

    fn commit(&self) {
        commit(&self.commits, &self.committer);
    }

    fn checkpointer(&self, script: Script) -> Checkpointer<Scripted, Done> {
        Checkpointer::new(
            Arc::clone(&self.files) as Arc<dyn Files>,
            data_dir().to_owned(),
            CheckpointSettings::default(),
            Scripted(script),
            self.commits.clone(),
            vec![partition(0, 5)],
        )
    }

    fn on_disk(&self) -> Option<checkpoint_file::Checkpoint> {
        checkpoint_file::read(&*self.files, data_dir()).unwrap()
    }

    /// Bytes of the log that are not released, as the committer's next step finds them.
    fn used_bytes(&self) -> u64 {
        assert_eq!(self.committer.lock().step(), Step::Idle);
        self.commits.ring_bytes().0
    }
}

fn commit(commits: &CommitterHandle<Done>, committer: &Mutex<Committer<Done>>) {
    let mut header = [0; HEADER_BYTES];
    header[16] = 2;
    let tp = TopicPartition::new(Uuid::from_u128(1), 0);
    let row = Row { tp, header, records: Bytes::new(), in_segment: false };
    let batches = [Submitted { row, segment: None }].into_iter().collect();
    let completion: Done = Box::new(|outcome| outcome.unwrap());
    commits.submit([Submission { batches, completion }]);
    assert_eq!(committer.lock().step(), Step::Committed);
}

fn partition(partition: i32, recovery_point: i64) -> PartitionCheckpoint {
    let tp = TopicPartition::new(Uuid::from_u128(1), partition);
    PartitionCheckpoint { tp, recovery_point, log_start: 0, producers: Vec::new() }
}

fn changed(changed: Vec<PartitionCheckpoint>) -> Option<Collected> {
    Some(Collected { changed, ..Collected::default() })
}

fn work(dirty: &Arc<dyn File>) -> SyncWork {
    SyncWork::of(Arc::clone(dirty))
}

fn file(sync: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Arc<dyn File> {
    Arc::new(OnSync(sync))
}

#[test]
fn files_are_synced_before_the_checkpoint_and_the_log_freed_after_it() {
    let rig = Rig::new();
    rig.commit();
    let disk = Arc::clone(&rig.files);
    let synced = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&synced);
    let dirty = file(move || {
        assert!(checkpoint_file::read(&*disk, data_dir()).unwrap().is_none(), "not written yet");
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut checkpointer = rig.checkpointer(Box::new(move || {
        let changed = vec![partition(1, 9)];
        Some(Collected { changed, dirty: work(&dirty), ..Collected::default() })
    }));
    assert_eq!(rig.used_bytes(), 4096);
    checkpointer.step(false).unwrap();
    assert_eq!(synced.load(Ordering::SeqCst), 1);
    let written = rig.on_disk().unwrap();
    assert_eq!(written.mark, rig.commits.settled());
    assert_eq!(written.partitions, [partition(0, 5), partition(1, 9)]);
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn commits_made_while_collecting_are_kept() {
    let rig = Rig::new();
    let (commits, committer) = (rig.commits.clone(), Arc::clone(&rig.committer));
    let mut checkpointer = rig.checkpointer(Box::new(move || {
        commit(&commits, &committer);
        changed(Vec::new())
    }));
    rig.commit();
    let before = rig.commits.settled();
    checkpointer.step(false).unwrap();
    assert_eq!(rig.on_disk().unwrap().mark, before);
    assert_eq!(rig.used_bytes(), 8192, "the later commit holds the file");
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let rig = Rig::new();
    let mut checkpointer = rig.checkpointer(Box::new(|| changed(Vec::new())));
    checkpointer.step(false).unwrap();
    assert!(rig.on_disk().is_none());
    checkpointer.step(true).unwrap();
    assert!(rig.on_disk().unwrap().clean);
}

#[test]
fn removed_partitions_are_forgotten() {
    let rig = Rig::new();
    let mut checkpointer = rig.checkpointer(Box::new(|| {
        let removed = vec![partition(0, 0).tp];
        Some(Collected { removed, ..Collected::default() })
    }));
    checkpointer.step(false).unwrap();
    assert!(rig.on_disk().unwrap().partitions.is_empty());
}

#[test]
fn after_a_failed_sync_the_log_is_kept_and_no_checkpoint_made() {
    let rig = Rig::new();
    rig.commit();
    let dirty = file(|| Err(io::Error::other("lost write")));
    let mut checkpointer = rig.checkpointer(Box::new(move || {
        Some(Collected { dirty: work(&dirty), ..Collected::default() })
    }));
    assert!(matches!(checkpointer.step(false), Err(CheckpointFailed::Sync(_))));
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.used_bytes(), 4096);
}

#[test]
fn what_could_not_be_written_is_in_the_next_checkpoint() {
    let rig = Rig::new();
    rig.commit();
    let mut changes = vec![vec![partition(1, 9)]].into_iter();
    let mut checkpointer =
        rig.checkpointer(Box::new(move || changed(changes.next().unwrap_or_default())));
    rig.files.set_room_bytes(Some(0));
    assert!(matches!(checkpointer.step(false), Err(CheckpointFailed::Write(_))));
    assert_eq!(rig.used_bytes(), 4096);
    rig.files.set_room_bytes(None);
    checkpointer.step(false).unwrap();
    assert_eq!(rig.on_disk().unwrap().partitions, [partition(0, 5), partition(1, 9)]);
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn a_small_file_that_a_full_disk_refuses_is_owed_and_no_failed_sync() {
    let rig = Rig::new();
    rig.commit();
    let path = data_dir().join("leader-epoch-checkpoint");
    let replace = |text: &str| Replacements::from([(path.clone(), text.to_owned())]);
    let mut answers = vec![
        Collected {
            changed: vec![partition(1, 9)],
            dirty: SyncWork::owing(replace("old")),
            ..Collected::default()
        },
        Collected { dirty: SyncWork::owing(replace("new")), ..Collected::default() },
    ]
    .into_iter();
    let mut checkpointer =
        rig.checkpointer(Box::new(move || Some(answers.next().unwrap_or_default())));
    rig.files.set_room_bytes(Some(0));
    for _ in 0..2 {
        assert!(matches!(checkpointer.step(false), Err(CheckpointFailed::Write(_))));
    }
    assert!(rig.on_disk().is_none(), "the epochs of what it says is durable are not");
    assert_eq!(rig.used_bytes(), 4096);
    rig.files.set_room_bytes(None);
    checkpointer.step(false).unwrap();
    assert_eq!(rig.files.read(&path).unwrap(), b"new");
    assert_eq!(rig.on_disk().unwrap().partitions, [partition(0, 5), partition(1, 9)]);
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn a_clean_stop_ends_with_a_clean_checkpoint() {
    let rig = Rig::new();
    let bell = Bell::default();
    let checkpointer = rig.checkpointer(Box::new(|| changed(vec![partition(0, 7)])));
    let thread = spawn(checkpointer, bell.clone(), |reason| panic!("{reason}")).unwrap();
    bell.stop(Stop::Clean);
    thread.join().unwrap().unwrap();
    let written = rig.on_disk().unwrap();
    assert!(written.clean);
    assert_eq!(written.partitions, [partition(0, 7)]);
}

#[test]
fn a_failed_sync_ends_the_thread_with_the_reason() {
    let rig = Rig::new();
    let bell = Bell::default();
    let dirty = file(|| Err(io::Error::other("lost write")));
    let checkpointer = rig.checkpointer(Box::new(move || {
        Some(Collected { dirty: work(&dirty), ..Collected::default() })
    }));
    let reason = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&reason);
    let thread =
        spawn(checkpointer, bell.clone(), move |why| why.clone_into(&mut told.lock())).unwrap();
    bell.ring();
    assert!(thread.join().unwrap().is_err());
    assert_eq!(*reason.lock(), "segments could not be synced: lost write");
}

proptest! {
    #[test]
    fn every_file_is_synced_once(files in 0..40_usize, failing in any::<bool>()) {
        let syncs = Arc::new(AtomicUsize::new(0));
        let mut all = SyncWork::default();
        for at in 0..files {
            let syncs = Arc::clone(&syncs);
            all.merge(work(&file(move || {
                syncs.fetch_add(1, Ordering::SeqCst);
                if failing && at == files / 2 { Err(io::Error::other("lost")) } else { Ok(()) }
            })));
        }
        let outcome = Syncing::new(Arc::new(MemoryFiles::new()), data_dir()).run(all);
        prop_assert_eq!(outcome.is_err(), failing && files > 0);
        if !failing {
            prop_assert_eq!(syncs.load(Ordering::SeqCst), files);
        }
    }
}
