//! The metadata store as the worker sees it: the catalog that its pairs add up to, and the fence
//! that keeps a second writer from being overwritten.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::base::ids::{TopicPartition, Uuid};
use crate::catalog::codec::{FENCE_KEY, PREFIXES, STARTS, fence, load, log_starts};
use crate::catalog::{Catalog, Change, NO_LEADER};
use crate::store::{Meta, MetaWrite, Transacted};

/// An opened metadata store.
pub struct Store {
    meta: Arc<dyn Meta>,
    node_id: i32,
    start: u32,
    catalog: Catalog,
    published: Arc<ArcSwap<Catalog>>,
    fence: Option<u64>,
    log_starts: FxHashMap<TopicPartition, i64>,
    offline: Vec<TopicPartition>,
}

impl Store {
    /// Counts this start, durably, and loads everything.
    ///
    /// # Errors
    /// The store's own, or `InvalidData` that names a key that cannot be read.
    pub fn open(meta: Arc<dyn Meta>, node_id: i32) -> io::Result<Self> {
        let last = meta.get(STARTS.key)?;
        let count = last.as_ref().map(|last| STARTS.read(&last.value)).transpose()?;
        let start = count.unwrap_or(0).saturating_add(1);
        let expect = (STARTS.key.to_owned(), last.map(|last| last.revision));
        if meta.transact(&[expect], &[STARTS.write(start)])? == Transacted::Conflict {
            let message = "another process is starting on this metadata store";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        let mut store = Self {
            meta,
            node_id,
            start,
            catalog: Catalog::empty(node_id, start),
            published: Arc::new(ArcSwap::from_pointee(Catalog::empty(node_id, start))),
            fence: None,
            log_starts: FxHashMap::default(),
            offline: Vec::new(),
        };
        store.reload()?;
        store.publish();
        Ok(store)
    }

    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Where the worker will publish every new catalog; now it holds the one that was loaded.
    #[must_use]
    pub fn snapshots(&self) -> Arc<ArcSwap<Catalog>> {
        Arc::clone(&self.published)
    }

    /// Shows the catalog as it is now to all who read.
    pub(super) fn publish(&self) -> Arc<Catalog> {
        let catalog = Arc::new(self.catalog.clone());
        self.published.store(Arc::clone(&catalog));
        catalog
    }

    /// Notes partitions whose logs could not be opened: they have no leader in this start.
    #[must_use]
    pub fn with_offline(mut self, partitions: Vec<TopicPartition>) -> Self {
        self.offline = partitions;
        self.catalog = self.without_offline(self.catalog.clone());
        self.publish();
        self
    }

    fn without_offline(&self, catalog: Catalog) -> Catalog {
        self.offline.iter().fold(catalog, |catalog, tp| catalog.with_leader(*tp, NO_LEADER))
    }

    /// Log start offsets that DeleteRecords set.
    #[must_use]
    pub fn log_starts(&self) -> &FxHashMap<TopicPartition, i64> {
        &self.log_starts
    }

    /// Reads everything again, after another writer came in between.
    pub(super) fn reload(&mut self) -> io::Result<()> {
        // The fence first: a change while the rest is read is a conflict at the next commit.
        self.fence = self.meta.get(FENCE_KEY)?.map(|fence| fence.revision);
        let mut pairs = Vec::new();
        for prefix in PREFIXES {
            pairs.extend(self.meta.scan(prefix)?);
        }
        self.catalog = self.without_offline(load(self.node_id, self.start, pairs)?);
        self.log_starts.clear();
        for (key, versioned) in self.meta.scan(log_starts::PREFIX)? {
            let (partition, offset) = log_starts::read(&key, &versioned.value)?;
            self.log_starts.insert(partition, offset);
        }
        Ok(())
    }

    /// Makes a round durable and takes it over; on a conflict nothing is changed.
    pub(super) fn commit(&mut self, round: Round) -> io::Result<Transacted> {
        if round.writes.is_empty() {
            self.catalog = round.catalog;
            return Ok(Transacted::Done(self.fence.unwrap_or(0)));
        }
        let mut writes = round.writes;
        writes.push(fence());
        let done = self.meta.transact(&[(FENCE_KEY.to_owned(), self.fence)], &writes)?;
        if let Transacted::Done(revision) = done {
            self.fence = Some(revision);
            self.catalog = round.catalog;
            self.log_starts.extend(round.log_starts);
            for id in round.swept {
                self.log_starts.retain(|partition, _| partition.topic_id != id);
            }
        }
        Ok(done)
    }

    pub(super) fn round(&self) -> Round {
        Round {
            catalog: self.catalog.clone(),
            writes: Vec::new(),
            log_starts: FxHashMap::default(),
            swept: Vec::new(),
        }
    }
}

/// What one transaction is going to write, and the state after it.
pub(super) struct Round {
    pub(super) catalog: Catalog,
    writes: Vec<MetaWrite>,
    log_starts: FxHashMap<TopicPartition, i64>,
    swept: Vec<Uuid>,
}

impl Round {
    pub(super) fn change(&mut self, change: &Change, store: &Store) {
        self.catalog.apply(change);
        self.writes.extend(crate::catalog::codec::writes(change));
        if let Change::TopicSwept(id) = change {
            let of_topic = store.log_starts.keys().filter(|partition| partition.topic_id == *id);
            self.writes.extend(of_topic.map(|partition| log_starts::delete(*partition)));
            self.swept.push(*id);
        }
    }

    pub(super) fn move_log_start(&mut self, partition: TopicPartition, offset: i64, store: &Store) {
        let old = self.log_starts.get(&partition).or_else(|| store.log_starts.get(&partition));
        // A topic that is deleted meanwhile must not leave a key behind.
        let known = self.catalog.topic_by_id(partition.topic_id).is_some();
        if known && old.is_none_or(|old| *old < offset) {
            self.log_starts.insert(partition, offset);
            self.writes.push(log_starts::write(partition, offset));
        }
    }
}
