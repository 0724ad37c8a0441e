//! Where two logs of one partition have to be cut after a crash: at the first pair of which only
//! one half is left.
//!
//! The halves of a pair are two writes to two files. A crash can leave either alone, in the page
//! cache or on disk; the commit log holds both or none, and its replay comes first. So half a pair
//! was never committed, and nothing behind it was, in either log: all of it goes. Writing halves
//! only after their commit would need no cut, but a second way to append, and a wait.

/// What recovery knows of the end of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Below this offset nothing is to be asked: it was durable when the last checkpoint was made,
    /// or is deleted.
    pub known_below: i64,
    /// Base offsets of paired batches from there on, rising.
    pub pairs: Vec<i64>,
}

impl Tail {
    /// Whether a half at this offset is, or once was, in the log.
    fn has(&self, base_offset: i64) -> bool {
        base_offset < self.known_below || self.pairs.binary_search(&base_offset).is_ok()
    }

    /// The first half that the other log has no half to.
    fn first_alone(&self, other: &Self) -> Option<i64> {
        self.pairs.iter().copied().find(|base_offset| !other.has(*base_offset))
    }

    /// The checkpoint that is being made covers it all.
    pub(crate) fn forget(&mut self) {
        self.pairs = Vec::new();
    }
}

/// The offset from which on nothing of the two logs may stay; `None` if every pair is whole. Both
/// are then to be opened again with this [`super::recover::OpenHint::limit`].
#[must_use]
pub fn cut(one: &Tail, other: &Tail) -> Option<i64> {
    let alone = [one.first_alone(other), other.first_alone(one)];
    alone.into_iter().flatten().min()
}
