//! Which groups there are, for threads that cannot wait for a coordinator.
//!
//! A group is known while its coordinator holds anything of it: members or committed offsets. Each
//! machine keeps the list of its partition true with a [`Pen`], on the live path as at replay;
//! until it serves, and once it is dropped, nobody can tell. Rejected: asking the coordinator for
//! each nack, which would make a wait of every produced batch.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::coord::partition::partition_of;

/// Whether a group is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Yes,
    No,
    /// Its coordinator does not serve yet, or not here.
    Loading,
}

/// The groups of all partitions that are coordinated here.
#[derive(Debug, Default)]
pub struct Roster {
    pages: RwLock<FxHashMap<i32, Arc<Page>>>,
}

/// The groups of one partition.
#[derive(Debug, Default)]
struct Page {
    /// `None` until its machine serves.
    groups: RwLock<Option<FxHashSet<Arc<str>>>>,
}

impl Roster {
    /// Asks for a group, where the topic of groups has so many partitions.
    #[must_use]
    pub fn knows(&self, group: &str, partitions: i32) -> Known {
        let pages = self.pages.read();
        let Some(page) = pages.get(&partition_of(group, partitions)) else { return Known::Loading };
        match &*page.groups.read() {
            Some(groups) if groups.contains(group) => Known::Yes,
            Some(_) => Known::No,
            None => Known::Loading,
        }
    }

    /// Begins a new page for a partition; the one of an earlier machine counts no more.
    #[must_use]
    pub fn pen(&self, partition: i32) -> Pen {
        let page = Arc::<Page>::default();
        self.pages.write().insert(partition, Arc::clone(&page));
        Pen { page, written: FxHashSet::default(), serves: false }
    }
}

/// Keeps one partition's page. The default one's page is in no roster.
#[derive(Debug, Default)]
pub struct Pen {
    page: Arc<Page>,
    /// Until the machine serves: nobody looks, so that nothing is locked at replay.
    written: FxHashSet<Arc<str>>,
    serves: bool,
}

impl Pen {
    pub fn add(&mut self, group: &Arc<str>) {
        self.write(|groups| groups.insert(Arc::clone(group)));
    }

    pub fn strike(&mut self, group: &str) {
        self.write(|groups| groups.remove(group));
    }

    /// The machine has replayed its log and serves.
    pub fn serve(&mut self) {
        self.serves = true;
        *self.page.groups.write() = Some(std::mem::take(&mut self.written));
    }

    fn write(&mut self, change: impl FnOnce(&mut FxHashSet<Arc<str>>) -> bool) {
        if !self.serves {
            change(&mut self.written);
        } else if let Some(groups) = &mut *self.page.groups.write() {
            change(groups);
        }
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        *self.page.groups.write() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_while_its_machine_serves() {
        let roster = Roster::default();
        let group = Arc::<str>::from("g");
        assert_eq!(roster.knows("g", 1), Known::Loading, "no machine is there");
        let mut pen = roster.pen(0);
        pen.add(&group);
        assert_eq!(roster.knows("g", 1), Known::Loading, "the log may still delete it");
        pen.serve();
        assert_eq!((roster.knows("g", 1), roster.knows("h", 1)), (Known::Yes, Known::No));
        pen.strike("g");
        assert_eq!(roster.knows("g", 1), Known::No);
        drop(pen);
        assert_eq!(roster.knows("g", 1), Known::Loading);
    }

    #[test]
    fn an_old_machines_end_does_not_touch_the_new_ones_page() {
        let roster = Roster::default();
        let old = roster.pen(0);
        let mut new = roster.pen(0);
        new.add(&"g".into());
        new.serve();
        drop(old);
        assert_eq!(roster.knows("g", 1), Known::Yes);
    }

    #[test]
    fn each_group_is_on_its_own_partitions_page() {
        let roster = Roster::default();
        let mut pens: Vec<_> = (0..3).map(|partition| roster.pen(partition)).collect();
        for pen in &mut pens {
            pen.serve();
        }
        for group in ["a", "b", "c", "d", "e"] {
            let own = partition_of(group, 3);
            pens[own as usize].add(&group.into());
            assert_eq!(roster.knows(group, 3), Known::Yes);
        }
    }
}
