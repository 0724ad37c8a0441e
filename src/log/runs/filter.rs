//! Whether a run may have an id: a split-block Bloom filter.
//!
//! The hash's upper half picks a block of 256 bits, its lower half one bit in each of the block's
//! eight words: one cache line per question. At 12 bits an id about 1 in 200 strangers passes. The
//! block's number rises with the hash, so a filter is written front to back while a run's sorted
//! hashes go by; a fuse filter is smaller, but needs all of them in memory at once. Source:
//! Parquet's format description, "Bloom Filter".

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 32;
const BITS_PER_ID: u64 = 12;
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// 256 bits within one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
pub(super) struct Block([u32; 8]);

/// How many blocks a filter for so many ids has.
pub(super) fn blocks_for(ids: u64) -> u32 {
    let blocks = ids.saturating_mul(BITS_PER_ID).div_ceil(BLOCK_BYTES as u64 * 8).max(1);
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// The block of a hash in a filter of so many.
#[inline]
pub(super) fn block_of(hash: u64, blocks: u32) -> u32 {
    (((hash >> 32) * u64::from(blocks)) >> 32) as u32
}

impl Block {
    #[inline]
    pub(super) fn add(&mut self, hash: u64) {
        for (word, bit) in self.0.iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
    }

    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.0.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    pub(super) fn write(self, output: &mut Vec<u8>) {
        for word in self.0 {
            output.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// From the bytes that [`Block::write`] gave.
    pub(super) fn read(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let mut block = Self::default();
        for (word, bytes) in block.0.iter_mut().zip(words) {
            *word = u32::from_le_bytes(*bytes);
        }
        block
    }
}

#[inline]
fn bits(hash: u64) -> [u32; 8] {
    let low = hash as u32;
    SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}
