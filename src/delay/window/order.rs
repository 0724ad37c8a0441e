//! A window's order of delivery: a handful of sorted lists and a tail that is not sorted yet.
//!
//! An entry that is due behind all of the last list is appended to it; others gather in the
//! tail, which becomes a list when the order is asked for. Lists of like length are merged, so
//! that there are few. Equal or constant delays, the common case, make one list and never sort.

use smallvec::SmallVec;

use super::slots::Dead;

/// A list is merged with the one before it unless that is this many times longer.
const MERGE_RATIO: usize = 2;

/// Passed entries that a list keeps before it is cut.
const CUT_ENTRIES: usize = 1_024;

/// An entry's place in the order: slots rise with tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub(super) struct Due {
    due_ms: i64,
    slot: u32,
}

const _: () = assert!(size_of::<Due>() == 12);

impl Due {
    pub(super) const fn new(due_ms: i64, slot: u32) -> Self {
        Self { due_ms, slot }
    }

    pub(super) const fn due_ms(self) -> i64 {
        self.due_ms
    }

    pub(super) const fn slot(self) -> u32 {
        self.slot
    }
}

/// Sorted; what lies before `head` is passed.
#[derive(Debug, Default)]
struct List {
    entries: Vec<Due>,
    head: usize,
}

impl List {
    fn left(&self) -> &[Due] {
        &self.entries[self.head..]
    }

    /// Forgets what is passed, at a cost in proportion to what was passed since.
    fn cut(&mut self) {
        if self.head == self.entries.len() {
            *self = Self::default();
        } else if self.head >= CUT_ENTRIES && self.head >= self.entries.len() / 2 {
            self.entries.drain(..self.head);
            self.head = 0;
            if self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
    }

    fn merge(self, other: Self) -> Self {
        let (mut a, mut b) = (self.left(), other.left());
        let mut entries = Vec::with_capacity(a.len() + b.len());
        while let (Some(first), Some(second)) = (a.first(), b.first()) {
            let shorter = if first <= second { &mut a } else { &mut b };
            entries.push(shorter[0]);
            *shorter = &shorter[1..];
        }
        entries.extend_from_slice(a);
        entries.extend_from_slice(b);
        Self { entries, head: 0 }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Order {
    lists: Vec<List>,
    tail: Vec<Due>,
    tail_first: Option<Due>,
}

impl Order {
    pub(super) fn insert(&mut self, due: Due) {
        if self.tail.is_empty()
            && let Some(list) = self.lists.last_mut()
            && list.entries.last().is_none_or(|last| *last <= due)
        {
            return list.entries.push(due);
        }
        self.tail.push(due);
        self.tail_first = Some(self.tail_first.map_or(due, |first| first.min(due)));
    }

    /// Makes a list of the tail.
    fn fold(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut self.tail);
        self.tail_first = None;
        entries.sort_unstable();
        match self.lists.last_mut() {
            Some(list) if list.entries.last() <= entries.first() => {
                list.entries.extend_from_slice(&entries);
            }
            _ => self.lists.push(List { entries, head: 0 }),
        }
        while let [.., longer, last] = &self.lists[..]
            && longer.left().len() < MERGE_RATIO * last.left().len()
        {
            let last = self.lists.pop().expect("there are two");
            let before = self.lists.pop().expect("there are two");
            self.lists.push(before.merge(last));
        }
    }

    /// The first entry that is not dead.
    pub(super) fn first(&mut self, dead: &Dead) -> Option<Due> {
        for list in &mut self.lists {
            let buried = list.left().iter().take_while(|due| dead.is(due.slot)).count();
            list.head += buried;
            list.cut();
        }
        let first = self.first_of_lists();
        match (first, self.tail_first) {
            (first, None) => first,
            (Some(first), Some(tail)) if first < tail => Some(first),
            (_, Some(tail)) if !dead.is(tail.slot) => Some(tail),
            _ => {
                self.fold();
                self.first(dead)
            }
        }
    }

    fn first_of_lists(&self) -> Option<Due> {
        self.lists.iter().filter_map(|list| list.left().first()).min().copied()
    }

    /// Takes everything below `end` off, and gives its slots.
    pub(super) fn take_below(&mut self, end: Due) -> Vec<u32> {
        if self.tail_first.is_some_and(|first| first < end) {
            self.fold();
        }
        let mut taken = Vec::new();
        for list in &mut self.lists {
            let passed = list.left().partition_point(|due| *due < end);
            taken.extend(list.left()[..passed].iter().map(|due| due.slot));
            list.head += passed;
            list.cut();
        }
        self.lists.retain(|list| !list.entries.is_empty());
        taken
    }

    /// All entries from `start` on, in order.
    pub(super) fn from(&mut self, start: Due) -> Merge<'_> {
        self.fold();
        let lists = self.lists.iter().map(|list| {
            let left = list.left();
            &left[left.partition_point(|due| *due < start)..]
        });
        Merge { lists: lists.filter(|list| !list.is_empty()).collect() }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let entries = self.lists.iter().map(|list| list.entries.capacity()).sum::<usize>();
        (entries + self.tail.capacity()) * size_of::<Due>()
            + self.lists.capacity() * size_of::<List>()
    }
}

/// The lists as one.
#[derive(Clone, Debug)]
pub(super) struct Merge<'a> {
    /// None is empty.
    lists: SmallVec<[&'a [Due]; 8]>,
}

impl Iterator for Merge<'_> {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let (at, list) = self.lists.iter_mut().enumerate().min_by_key(|(_, list)| list[0])?;
        let due = list[0];
        *list = &list[1..];
        if list.is_empty() {
            self.lists.swap_remove(at);
        }
        Some(due)
    }
}
