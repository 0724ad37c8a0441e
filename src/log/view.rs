//! The shared side of a partition log: what may be read, up to where, and who waits for more.
//!
//! Readers take no lock: the list of segments is swapped whole, ends are atomics that only rise.
//! The one owner publishes; [`PartitionView::advance`] alone moves the high watermark. Waiters
//! are one per id and are taken out when woken, so a view never holds more than there are parked
//! requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::task::Waker;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::epochs::LeaderEpochs;
use super::segment::SegmentView;
use crate::base::ids::TopicPartition;

/// Where an append ended: what [`PartitionView::advance`] makes visible.
#[derive(Clone)]
pub struct End {
    pub(crate) segment: Option<Arc<SegmentView>>,
    /// Byte of the segment after the append.
    pub position: u64,
    /// The next offset.
    pub offset: i64,
}

impl End {
    /// The segment appended to; `None` while the log has none.
    #[must_use]
    pub const fn segment(&self) -> Option<&Arc<SegmentView>> {
        self.segment.as_ref()
    }
}

/// See the module's head.
pub struct PartitionView {
    tp: TopicPartition,
    pub(crate) segments: ArcSwap<Vec<Arc<SegmentView>>>,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    log_end: AtomicI64,
    checkpointed: AtomicI64,
    leader_epoch: AtomicI32,
    epochs: ArcSwap<LeaderEpochs>,
    waiters: Mutex<FxHashMap<u64, Waker>>,
    closed: AtomicBool,
    damage_told: AtomicBool,
}

impl PartitionView {
    pub(crate) fn new(tp: TopicPartition, log_start: i64, log_end: i64) -> Arc<Self> {
        Arc::new(Self {
            tp,
            segments: ArcSwap::default(),
            log_start: AtomicI64::new(log_start),
            high_watermark: AtomicI64::new(log_start),
            log_end: AtomicI64::new(log_end),
            checkpointed: AtomicI64::new(0),
            leader_epoch: AtomicI32::new(0),
            epochs: ArcSwap::default(),
            waiters: Mutex::default(),
            closed: AtomicBool::new(false),
            damage_told: AtomicBool::new(false),
        })
    }

    #[must_use]
    pub const fn topic_partition(&self) -> TopicPartition {
        self.tp
    }

    /// Whether this is the first time that somebody wants to tell of damage here. Readers come
    /// back to the same spot for as long as they live; the log needs one line.
    #[must_use]
    pub fn is_first_damage(&self) -> bool {
        !self.damage_told.swap(true, Ordering::Relaxed)
    }

    /// The first offset there is.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// The visible end: the next offset a consumer will see.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// The end for readers of committed data; the high watermark until there are transactions.
    #[must_use]
    pub fn last_stable(&self) -> i64 {
        self.high_watermark()
    }

    /// The next offset to be written. Those between the visible end and it are not durable yet, or
    /// are tickets of delayed records.
    #[must_use]
    pub fn log_end(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    /// The recovery point in the checkpoint that is on disk: below it recovery needs no batch to
    /// know the producers. Only such batches are compacted away.
    #[must_use]
    pub fn checkpointed(&self) -> i64 {
        self.checkpointed.load(Ordering::Acquire)
    }

    /// The checkpoint with this recovery point is on disk.
    pub fn note_checkpoint(&self, recovery_point: i64) {
        self.checkpointed.fetch_max(recovery_point, Ordering::AcqRel);
    }

    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// All segments now, oldest first.
    #[must_use]
    pub fn segments(&self) -> Arc<Vec<Arc<SegmentView>>> {
        self.segments.load_full()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.load().iter().map(|segment| segment.size_bytes()).sum()
    }

    /// The largest known epoch not above `epoch` and where it ended, (-1, -1) if unknown. The
    /// current one ends at the log end, tickets included: a consumer that stands in the hole
    /// behind the visible end has lost nothing.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.leader_epoch() {
            return (epoch, self.log_end());
        }
        self.epochs.load().end_offset_for(epoch, self.log_end())
    }

    /// Next offset and position up to which the `at`th segment may be read.
    pub(crate) fn visible_end(&self, segments: &[Arc<SegmentView>], at: usize) -> (i64, u64) {
        match segments.get(at + 1) {
            Some(next) if next.base_offset() <= self.high_watermark() => {
                (next.base_offset(), segments[at].size_bytes())
            }
            _ => segments[at].visible(),
        }
    }

    /// The leader epoch of the record at `offset`, -1 if unknown; at the log's end, that of the
    /// next one.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> i32 {
        if offset >= self.log_end() {
            return self.leader_epoch();
        }
        self.epochs.load().epoch_of(offset).unwrap_or(-1)
    }

    /// Moves the visible end to that of an append and wakes who waits here; never back.
    pub fn advance(&self, end: &End) {
        // The watermark first: a reader takes the bytes before it reports the watermark, and so
        // never reports one below them.
        let before = self.high_watermark.fetch_max(end.offset, Ordering::AcqRel);
        if let Some(segment) = &end.segment {
            segment.show(end.offset, end.position);
        }
        if before < end.offset {
            self.wake();
        }
    }

    /// The partition is served no longer: whoever waits looks it up again.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn wake(&self) {
        let woken = std::mem::take(&mut *self.waiters.lock());
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// Wakes this waiter at the next advance, once. Registering an id again replaces it. Read
    /// after registering, or an advance in between is missed.
    pub fn register_waiter(&self, id: u64, waker: Waker) {
        self.waiters.lock().insert(id, waker);
    }

    pub fn remove_waiter(&self, id: u64) {
        self.waiters.lock().remove(&id);
    }

    #[must_use]
    pub fn waiters(&self) -> usize {
        self.waiters.lock().len()
    }

    pub(crate) fn set_log_end(&self, offset: i64) {
        self.log_end.store(offset, Ordering::Release);
    }

    pub(crate) fn raise_log_start(&self, offset: i64) {
        self.log_start.fetch_max(offset, Ordering::AcqRel);
    }

    pub(crate) fn set_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.store(epoch, Ordering::Release);
    }

    pub(crate) fn set_epochs(&self, epochs: LeaderEpochs) {
        self.epochs.store(Arc::new(epochs));
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<SegmentView>>) {
        self.segments.store(Arc::new(segments));
    }
}
