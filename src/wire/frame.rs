//! The 4-byte size in front of every request and response.
//!
//! The size is judged before a byte is reserved for the frame, so that a stray TLS hello or a
//! hostile number costs nothing.

use thiserror::Error;

/// Bytes of the size that precedes every frame; it does not count itself.
pub const SIZE_BYTES: usize = 4;

/// Why the size of a frame is refused. The connection can not be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadFrame {
    #[error("the frame's size is negative ({0})")]
    Negative(i32),
    #[error("the frame of {bytes} bytes is over socket.request.max.bytes ({max_bytes})")]
    TooLarge { bytes: usize, max_bytes: usize },
}

/// The bytes that follow the size; `max_bytes` is `socket.request.max.bytes`.
///
/// # Errors
/// If the size is negative or over the limit.
pub fn size(prefix: [u8; SIZE_BYTES], max_bytes: usize) -> Result<usize, BadFrame> {
    let size = i32::from_be_bytes(prefix);
    let bytes = usize::try_from(size).map_err(|_| BadFrame::Negative(size))?;
    if bytes > max_bytes {
        return Err(BadFrame::TooLarge { bytes, max_bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_from_nothing_to_the_limit_pass() {
        assert_eq!(size([0, 0, 0, 0], 10), Ok(0));
        assert_eq!(size([0, 0, 0, 10], 10), Ok(10));
        assert_eq!(size([0, 0, 0, 11], 10), Err(BadFrame::TooLarge { bytes: 11, max_bytes: 10 }));
        assert_eq!(size([0xff; 4], usize::MAX), Err(BadFrame::Negative(-1)));
    }
}
