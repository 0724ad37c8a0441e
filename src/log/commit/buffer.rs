//! A recycled buffer whose memory is aligned for direct writes.
//!
//! The alignment comes from allocating one unit more and starting at the first aligned byte, so
//! no unsafe allocation call is needed. Its pages cost memory only once touched.

use crate::store::DIRECT_ALIGN_BYTES;

#[derive(Default)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// An aligned slice of `len` bytes with whatever an earlier use left in it. Grows for good,
    /// to the next power of two.
    pub(super) fn slice(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < self.start + len {
            self.bytes = vec![0; len.next_power_of_two() + DIRECT_ALIGN_BYTES];
            self.start = self.bytes.as_ptr().align_offset(DIRECT_ALIGN_BYTES);
            assert!(self.start < DIRECT_ALIGN_BYTES, "byte pointers can be aligned");
        }
        &mut self.bytes[self.start..self.start + len]
    }
}
