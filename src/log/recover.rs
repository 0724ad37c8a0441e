//! Opening a partition log: what a clean stop allows to believe, and what a crash makes to check.
//!
//! After a clean stop nothing of the log is read. After a crash everything from the checkpoint's
//! recovery point on is walked with checksums and cut at the first batch that is not whole: what
//! was acknowledged as durable there is in the commit log, whose replay follows. Below the
//! recovery point nothing is ever cut: damage there is reported, kept, and left to the reads of
//! just those batches. The log never ends below the recovery point, so that no durable offset is
//! given out twice.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::cache::{FileKind, LogStore};
use super::compact::swap;
use super::dir::{self, DELETED_SUFFIX, Identity};
use super::epochs::LeaderEpochs;
use super::error::LogError;
use super::index::disk::Loaded;
use super::pairs::Tail;
use super::partition::{Dirty, EPOCHS_FILE, PartitionLog, sequenced};
use super::producers::{ProducerState, Producers, snapshot};
use super::scan::{Depth, Flaw, Placed, Scanner, Step};
use super::segment::{SegmentView, file_name};
use super::settings::{LogSettings, MAX_HOLE, MAX_SEGMENT_BYTES};
use super::view::PartitionView;
use crate::store::local::forget_cached;
use crate::store::{DirEntry, OpenMode, Resize};

/// Producer snapshots kept: the latest, and one in case it is damaged.
const SNAPSHOTS_KEPT: usize = 2;

/// What the last checkpoint, and the metadata, know of a partition. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct OpenHint {
    /// Below this offset everything was synced; 0 if no checkpoint knows the partition.
    pub recovery_point: i64,
    /// The first offset there is, as persisted by the owner.
    pub log_start: i64,
    /// Producers as of the recovery point.
    pub producers: Vec<ProducerState>,
    /// The broker stopped cleanly: the log ends at the recovery point.
    pub clean: bool,
    /// No batch from here on may stay (see [`super::pairs`]); never below the recovery point.
    pub limit: Option<i64>,
}

/// What recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes whose checksums were verified.
    pub scanned_bytes: u64,
    pub cut: Option<Cut>,
    /// Offsets below the recovery point that can not be found: from here up to it.
    pub lost_from: Option<i64>,
}

/// What was cut off the end, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Base offset of the segment.
    pub segment: i64,
    /// Where in it the cut is.
    pub position: u64,
    /// Bytes cut away, in later segments too.
    pub bytes: u64,
    pub why: Flaw,
}

