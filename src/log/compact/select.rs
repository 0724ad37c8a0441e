//! Which log is compacted next, how far, and which segments become one. Pure: facts and the time
//! come in.
//!
//! As Kafka's `LogCleanerManager` decides (4.3): never the active segment, nothing that is not
//! stable, nothing younger than `min.compaction.lag.ms`; the dirtiest log first among those above
//! `min.cleanable.dirty.ratio` or due by `max.compaction.lag.ms`.

use std::ops::Range;

/// What is known of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub base_offset: i64,
    pub bytes: u64,
    /// Bytes of its offset index.
    pub index_bytes: u64,
    /// Its first batch's largest timestamp; `None` if it has none or nobody asked.
    pub first_ms: Option<i64>,
    /// Its largest timestamp; `None` if it has none or nobody asked.
    pub newest_ms: Option<i64>,
}

/// The topic's configs that matter here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lags {
    /// `min.compaction.lag.ms`
    pub min_ms: i64,
    /// `max.compaction.lag.ms`
    pub max_ms: i64,
    /// `min.cleanable.dirty.ratio`
    pub min_dirty_ratio: f64,
}

/// What of a log a round may compact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eligible {
    /// The first offset that no round has seen.
    pub first_dirty: i64,
    /// From the log's head so many segments take part.
    pub segments: usize,
    /// Share of their bytes that no round has seen, 0 to 1.
    pub dirty_ratio: f64,
    /// Some of it has waited for `max.compaction.lag.ms`.
    pub is_due: bool,
    pub dirty_bytes: u64,
}

impl Eligible {
    /// Worth a round?
    #[must_use]
    pub fn is_worth_it(&self, lags: &Lags) -> bool {
        self.dirty_bytes > 0 && (self.is_due || self.dirty_ratio > lags.min_dirty_ratio)
    }
}

/// `segments` are all of a log, the one being written last; `stable_end` is the offset below
/// which everything is visible, decided and on stable storage; `cleaned_to` is where the last
/// round ended.
#[must_use]
pub fn eligible(
    segments: &[Facts],
    stable_end: i64,
    cleaned_to: Option<i64>,
    lags: &Lags,
    now_ms: i64,
) -> Eligible {
    let sealed = segments.len().saturating_sub(1);
    let log_start = segments.first().map_or(0, |first| first.base_offset);
    let active = segments.last().map_or(0, |last| last.base_offset);
    // Records may have been deleted since, or the log may be another one of the same name.
    let known = cleaned_to.filter(|offset| (log_start..=active).contains(offset));
    let first_dirty = known.unwrap_or(log_start);
    let end_of = |at: usize| segments[at + 1].base_offset;
    let is_dirty = |at: &usize| end_of(*at) > first_dirty;
    let is_young = |at: usize| {
        let limit_ms = now_ms.saturating_sub(lags.min_ms);
        lags.min_ms > 0 && segments[at].newest_ms.is_some_and(|newest| newest > limit_ms)
    };
    let is_stable = |at: &usize| end_of(*at) <= stable_end && !(is_dirty(at) && is_young(*at));
    let count = (0..sealed).take_while(is_stable).count();
    let bytes = |range: &mut dyn Iterator<Item = usize>| -> u64 {
        range.map(|at| segments[at].bytes).sum()
    };
    let dirty_bytes = bytes(&mut (0..count).filter(is_dirty));
    let all_bytes = bytes(&mut (0..count));
    let due_ms = now_ms.saturating_sub(lags.max_ms);
    let is_overdue = |at: usize| segments[at].first_ms.is_some_and(|first| first < due_ms);
    Eligible {
        first_dirty,
        segments: count,
        dirty_ratio: if all_bytes == 0 { 0.0 } else { dirty_bytes as f64 / all_bytes as f64 },
        is_due: (0..count).filter(is_dirty).any(is_overdue),
        dirty_bytes,
    }
}

/// The place of the log to compact next; `None` if none is worth it.
#[must_use]
pub fn dirtiest(logs: &[(Eligible, Lags)]) -> Option<usize> {
    let worth = logs.iter().enumerate().filter(|(_, (log, lags))| log.is_worth_it(lags));
    let most = worth.max_by(|(_, a), (_, b)| a.0.dirty_ratio.total_cmp(&b.0.dirty_ratio));
    most.map(|(at, _)| at)
}

/// What one segment may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub segment_bytes: u64,
    pub index_bytes: u64,
    /// How many may become one.
    pub segments: usize,
}

