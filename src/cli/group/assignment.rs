//! What a member of a classic group was assigned, as its leader wrote it.
//!
//! ```text
//! i16 version, i32 count of topics, each: string (i16 length) topic, i32 count, i32 partition...
//! ```
//! What follows (user data, later fields) is not read. The bytes are a client's, not the broker's:
//! counts are believed only as far as bytes follow.

use std::collections::BTreeSet;

use bytes::{Buf, TryGetError};

use crate::cli::client::Partition;

/// The assigned partitions; `None` if this is no assignment of the consumer protocol.
pub fn partitions(assignment: &[u8]) -> Option<BTreeSet<Partition>> {
    // A member that waits for its assignment has none.
    if assignment.is_empty() {
        return Some(BTreeSet::new());
    }
    read(assignment).ok().flatten()
}

fn read(mut bytes: &[u8]) -> Result<Option<BTreeSet<Partition>>, TryGetError> {
    let mut partitions = BTreeSet::new();
    bytes.try_get_i16()?;
    for _ in 0..bytes.try_get_i32()? {
        let length = usize::try_from(bytes.try_get_i16()?).unwrap_or(usize::MAX);
        let Some((topic, rest)) = bytes.split_at_checked(length) else { return Ok(None) };
        let Ok(topic) = std::str::from_utf8(topic) else { return Ok(None) };
        bytes = rest;
        for _ in 0..bytes.try_get_i32()? {
            partitions.insert(Partition { topic: topic.to_owned(), index: bytes.try_get_i32()? });
        }
    }
    Ok(Some(partitions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topics_and_partitions_are_read_and_the_rest_is_not() {
        let bytes = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff];
        let read = partitions(&bytes).unwrap();
        let expected = [0, 9].map(|index| Partition { topic: "t".to_owned(), index });
        assert_eq!(read, BTreeSet::from(expected));
        for end in 1..21 {
            assert_eq!(partitions(&bytes[..end]), None, "{end} bytes");
        }
        assert_eq!(partitions(&[]), Some(BTreeSet::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let read = partitions(&bytes).unwrap_or_default();
            prop_assert!(read.len() * 4 <= bytes.len());
        }
    }
}
