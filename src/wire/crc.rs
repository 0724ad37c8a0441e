//! CRC-32C of a batch whose front changed, without reading what follows.
//!
//! For two strings of bytes, `crc(ab) = crc(a) * x^(8 * |b|) + crc(b)` over GF(2) modulo the
//! polynomial. So replacing `a` by `a'` of the same length changes the sum by the difference of
//! their CRCs, shifted past `b`: a few multiplications instead of a pass over the records. The
//! `crc32c` crate's own `combine` squares matrices and takes microseconds.

/// The Castagnoli polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `x^(8 * 2^n)`: what shifts a CRC past 2^n bytes.
const SHIFTS: [u32; 32] = {
    let mut shifts = [1 << 23; 32];
    let mut n = 1;
    while n < 32 {
        shifts[n] = multiply(shifts[n - 1], shifts[n - 1]);
        n += 1;
    }
    shifts
};

/// The CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC-32C of the concatenation of what `crc` covers and `bytes`.
#[must_use]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// What becomes of the CRC of `before` and `following_bytes` more when `after`, of the same
/// length, takes the place of `before`.
#[must_use]
pub fn replace_front(crc: u32, before: &[u8], after: &[u8], following_bytes: usize) -> u32 {
    debug_assert_eq!(before.len(), after.len(), "a CRC also depends on the length");
    crc ^ shift(crc32c(before) ^ crc32c(after), following_bytes)
}

fn shift(crc: u32, bytes: usize) -> u32 {
    let mut shifted = crc;
    let mut left = bytes;
    while left != 0 {
        // Past 2^32 bytes the powers repeat every 2^32 - 1; no batch is that long.
        shifted = multiply(SHIFTS[left.trailing_zeros() as usize % 32], shifted);
        left &= left - 1;
    }
    shifted
}

/// The product of two polynomials modulo [`POLYNOMIAL`].
const fn multiply(a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut b = b;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= b & 0_u32.wrapping_sub((a >> bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(b & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn replacing_the_front_equals_computing_anew(
            before in any::<[u8; 40]>(),
            after in any::<[u8; 40]>(),
            following in proptest::collection::vec(any::<u8>(), 0..3_000),
        ) {
            let crc = append(crc32c(&before), &following);
            let anew = append(crc32c(&after), &following);
            prop_assert_eq!(replace_front(crc, &before, &after, following.len()), anew);
        }
    }

    #[test]
    fn the_sum_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
