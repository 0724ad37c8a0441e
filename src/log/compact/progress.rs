//! How far each partition is compacted, as text in Kafka's format (`cleaner-offset-checkpoint`):
//! a version, a count, and a line of topic, partition and first dirty offset for each.
//!
//! Losing it costs work, nothing else: a log that it does not know is compacted from its start.
//! Source: Kafka 4.3, `OffsetCheckpointFile`.

use std::fmt::Write as _;

/// Its name in the data directory.
pub const FILE_NAME: &str = "cleaner-offset-checkpoint";

/// One line: topic, partition, first dirty offset.
pub type Entry = (String, i32, i64);

/// The file's text.
#[must_use]
pub fn encode(entries: &[Entry]) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for (topic, partition, offset) in entries {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    text
}

/// The entries of a whole file; `None` if it is not one.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Entry>> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let entries: Option<Vec<Entry>> = lines.map(entry).collect();
    entries.filter(|entries| entries.len() == count)
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some((topic.to_owned(), partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec(("[a-z0-9._-]{1,9}", 0..i32::MAX, 0..i64::MAX), 0..9),
        ) {
            let text = encode(&entries);
            prop_assert_eq!(decode(&text), Some(entries));
        }
    }

    #[test]
    fn it_is_kafkas_text_and_nothing_else_is_taken() {
        let entries = vec![("orders".to_owned(), 3, 77)];
        assert_eq!(encode(&entries), "0\n1\norders 3 77\n");
        for text in ["", "1\n0\n", "0\n2\norders 3 77\n", "0\n1\norders 3\n", "0\n1\na 1 2 3\n"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
