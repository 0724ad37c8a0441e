use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::{self, FrameSize};
use super::*;
use crate::base::ids::Uuid;
use crate::store::local::LocalFiles;
use crate::store::memory::MemoryFiles;
use crate::store::{DIRECT_ALIGN_BYTES, DirEntry, File, Files, OpenMode, Resize};

const PAGE: u64 = DIRECT_ALIGN_BYTES as u64;

/// A batch whose header is true of its records.
fn row(partition: i32, base_offset: i64, records: &[u8]) -> Row {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    let length = i32::try_from(HEADER_BYTES - 12 + records.len()).unwrap();
    header[8..12].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&7_i32.to_be_bytes());
    header[16] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[21..]), records);
    header[17..21].copy_from_slice(&crc.to_be_bytes());
    let tp = TopicPartition::new(Uuid::from_u128(9), partition);
    Row { tp, header, records: Bytes::copy_from_slice(records), in_segment: false }
}

/// What replay is to return for it.
fn replayed(row: &Row) -> ReplayedRow {
    let mut batch = row.header.to_vec();
    batch.extend_from_slice(&row.records);
    ReplayedRow {
        tp: row.tp,
        base_offset: row.base_offset(),
        size_bytes: u32::try_from(batch.len()).unwrap(),
        leader_epoch: 7,
        crc: u32::from_be_bytes(row.header[17..21].try_into().unwrap()),
        batch: (!row.in_segment).then(|| Bytes::from(batch)),
    }
}

fn settings(files: u64) -> CommitSettings {
    CommitSettings { file_bytes: 4 * PAGE, max_bytes: 4 * PAGE * files, durable: true }
}

/// A started log, and its files.
struct Disk {
    files: Arc<MemoryFiles>,
    settings: CommitSettings,
    runs: u64,
}

impl Disk {
    fn new(files: u64) -> Self {
        Self { files: Arc::new(MemoryFiles::new()), settings: settings(files), runs: 0 }
    }

    fn open(&mut self, after: Option<Mark>) -> (CommitLog, Replay) {
        self.runs += 1;
        let files = Arc::clone(&self.files) as Arc<dyn Files>;
        CommitLog::open(files, dir(), self.settings.clone(), after, self.runs).unwrap()
    }

    /// Opens the log, takes what it holds, and makes it ready to write.
    fn start(&mut self, after: Option<Mark>) -> (CommitLog, Vec<ReplayedCommit>, ReplayEnd) {
        let (mut log, mut replay) = self.open(after);
        let commits = replay.by_ref().collect::<io::Result<_>>().unwrap();
        log.release(log.last().sequence);
        (log, commits, replay.end().unwrap().clone())
    }
}

fn dir() -> &'static Path {
    Path::new("/data/commit")
}

fn rows_of(commits: &[ReplayedCommit]) -> Vec<ReplayedRow> {
    commits.iter().flat_map(|commit| commit.rows.clone()).collect()
}

