//! A checked reading position in bytes from outside. Nothing here allocates, copies or panics.

/// The bytes end before the value does, or a variable-length number has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

/// Reads Kafka's primitives from the front of a slice.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn i8(&mut self) -> Result<i8, Short> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, Short> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Short> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_be_bytes)
    }

    /// An unsigned number in groups of seven bits, the lowest first; at most five bytes, and
    /// none beyond 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, Short> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let group = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(Short);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uvarint_reads_every_width_and_refuses_more_than_32_bits() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX),
        ] {
            assert_eq!(Cursor::new(bytes).uvarint(), Ok(value));
        }
        for bytes in [&[][..], &[0x80], &[0xff; 4], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0x80; 6]] {
            assert_eq!(Cursor::new(bytes).uvarint(), Err(Short), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_failed_take_reads_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.take(4), Err(Short));
        assert_eq!(cursor.take(usize::MAX), Err(Short));
        assert_eq!(cursor.take(3), Ok(&[1, 2, 3][..]));
        assert_eq!(cursor.left(), 0);
    }
}