/// Neighbours that fit one segment become one. `end` is where the last segment ends. Sizes are
/// those of before, so a group may end up small; the next round takes it further.
#[must_use]
pub fn groups(segments: &[Facts], end: i64, limits: Limits) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut index_bytes) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map_or(end, |next| next.base_offset);
        bytes += segment.bytes;
        index_bytes += segment.index_bytes;
        let fits = |group: &Range<usize>| {
            let span = next - 1 - segments[group.start].base_offset;
            group.len() < limits.segments
                && bytes <= limits.segment_bytes
                && index_bytes <= limits.index_bytes
                && span <= i64::from(i32::MAX)
        };
        match groups.last_mut() {
            Some(group) if fits(group) => group.end = at + 1,
            _ => {
                groups.push(at..at + 1);
                (bytes, index_bytes) = (segment.bytes, segment.index_bytes);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const LAGS: Lags = Lags { min_ms: 0, max_ms: i64::MAX, min_dirty_ratio: 0.5 };

    /// Segments of ten offsets and 100 bytes, a second apart; the last is being written.
    fn log(count: i64) -> Vec<Facts> {
        let segment = |n: i64| Facts {
            base_offset: n * 10,
            bytes: 100,
            index_bytes: 8,
            first_ms: Some(n * 1_000),
            newest_ms: Some(n * 1_000 + 999),
        };
        (0..count).map(segment).collect()
    }

    fn of(stable_end: i64, cleaned_to: Option<i64>, lags: Lags) -> Eligible {
        eligible(&log(5), stable_end, cleaned_to, &lags, NOW_MS)
    }

    #[test]
    fn the_segment_being_written_and_what_is_not_stable_stay_out() {
        assert_eq!(of(1_000, None, LAGS).segments, 4);
        assert_eq!(of(40, None, LAGS).segments, 4);
        assert_eq!(of(39, None, LAGS).segments, 3);
        assert_eq!(of(0, None, LAGS).segments, 0);
        assert_eq!(eligible(&[], 9, None, &LAGS, NOW_MS).segments, 0);
        assert!(!of(0, None, LAGS).is_worth_it(&LAGS));
    }

    #[test]
    fn dirty_is_what_no_round_has_seen() {
        let whole = of(40, None, LAGS);
        assert_eq!((whole.first_dirty, whole.dirty_bytes), (0, 400));
        let half = of(40, Some(20), LAGS);
        assert_eq!((half.first_dirty, half.dirty_bytes), (20, 200));
        assert!(!half.is_worth_it(&LAGS), "the ratio must be passed, not reached");
        assert!(of(40, Some(19), LAGS).is_worth_it(&LAGS));
        assert!(!of(40, Some(40), LAGS).is_worth_it(&Lags { min_dirty_ratio: 0.0, ..LAGS }));
    }

    #[test]
    fn progress_of_another_log_is_not_believed() {
        assert_eq!(of(40, Some(41), LAGS).first_dirty, 0);
        let trimmed = &log(5)[2..];
        assert_eq!(eligible(trimmed, 40, Some(5), &LAGS, NOW_MS).first_dirty, 20);
    }

    #[test]
    fn young_segments_wait_and_hold_back_those_behind_them() {
        let lags = Lags { min_ms: NOW_MS - 2_500, ..LAGS };
        assert_eq!(of(40, None, lags).segments, 2);
        // What a round has seen already takes part again.
        assert_eq!(of(40, Some(30), lags).segments, 3);
    }

    #[test]
    fn what_has_waited_too_long_is_due_whatever_the_ratio() {
        let lags = Lags { max_ms: NOW_MS - 3_500, ..LAGS };
        let due = of(40, Some(30), lags);
        assert!(due.is_due && due.is_worth_it(&lags));
        assert!(!of(40, Some(30), Lags { max_ms: NOW_MS - 2_500, ..LAGS }).is_due);
        assert!(!of(30, Some(30), lags).is_worth_it(&lags), "nothing is dirty there");
    }

    #[test]
    fn the_dirtiest_goes_first() {
        let some = [20, 0, 10].map(|from| (of(40, Some(from), LAGS), LAGS));
        assert_eq!(dirtiest(&some), Some(1));
        assert_eq!(dirtiest(&some[..1]), None);
        let due = Lags { max_ms: 0, ..LAGS };
        assert_eq!(dirtiest(&[some[0], (of(40, Some(30), due), due)]), Some(1));
    }

    #[test]
    fn neighbours_are_merged_up_to_every_limit() {
        let segments = &log(5)[..4];
        let wide = Limits { segment_bytes: 1_000, index_bytes: 1_000, segments: 9 };
        let limits = Limits { segment_bytes: 250, ..wide };
        assert_eq!(groups(segments, 40, limits), [0..2, 2..4]);
        let limits = Limits { index_bytes: 24, ..wide };
        assert_eq!(groups(segments, 40, limits), [0..3, 3..4]);
        let limits = Limits { segment_bytes: 50, ..wide };
        assert_eq!(groups(segments, 40, limits).len(), 4);
        assert_eq!(groups(segments, 40, Limits { segments: 2, ..wide }), [0..2, 2..4]);
        assert_eq!(groups(segments, i64::from(i32::MAX) + 1, wide), vec![0..4]);
        assert_eq!(groups(segments, i64::from(i32::MAX) + 2, wide), [0..3, 3..4]);
    }
}