impl PartitionLog {
    /// Opens a partition's log, or an empty one that has no directory until its first append.
    ///
    /// After a crash the visible end stands at the log start until the owner has replayed the
    /// commit log and calls [`PartitionView::advance`]; after a clean stop at the log end.
    ///
    /// # Errors
    /// See [`LogError`]; no other partition is affected.
    pub fn open(
        store: &LogStore,
        identity: Identity,
        settings: LogSettings,
        hint: OpenHint,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<(Self, RecoveryReport), LogError> {
        let dir: Arc<Path> = identity.dir.as_path().into();
        let failed = |source| LogError::Io { path: dir.to_path_buf(), source };
        let is_ours = dir::check_identity(store, &identity)?;
        let mut entries = store.files().list(&dir).map_err(failed)?;
        if swap::complete(store, &dir, &entries).map_err(failed)? {
            entries = store.files().list(&dir).map_err(failed)?;
        }
        if !entries.is_empty() && !is_ours {
            dir::create(store.files(), &identity).map_err(failed)?;
        }
        let mut found = tidy(store, &dir, &entries).map_err(failed)?;
        let segments = segments(store, &dir, &found)?;
        if segments.is_empty() && hint.recovery_point > 0 {
            return Err(LogError::Missing { path: identity.dir, end: hint.recovery_point });
        }
        let (clean, log_start) = (hint.clean, hint.log_start);
        let mut recovery = Recovery::new(
            store,
            dir.clone(),
            settings.clone(),
            hint,
            segments,
            leader_epoch,
            now_ms,
        );
        recovery.run().map_err(failed)?;
        recovery.recall_snapshots(&mut found.snapshots).map_err(failed)?;
        let first = recovery.segments.first().map_or(0, |segment| segment.base_offset());
        let log_start = log_start.max(first);
        let end = recovery.end;
        let view = PartitionView::new(identity.tp, log_start, end);
        view.set_segments(recovery.segments);
        view.set_epochs(recovery.epochs.clone());
        let mut log = Self {
            store: store.clone(),
            dir_made: !entries.is_empty(),
            dir,
            view,
            producers: recovery.producers,
            epochs: recovery.epochs,
            leader_epoch,
            end,
            floor: 0,
            half: None,
            tail: Tail { known_below: recovery.recovery_point.max(log_start), ..recovery.tail },
            active: None,
            named: false,
            synced_below: recovery.recovery_point,
            handed_out: recovery.recovery_point,
            fresh_segment: recovery.behind,
            unwritten: FxHashSet::default(),
            dirty: recovery.dirty,
            condemned: recovery.condemned,
            snapshots: found.snapshots,
            last_append_ms: now_ms,
            identity,
            settings,
        };
        log.set_leader_epoch(leader_epoch);
        log.producers.expire(now_ms, log.settings.producer_expiry_ms);
        if clean {
            log.settle();
            log.view.advance(&log.end());
        }
        recovery.report.log(&log.identity);
        Ok((log, recovery.report))
    }
}

impl RecoveryReport {
    fn log(&self, identity: &Identity) {
        let Identity { topic_name, tp, .. } = identity;
        let partition = dir::partition_dir_name(topic_name, tp.source().partition);
        let is_journal = tp.is_journal();
        if let Some(cut) = self.cut {
            tracing::warn!(
                partition,
                is_journal,
                segment = cut.segment,
                position = cut.position,
                "cut {} bytes off the log's end: {}",
                cut.bytes,
                cut.why
            );
        }
        if let Some(from) = self.lost_from {
            tracing::error!(
                partition,
                is_journal,
                "the log is damaged below its durable end: offsets from \
                {from} on are missing; what is left is kept and served"
            );
        }
    }
}

/// What a directory listing has that matters.
struct Found {
    /// Base offset and length of every segment, by rising offset.
    logs: Vec<(i64, u64)>,
    /// Offsets of producer snapshots, rising.
    snapshots: Vec<i64>,
}

fn parse_name<'a>(name: &'a str, suffix: &str) -> Option<i64> {
    let digits: &'a str = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Reads the listing, and removes what deletions and crashes have left.
fn tidy(store: &LogStore, dir: &Path, entries: &[DirEntry]) -> io::Result<Found> {
    let logs: Vec<(i64, u64)> = entries
        .iter()
        .filter_map(|entry| Some((parse_name(&entry.name, ".log")?, entry.len_bytes)))
        .collect();
    let is_orphan = |name: &str| {
        let base = parse_name(name, ".index").or_else(|| parse_name(name, ".timeindex"));
        base.is_some_and(|base| logs.binary_search_by_key(&base, |log| log.0).is_err())
    };
    for entry in entries {
        let left_over = [DELETED_SUFFIX, ".tmp", ".cleaned", ".swap"];
        if left_over.iter().any(|suffix| entry.name.ends_with(suffix)) || is_orphan(&entry.name) {
            store.files().remove(&dir.join(&entry.name))?;
        }
    }
    let snapshots = entries.iter().filter_map(|entry| parse_name(&entry.name, ".snapshot"));
    Ok(Found { snapshots: snapshots.collect(), logs })
}

fn segments(
    store: &LogStore,
    dir: &Arc<Path>,
    found: &Found,
) -> Result<Vec<Arc<SegmentView>>, LogError> {
    let view = |(base_offset, bytes): &(i64, u64)| {
        if *bytes > u64::from(MAX_SEGMENT_BYTES) {
            let path = dir.join(file_name(*base_offset, FileKind::Log));
            return Err(LogError::OversizeSegment { path, bytes: *bytes });
        }
        Ok(SegmentView::new(store, dir.clone(), *base_offset, *bytes, *bytes))
    };
    found.logs.iter().map(view).collect()
}

/// The state of one recovery.
struct Recovery<'a> {
    store: &'a LogStore,
    dir: Arc<Path>,
    settings: LogSettings,
    recovery_point: i64,
    log_start: i64,
    limit: i64,
    clean: bool,
    leader_epoch: i32,
    now_ms: i64,
    segments: Vec<Arc<SegmentView>>,
    producers: Producers,
    epochs: LeaderEpochs,
    dirty: Dirty,
    condemned: VecDeque<(i64, PathBuf)>,
    end: i64,
    /// What is above the recovery point.
    tail: Tail,
    /// The segments end below the log's end.
    behind: bool,
    report: RecoveryReport,
}

