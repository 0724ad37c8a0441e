//! The variable-length integers of records: zigzag, seven bits a byte, lowest group first.
//!
//! Stricter than Kafka in one respect: bits beyond 32 (or 64) are refused, where Java drops
//! them, because other clients read such a number differently.

/// The bytes end inside a number, or it has more bits than its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadVarint;

/// Takes a 32-bit number from the front of `input`.
#[inline]
pub fn take_i32(input: &mut &[u8]) -> Result<i32, BadVarint> {
    let raw = match **input {
        [byte, ref rest @ ..] if byte < 0x80 => {
            *input = rest;
            u32::from(byte)
        }
        [low, high, ref rest @ ..] if high < 0x80 => {
            *input = rest;
            u32::from(low & 0x7f) | u32::from(high) << 7
        }
        _ => u32::try_from(take_long(input, 5)?).map_err(|_| BadVarint)?,
    };
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes a 64-bit number from the front of `input`.
#[inline]
pub fn take_i64(input: &mut &[u8]) -> Result<i64, BadVarint> {
    let raw = match **input {
        [byte, ref rest @ ..] if byte < 0x80 => {
            *input = rest;
            u64::from(byte)
        }
        _ => take_long(input, 10)?,
    };
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn take_long(input: &mut &[u8], most: usize) -> Result<u64, BadVarint> {
    let mut raw = 0;
    for (position, byte) in input.iter().take(most).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shift = 7 * position;
        if shift == 63 && group > 1 {
            return Err(BadVarint);
        }
        raw |= group << shift;
        if *byte < 0x80 {
            *input = &input[position + 1..];
            return Ok(raw);
        }
    }
    Err(BadVarint)
}

/// Appends a 32-bit number.
pub fn put_i32(output: &mut Vec<u8>, value: i32) {
    put(output, u64::from((value << 1).cast_unsigned() ^ (value >> 31).cast_unsigned()));
}

/// Appends a 64-bit number.
pub fn put_i64(output: &mut Vec<u8>, value: i64) {
    put(output, (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned());
}

fn put(output: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        output.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    output.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_comes_back(a in any::<i32>(), b in any::<i64>(), c in -200_i32..200) {
            let mut bytes = Vec::new();
            put_i32(&mut bytes, a);
            put_i64(&mut bytes, b);
            put_i32(&mut bytes, c);
            let mut input = &bytes[..];
            prop_assert_eq!(take_i32(&mut input), Ok(a));
            prop_assert_eq!(take_i64(&mut input), Ok(b));
            prop_assert_eq!(take_i32(&mut input), Ok(c));
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn known_forms() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x01], -1),
            (&[0x02], 1),
            (&[0xac, 0x02], 150),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], i32::MIN),
            (&[0xfe, 0xff, 0xff, 0xff, 0x0f], i32::MAX),
        ] {
            assert_eq!(take_i32(&mut &*bytes), Ok(value));
        }
    }

    #[test]
    fn numbers_without_an_end_or_too_wide_are_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 4], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0x80; 6]] {
            assert_eq!(take_i32(&mut &*bytes), Err(BadVarint), "{bytes:x?}");
        }
        let mut widest = [0xff; 10];
        widest[9] = 0x01;
        assert_eq!(take_i64(&mut &widest[..]), Ok(i64::MIN));
        widest[9] = 0x02;
        assert_eq!(take_i64(&mut &widest[..]), Err(BadVarint));
        assert_eq!(take_i64(&mut &[0x80; 11][..]), Err(BadVarint));
    }
}
