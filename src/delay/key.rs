//! The order in which delayed records of a partition are delivered.

/// Where a delayed record stands in its partition's order of delivery. A key is unique: no two
/// records have one ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Effective due time in epoch milliseconds: as asked, or later where the release position
    /// had passed that already when the record was accepted.
    pub due_ms: i64,
    /// The record's offset in the partition's journal, which its producer was told.
    pub ticket: i64,
}

impl Key {
    /// Before every record.
    pub const MIN: Self = Self { due_ms: i64::MIN, ticket: i64::MIN };

    #[must_use]
    pub const fn new(due_ms: i64, ticket: i64) -> Self {
        Self { due_ms, ticket }
    }
}