#[test]
fn commits_after_the_checkpoint_come_back_in_order() {
    let mut disk = Disk::new(4);
    let (mut log, none, _) = disk.start(None);
    assert!(none.is_empty());
    let mark = log.last();
    let mut in_segment = row(2, 40, b"bulk");
    in_segment.in_segment = true;
    let all = [row(0, 10, b"first"), row(1, 20, b""), in_segment, row(0, 11, &[7; 5_000])];
    let first = log.write(all[..1].iter()).unwrap();
    assert_eq!(first, mark.sequence + 1);
    log.write(all[1..3].iter()).unwrap();
    let checkpoint = Mark { sequence: first, ..mark };
    log.write(all[3..].iter()).unwrap();

    let (_, commits, end) = disk.start(Some(mark));
    assert_eq!(rows_of(&commits), all.iter().map(replayed).collect::<Vec<_>>());
    assert_eq!(commits[1].rows.len(), 2);
    assert_eq!((end.last_sequence, end.later_frames), (first + 2, 0));
    let (_, commits, _) = disk.start(Some(checkpoint));
    assert_eq!(rows_of(&commits), all[1..].iter().map(replayed).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_refuses_until_released() {
    let mut disk = Disk::new(2);
    let (mut log, _, _) = disk.start(None);
    let mark = log.last();
    let big = [row(0, 0, &vec![1; 8_000])];
    let mut sequences = Vec::new();
    let refused = loop {
        match log.write(big.iter()) {
            Ok(sequence) => sequences.push(sequence),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CommitError::Full));
    assert_eq!(sequences.len(), 4, "two frames of two pages in each of two files");
    assert_eq!(log.used_bytes(), disk.settings.max_bytes);

    log.release(sequences[0]);
    assert!(matches!(log.write(big.iter()), Err(CommitError::Full)), "half a file is not free");
    log.release(sequences[1]);
    let next = log.write(big.iter()).unwrap();
    let (_, commits, _) = disk.start(Some(Mark { sequence: sequences[1], ..mark }));
    let found: Vec<_> = commits.iter().map(|commit| commit.sequence).collect();
    assert_eq!(found, [sequences[2], sequences[3], next]);
}

#[test]
fn one_file_serves_while_checkpoints_keep_up() {
    let mut disk = Disk::new(4);
    let (mut log, _, _) = disk.start(None);
    for offset in 0..50 {
        let sequence = log.write([row(0, offset, &[3; 3_000])].iter()).unwrap();
        log.release(sequence);
        assert_eq!(log.used_bytes(), 0);
    }
    assert_eq!(disk.files.list(dir()).unwrap().len(), 1);
}

#[test]
fn a_commit_larger_than_a_file_gets_its_own() {
    let mut disk = Disk::new(100);
    let (mut log, _, _) = disk.start(None);
    let mark = log.last();
    let all = [row(0, 0, b"a"), row(0, 1, &vec![5; 100_000]), row(0, 2, b"b")];
    for row in &all {
        log.write([row].into_iter()).unwrap();
    }
    let (mut log, commits, _) = disk.start(Some(mark));
    assert_eq!(rows_of(&commits), all.iter().map(replayed).collect::<Vec<_>>());
    let lens: Vec<_> = disk.files.list(dir()).unwrap().iter().map(|e| e.len_bytes).collect();
    assert!(lens.iter().all(|len| *len == 4 * PAGE), "it is not kept: {lens:?}");
    log.write(all[..1].iter()).unwrap();
}

#[test]
fn frames_of_an_earlier_run_and_forged_ones_are_not_taken() {
    let mut disk = Disk::new(2);
    let (mut log, _, _) = disk.start(None);
    let mark = log.last();
    // A record that holds a whole frame, page by page, with the sequences to come.
    let forger = row(0, 0, b"forged");
    let mut forged = vec![0; DIRECT_ALIGN_BYTES - frame::HEAD_BYTES - 44 - HEADER_BYTES];
    for ahead in 1..3 {
        let size = FrameSize::of([&forger].into_iter());
        let mut page = vec![0; size.padded_bytes()];
        let guess = Mark { run: 0, sequence: mark.sequence + ahead };
        frame::encode(guess, size, [&forger].into_iter(), &mut page);
        forged.extend_from_slice(&page);
    }
    let carrier = [row(1, 5, &forged)];
    log.write(carrier.iter()).unwrap();
    log.release(mark.sequence + 1);
    let taken = log.write([row(1, 6, b"real")].iter()).unwrap();
    let (mut log, commits, end) = disk.start(Some(Mark { sequence: taken - 1, ..mark }));
    assert_eq!(rows_of(&commits), [replayed(&row(1, 6, b"real"))]);
    assert_eq!(end.later_frames, 0);

    let second = log.last();
    log.write([row(1, 7, b"new run")].iter()).unwrap();
    let (_, commits, end) = disk.start(Some(second));
    assert_eq!(rows_of(&commits), [replayed(&row(1, 7, b"new run"))]);
    assert_eq!((end.later_frames, end.last_sequence), (0, second.sequence + 1));
}

#[test]
fn without_a_checkpoint_all_that_the_ring_holds_comes_back() {
    let mut disk = Disk::new(3);
    let (mut log, _, _) = disk.start(None);
    let mut last = 0;
    for offset in 0..5 {
        last = log.write([row(0, offset, &[1; 7_000])].iter()).unwrap();
    }
    log.release(last - 3);
    log.write([row(0, 5, &[1; 7_000])].iter()).unwrap();
    let (_, commits, _) = disk.start(None);
    let offsets: Vec<_> = rows_of(&commits).iter().map(|row| row.base_offset).collect();
    assert!(offsets.ends_with(&[2, 3, 4, 5]), "{offsets:?}");
}

#[test]
fn damage_before_whole_frames_is_told() {
    let mut disk = Disk::new(4);
    let (mut log, _, _) = disk.start(None);
    let mark = log.last();
    for offset in 0..6 {
        log.write([row(0, offset, &[9; 6_000])].iter()).unwrap();
    }
    let mut bytes = disk.files.read(&dir().join("0")).unwrap();
    bytes[2 * DIRECT_ALIGN_BYTES + 3_000] ^= 1;
    disk.files.put(&dir().join("0"), bytes);
    let (_, commits, end) = disk.start(Some(mark));
    assert_eq!(commits.len(), 1);
    assert_eq!(end.reason, NotAFrame::Batch { row: 0 });
    assert_eq!(end.later_frames, 4);
}

#[test]
#[should_panic(expected = "released before the first write")]
fn a_log_with_unreleased_commits_is_not_written() {
    let mut disk = Disk::new(2);
    let (mut log, _, _) = disk.start(None);
    let mark = log.last();
    log.write([row(0, 0, b"x")].iter()).unwrap();
    let (mut log, _) = disk.open(Some(mark));
    drop(log.write([row(0, 1, b"y")].iter()));
}

/// Refuses direct writes, and fails on demand.
struct Awkward {
    inner: LocalFiles,
    refuse_direct: bool,
    failing: Arc<AtomicBool>,
}

struct AwkwardFile {
    inner: Arc<dyn File>,
    failing: Arc<AtomicBool>,
}

impl Files for Awkward {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if self.refuse_direct && mode == OpenMode::Direct {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(AwkwardFile { inner, failing: Arc::clone(&self.failing) }))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
}

impl File for AwkwardFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, position)
    }
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.inner.write_at(slices, position)
    }
    fn len_bytes(&self) -> io::Result<u64> {
        self.inner.len_bytes()
    }
    fn resize(&self, change: Resize) -> io::Result<()> {
        self.inner.resize(change)
    }
    fn sync(&self) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("lost write"));
        }
        self.inner.sync()
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[test]
fn every_way_of_writing_is_read_back_by_every_other() {
    for (refuse_direct, durable) in [(false, true), (true, true), (false, false)] {
        let scratch = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> =
            Arc::new(Awkward { inner: LocalFiles, refuse_direct, failing: Arc::default() });
        let settings = CommitSettings { durable, ..settings(4) };
        let (mut log, _) =
            CommitLog::open(files, scratch.path(), settings.clone(), None, 1).unwrap();
        log.release(log.last().sequence);
        let mark = log.last();
        let all = [row(0, 0, b"one"), row(0, 1, &[4; 10_000]), row(0, 2, &[5; 9_000])];
        for row in &all {
            log.write([row].into_iter()).unwrap();
        }
        drop(log);
        let files = Arc::new(LocalFiles);
        let (_, replay) = CommitLog::open(files, scratch.path(), settings, Some(mark), 2).unwrap();
        let commits: Vec<_> = replay.collect::<io::Result<_>>().unwrap();
        assert_eq!(rows_of(&commits), all.iter().map(replayed).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_sync_is_final() {
    let scratch = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let files = Awkward { inner: LocalFiles, refuse_direct: true, failing: Arc::clone(&failing) };
    let opened = CommitLog::open(Arc::new(files), scratch.path(), settings(4), None, 1);
    let (mut log, _) = opened.unwrap();
    log.release(log.last().sequence);
    let rows = [row(0, 0, b"x")];
    log.write(rows.iter()).unwrap();
    failing.store(true, Ordering::SeqCst);
    assert!(matches!(log.write(rows.iter()), Err(CommitError::Failed(_))));
    failing.store(false, Ordering::SeqCst);
    assert!(matches!(log.write(rows.iter()), Err(CommitError::Failed(_))), "not tried again");
}

#[test]
fn a_full_disk_is_a_full_ring() {
    let mut disk = Disk::new(8);
    let (mut log, _, _) = disk.start(None);
    let rows = [row(0, 0, &[1; 3_000])];
    let mut last = log.write(rows.iter()).unwrap();
    disk.files.set_room_bytes(Some(PAGE));
    let refused = loop {
        match log.write(rows.iter()) {
            Ok(sequence) => last = sequence,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CommitError::Full));
    log.release(last);
    log.write(rows.iter()).unwrap();
}

fn any_row() -> impl Strategy<Value = Row> {
    let records = prop::collection::vec(any::<u8>(), 0..9_000);
    (0..4, 0..1_000_i64, records, any::<bool>()).prop_map(|(partition, offset, records, bulk)| {
        let mut row = row(partition, offset, &records);
        row.in_segment = bulk;
        row
    })
}

fn encoded(mark: Mark, rows: &[Row]) -> Vec<u8> {
    let size = FrameSize::of(rows.iter());
    let mut bytes = vec![0xAA; size.padded_bytes()];
    frame::encode(mark, size, rows.iter(), &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn frames_round_trip(
        rows in prop::collection::vec(any_row(), 0..12),
        run in any::<u64>(),
        sequence in any::<u64>(),
    ) {
        let mark = Mark { run, sequence };
        let bytes = Bytes::from(encoded(mark, &rows));
        let (found, len) = frame::parse(&bytes, 0, mark).unwrap();
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(found, rows.iter().map(replayed).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_byte_is_noticed_unless_it_is_padding(
        rows in prop::collection::vec(any_row(), 1..4),
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let mark = Mark { run: 3, sequence: 4 };
        let whole = encoded(mark, &rows);
        let mut changed = whole.clone();
        changed[at.index(whole.len())] ^= mask;
        if let Ok((found, _)) = frame::parse(&Bytes::from(changed), 0, mark) {
            prop_assert_eq!(found, rows.iter().map(replayed).collect::<Vec<_>>());
            let used: usize = rows.iter().filter(|row| !row.in_segment).map(Row::size_bytes).sum();
            prop_assert!(at.index(whole.len()) >= frame::HEAD_BYTES + 44 * rows.len() + used);
        }
    }

    #[test]
    fn a_cut_frame_is_no_frame(rows in prop::collection::vec(any_row(), 1..4), keep in 0..4_096_usize) {
        let mark = Mark { run: 3, sequence: 4 };
        let whole = encoded(mark, &rows);
        let used: usize = rows.iter().filter(|row| !row.in_segment).map(Row::size_bytes).sum();
        let end = frame::HEAD_BYTES + 44 * rows.len() + used;
        let cut = Bytes::copy_from_slice(&whole[..keep.min(end - 1)]);
        prop_assert!(frame::parse(&cut, 0, mark).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        rows in any::<u32>(),
        payload in any::<u64>(),
        true_crc in any::<bool>(),
    ) {
        let mark = Mark { run: 3, sequence: 4 };
        let head = encoded(mark, &[]);
        if bytes.len() >= frame::HEAD_BYTES {
            bytes[..frame::HEAD_BYTES].copy_from_slice(&head[..frame::HEAD_BYTES]);
            bytes[24..28].copy_from_slice(&(rows % 16).to_le_bytes());
            bytes[32..40].copy_from_slice(&payload.to_le_bytes());
            let end = frame::HEAD_BYTES + (rows % 16) as usize * 44;
            if true_crc && end <= bytes.len() {
                let crc = crc32c::crc32c(&bytes[8..end]);
                bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            }
        }
        drop(frame::parse(&Bytes::from(bytes), 0, mark));
    }
}

/// One step of a run against the model.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    /// Checkpoint all but this many of the last commits.
    Checkpoint(usize),
    Restart,
    /// A crash in the middle of the next write, which keeps this much of it.
    Torn(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0..6_000_usize, 1..4).prop_map(Step::Write),
        2 => (0..4_usize).prop_map(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => (0..6_000_usize).prop_map(Step::Torn),
    ]
}

proptest! {
    #[test]
    fn a_restart_finds_exactly_the_commits_after_the_checkpoint(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut disk = Disk::new(3);
        let (mut log, _, _) = disk.start(None);
        let mut mark = log.last();
        let mut model: Vec<(u64, Vec<ReplayedRow>)> = Vec::new();
        let mut offset = 0;
        for step in steps {
            match step {
                Step::Write(sizes) => {
                    let rows: Vec<_> = sizes.iter().map(|size| {
                        offset += 1;
                        row(0, offset, &vec![u8::try_from(offset % 251).unwrap(); *size])
                    }).collect();
                    match log.write(rows.iter()) {
                        Ok(sequence) => model.push((sequence, rows.iter().map(replayed).collect())),
                        Err(CommitError::Full) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Checkpoint(keep) => {
                    let done = model.len().saturating_sub(keep);
                    if let Some((sequence, _)) = model.drain(..done).next_back() {
                        mark.sequence = sequence;
                        log.release(sequence);
                    }
                }
                Step::Restart | Step::Torn(_) => {
                    if let Step::Torn(keep) = step {
                        let before = disk.files.snapshot();
                        // Its bytes are new: a tear that old bytes mend is a whole write.
                        offset += 1;
                        let torn = [row(0, offset, &vec![u8::try_from(offset % 251).unwrap(); 6_000])];
                        if log.write(torn.iter()).is_ok() {
                            tear(&disk.files, &before, keep);
                        }
                    }
                    let (next, commits, end) = disk.start(Some(mark));
                    let found: Vec<_> =
                        commits.into_iter().map(|commit| (commit.sequence, commit.rows)).collect();
                    prop_assert_eq!(&found, &model);
                    prop_assert_eq!(end.later_frames, 0);
                    log = next;
                    mark = log.last();
                    model.clear();
                }
            }
        }
    }
}

/// Takes back all but the first `keep` bytes of what changed since the snapshot.
fn tear(now: &MemoryFiles, before: &MemoryFiles, keep: usize) {
    for entry in now.list(dir()).unwrap() {
        let path = dir().join(&entry.name);
        let mut new = now.read(&path).unwrap();
        let mut old = before.read(&path).unwrap_or_default();
        old.resize(new.len(), 0);
        if let Some(from) = (0..new.len()).find(|at| new[*at] != old[*at]) {
            let cut = (from + keep).min(new.len());
            new[cut..].copy_from_slice(&old[cut..]);
            now.put(&path, new);
        }
    }
}
