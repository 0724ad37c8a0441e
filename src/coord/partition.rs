//! Which internal partition a key's coordinator lives in: the same for those who look it up and
//! those who store, in every client-visible place.

/// Kafka's rule: Java's `String.hashCode`, its absolute value with the smallest integer taken for
/// 0, modulo the partition count, which must be positive.
#[must_use]
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash = key
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    /// Hash codes as Java computes them.
    #[test]
    fn hashes_are_javas() {
        let hash = |key| partition_of(key, i32::MAX);
        assert_eq!(hash(""), 0);
        assert_eq!(hash("a"), 97);
        assert_eq!(hash("hello"), 99_162_322);
        // Beyond the basic plane a character is two units.
        assert_eq!(hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn a_negative_hash_is_taken_without_its_sign_and_the_smallest_is_zero() {
        // "group".hashCode() is 98629247, "consumer-group".hashCode() overflows.
        assert_eq!(partition_of("group", 50), 98_629_247 % 50);
        // The text best known for hashing to the smallest integer.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        for count in 1..100 {
            assert!((0..count).contains(&partition_of("some other group", count)));
        }
    }
}
