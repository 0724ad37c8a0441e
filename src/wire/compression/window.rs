//! The buffer between a codec that produces chunks and a reader that consumes records.
//!
//! Bytes are initialised once and then written over, so that a codec gets plain slices without
//! `unsafe` and without zeroing on each use.

/// What an idle thread keeps.
const KEPT_BYTES: usize = 256 * 1024;

/// A growing buffer: consumed at the front, filled at the back.
#[derive(Default)]
pub struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// What is filled and not consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.end, "only what is filled can be consumed");
    }

    /// Exactly `bytes` to write to, to be followed by [`Window::advance`]. What is filled moves
    /// to the front if that makes the room.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.start == self.end {
            self.clear();
        }
        if self.buffer.len() - self.end < bytes && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + bytes;
        if self.buffer.len() < needed {
            self.buffer.resize(needed.max(self.buffer.len() * 2), 0);
        }
        &mut self.buffer[self.end..needed]
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(self.end <= self.buffer.len(), "only what there is room for can be filled");
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Gives back memory that an unusual batch needed.
    pub(super) fn shrink(&mut self) {
        self.clear();
        if self.buffer.len() > KEPT_BYTES {
            self.buffer.truncate(KEPT_BYTES);
            self.buffer.shrink_to_fit();
        }
    }
}
