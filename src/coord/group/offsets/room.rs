//! How much one decision may store.

/// Bytes of one decision's records. The host drops a machine that records more than it can append
/// as one batch, which is twice this.
const MAX_BYTES: usize = 8 << 20;

/// Bytes of a record beside its texts, and of its place in a batch.
const RECORD_BYTES: usize = 64;

/// What is left for records of a decision.
pub(super) struct Room {
    bytes: Option<usize>,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: Some(MAX_BYTES) }
    }
}

impl Room {
    /// Room for this many bytes.
    pub(super) const fn of(bytes: usize) -> Self {
        Self { bytes: Some(bytes) }
    }

    /// Takes the room of one offset's record; false if it does not fit, and from then on.
    pub(super) fn take(&mut self, group: &str, topic: &str, metadata_bytes: usize) -> bool {
        let record_bytes = RECORD_BYTES + group.len() + topic.len() + metadata_bytes;
        self.bytes = self.bytes.and_then(|left| left.checked_sub(record_bytes));
        !self.is_used_up()
    }

    pub(super) const fn is_used_up(&self) -> bool {
        self.bytes.is_none()
    }
}