impl<'a> Recovery<'a> {
    fn new(
        store: &'a LogStore,
        dir: Arc<Path>,
        settings: LogSettings,
        hint: OpenHint,
        segments: Vec<Arc<SegmentView>>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Self {
        Self {
            store,
            recovery_point: hint.recovery_point,
            log_start: hint.log_start,
            limit: hint.limit.unwrap_or(i64::MAX),
            clean: hint.clean,
            leader_epoch,
            now_ms,
            segments,
            producers: Producers::from_checkpoint(hint.producers, settings.max_producers),
            dir,
            settings,
            epochs: LeaderEpochs::default(),
            dirty: Dirty::default(),
            condemned: VecDeque::new(),
            end: hint.recovery_point,
            tail: Tail::default(),
            behind: false,
            report: RecoveryReport::default(),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        self.read_epochs()?;
        if self.clean || self.segments.is_empty() {
            return Ok(());
        }
        // From the segment that ends at the recovery point or beyond: one that begins right there
        // may be the leftover of a roll that failed, and the one before have gone on.
        let beyond =
            self.segments.partition_point(|segment| segment.base_offset() < self.recovery_point);
        for at in beyond.saturating_sub(1)..self.segments.len() {
            let segment = self.segments[at].clone();
            let before = self.end;
            let follows = at < beyond.max(1) || self.may_follow(segment.base_offset());
            let old_bytes = segment.size_bytes();
            let flaw = if follows { self.recover_segment(&segment)? } else { None };
            // Behind a hole of its own a segment begins with a batch, or was never begun.
            let hollow = before >= self.recovery_point
                && segment.base_offset() > before
                && self.end == segment.base_offset();
            if !follows || (at >= beyond.max(1) && hollow) {
                self.end = before;
                let whole = self.segments[at - 1].size_bytes();
                self.cut(at - 1, whole, Flaw::Offsets, whole)?;
                break;
            }
            if let Some((position, why)) = flaw {
                self.cut(at, position, why, old_bytes)?;
                break;
            }
        }
        if self.end < self.recovery_point {
            if self.end.max(self.log_start) < self.recovery_point {
                self.report.lost_from.get_or_insert(self.end);
            }
            self.behind = true;
            self.end = self.recovery_point;
        }
        self.dirty.epochs |= self.epochs.cut_tail(self.end);
        Ok(())
    }

    /// Whether a segment with this base offset may come behind what was found so far. A crash may
    /// lose the end of one segment and keep the next, which then would hide what the commit log
    /// has to put back between them. Past the recovery point there is no other way to such a gap,
    /// but a hole too wide for a segment, which is begun when all before it is durable; what lies
    /// behind damage below the recovery point is kept.
    const fn may_follow(&self, base_offset: i64) -> bool {
        let gap = base_offset - self.end;
        gap == 0 || (gap > 0 && (self.end < self.recovery_point || gap > MAX_HOLE))
    }

    /// Epochs of before the recovery point; later ones are in the batches that are scanned.
    fn read_epochs(&mut self) -> io::Result<()> {
        let bytes = self.store.read_small(&self.dir.join(EPOCHS_FILE))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(epochs) = text.as_deref().and_then(LeaderEpochs::decode) {
            self.epochs = epochs;
            return Ok(());
        }
        // Lost: what the segments begin with is the best there is without reading them whole.
        for segment in &self.segments {
            if let Some(header) = segment.first_header()? {
                self.epochs.assign(header.leader_epoch, header.base_offset);
            }
        }
        self.dirty.epochs = !self.segments.is_empty();
        Ok(())
    }

    /// Checks one segment from the recovery point on. Returns where and why it ends early.
    fn recover_segment(&mut self, segment: &Arc<SegmentView>) -> io::Result<Option<(u64, Flaw)>> {
        let size = segment.size_bytes();
        let loaded = segment.load_index()?;
        let durable = self.skip_durable(segment, loaded.as_ref())?;
        let Some(from) = durable else { return Ok(None) };
        let file = segment.file()?;
        // The last run may have ended because a sync failed.
        forget_cached(&*file, from);
        let mut scanner = Scanner::new(&*file, Depth::Checksums, (from, size), self.end);
        let flaw = loop {
            match scanner.step()? {
                Step::Batch(placed) if placed.header.base_offset >= self.limit => {
                    break Some((placed.position, Flaw::Uncommitted));
                }
                Step::Batch(placed) => self.apply(&placed),
                Step::End => break None,
                Step::Flaw(flaw) => break Some((scanner.position(), flaw)),
            }
        };
        let whole = flaw.map_or(scanner.position(), |(position, _)| position);
        self.report.scanned_bytes += whole - from;
        segment.set_size_bytes(whole);
        segment.trust_from(from);
        let interval_bytes = u64::from(self.settings.index_interval_bytes);
        segment.mend_index(loaded, from, interval_bytes)?;
        // Also where nothing is left to scan: an earlier recovery may have cut here and ended before
        // that was durable, and what it cut would come back under what is committed from now on.
        self.dirty.paths.extend(segment.paths());
        self.dirty.dir = true;
        Ok(flaw)
    }

    /// Walks the headers up to the recovery point. `None` if damage bars the way: the segment is
    /// then served up to there, and nothing of it is cut.
    fn skip_durable(
        &mut self,
        segment: &Arc<SegmentView>,
        loaded: Option<&Loaded>,
    ) -> io::Result<Option<u64>> {
        self.end = segment.base_offset();
        if self.end >= self.recovery_point {
            return Ok(Some(0));
        }
        let relative = segment.relative(self.recovery_point);
        let entries = loaded.map_or(&[][..], |loaded| &loaded.offsets);
        let before = entries.iter().rev().find(|entry| entry.last_offset < relative);
        let from = before.map_or(0, |entry| u64::from(entry.position));
        let file = segment.file()?;
        let range = (from, segment.size_bytes());
        let mut scanner = Scanner::new(&*file, Depth::Headers, range, self.end);
        while self.end < self.recovery_point {
            match scanner.step()? {
                Step::Batch(placed) if placed.header.base_offset >= self.recovery_point => {
                    return Ok(Some(placed.position));
                }
                Step::Batch(placed) => self.end = placed.header.last_offset() + 1,
                Step::End => break,
                Step::Flaw(_) => {
                    self.report.lost_from = Some(self.end);
                    segment.set_size_bytes(scanner.position());
                    segment.trust_from(scanner.position());
                    return Ok(None);
                }
            }
        }
        Ok(Some(scanner.position()))
    }

    fn apply(&mut self, placed: &Placed) {
        let header = &placed.header;
        // The checksum does not cover the epoch: what can not be yet is damage, and no news.
        if header.leader_epoch <= self.leader_epoch {
            self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        if let Some(producer) = sequenced(header) {
            let offsets = (header.base_offset, header.last_offset());
            self.producers.record(producer, offsets, header.max_timestamp_ms, self.now_ms);
        }
        self.tail.note(header);
        self.end = header.last_offset() + 1;
    }

    /// Cuts the log within the `at`th segment and drops the later ones.
    fn cut(&mut self, at: usize, position: u64, why: Flaw, old_bytes: u64) -> io::Result<()> {
        let segment = &self.segments[at];
        let file = self.store.files().open(&segment.path(FileKind::Log), OpenMode::Write)?;
        file.resize(Resize::Cut(position))?;
        let later = &self.segments[at + 1..];
        let bytes = later.iter().fold(old_bytes - position, |sum, later| sum + later.size_bytes());
        self.report.cut = Some(Cut { segment: segment.base_offset(), position, bytes, why });
        for later in later {
            let due_ms = self.now_ms.saturating_add(self.settings.file_delete_delay_ms);
            condemn(self.store, later, due_ms, &mut self.condemned)?;
        }
        self.dirty.dir = true;
        self.segments.truncate(at + 1);
        Ok(())
    }

    /// Producers that are known from a snapshot only: the batches they stand for are deleted. The
    /// latest snapshot that is whole counts; one from beyond the log's end tells of what is gone.
    fn recall_snapshots(&mut self, snapshots: &mut Vec<i64>) -> io::Result<()> {
        let name = |offset: i64| self.dir.join(format!("{offset:020}.snapshot"));
        for offset in snapshots.extract_if(.., |offset| *offset > self.end) {
            self.store.files().remove(&name(offset))?;
            self.dirty.dir = true;
        }
        if self.clean {
            return Ok(());
        }
        for offset in snapshots.iter().rev() {
            let bytes = self.store.read_small(&name(*offset))?.unwrap_or_default();
            if let Ok(states) = snapshot::decode(&bytes, self.now_ms) {
                states.into_iter().for_each(|state| self.producers.recall(state));
                break;
            }
        }
        Ok(())
    }
}

/// First step of a segment's deletion: its files get names that no recovery takes for a
/// segment's. They are unlinked once `due_ms` has passed, so that readers can finish.
pub(crate) fn condemn(
    store: &LogStore,
    segment: &SegmentView,
    due_ms: i64,
    condemned: &mut VecDeque<(i64, PathBuf)>,
) -> io::Result<()> {
    segment.forget_files();
    for path in segment.paths() {
        let mut marked = path.clone().into_os_string();
        marked.push(DELETED_SUFFIX);
        match store.files().rename(&path, Path::new(&marked)) {
            Ok(()) => condemned.push_back((due_ms, marked.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Leaves Kafka's producer snapshot at the log's end, and keeps it and the one before.
pub(crate) fn write_snapshot(log: &mut PartitionLog) -> io::Result<()> {
    let name = |offset: i64| log.dir.join(format!("{offset:020}.snapshot"));
    let path = name(log.end);
    let file = log.store.files().open(&path, OpenMode::Write)?;
    let bytes = snapshot::encode(&log.producers.to_checkpoint());
    file.resize(Resize::Cut(0))?;
    file.write_at(&[IoSlice::new(&bytes)], 0)?;
    while log.snapshots.len() >= SNAPSHOTS_KEPT {
        let oldest = log.snapshots.remove(0);
        log.store.files().remove(&name(oldest))?;
    }
    log.dirty.paths.push(path);
    log.snapshots.push(log.end);
    Ok(())
}
