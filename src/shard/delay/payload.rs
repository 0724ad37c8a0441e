//! Records of window entries, read back from the journal's segments.
//!
//! Entries of one window that are due together mostly lie together, but in the order of arrival;
//! so they are read in the order of the file, neighbours in one call. One read per record was
//! rejected: a storm would pay a system call for each.

use std::io;
use std::ops::Range;

use crate::log::partition::PartitionLog;

/// What lies between two records that are read in one call is at most this much.
const GAP_BYTES: u64 = 16 << 10;

/// Where a record lies in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Base offset of the segment.
    pub(super) segment: i64,
    pub(super) position: u32,
    /// The record with its length field.
    pub(super) bytes: u32,
}

impl Place {
    fn end(&self) -> u64 {
        u64::from(self.position) + u64::from(self.bytes)
    }
}

/// Reads records, and gives where each lies in `buffer`, in the order of `places`.
///
/// # Errors
/// The disk's own. What cannot be read of one record fails all.
pub(super) fn read(
    journal: &PartitionLog,
    places: &[Place],
    buffer: &mut Vec<u8>,
) -> io::Result<Vec<Range<usize>>> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|at| places[*at]);
    let mut found = vec![0..0; places.len()];
    buffer.clear();
    let mut rest = &order[..];
    while let Some(first) = rest.first() {
        let run = neighbours(places, rest);
        let start = places[*first];
        let end = run.iter().map(|at| places[*at].end()).max().unwrap_or_default();
        let length = usize::try_from(end - u64::from(start.position)).map_err(io::Error::other)?;
        let begin = buffer.len();
        buffer.resize(begin + length, 0);
        journal.read_at(start.segment, u64::from(start.position), &mut buffer[begin..])?;
        for at in run {
            let from = begin + (places[*at].position - start.position) as usize;
            found[*at] = from..from + places[*at].bytes as usize;
        }
        rest = &rest[run.len()..];
    }
    Ok(found)
}

/// How many of these, which are in the order of the file, are read in one call.
fn neighbours<'a>(places: &[Place], order: &'a [usize]) -> &'a [usize] {
    let apart = |pair: &[usize]| {
        let (one, next) = (places[pair[0]], places[pair[1]]);
        one.segment != next.segment || u64::from(next.position) > one.end() + GAP_BYTES
    };
    let count = order.windows(2).position(apart).map_or(order.len(), |last| last + 1);
    &order[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: i64, position: u32, bytes: u32) -> Place {
        Place { segment, position, bytes }
    }

    #[test]
    fn neighbours_end_where_a_gap_or_another_segment_begins() {
        let far = 200 + GAP_BYTES as u32 + 1;
        let places = [place(0, 0, 100), place(0, 100, 100), place(0, far, 1), place(7, 0, 1)];
        let order = [0, 1, 2, 3];
        assert_eq!(neighbours(&places, &order), [0, 1]);
        assert_eq!(neighbours(&places, &order[2..]), [2]);
        assert_eq!(neighbours(&places, &order[3..]), [3]);
        let near = [place(0, 0, 100), place(0, far - 101, 1)];
        assert_eq!(neighbours(&near, &order[..2]), [0, 1]);
    }
}
