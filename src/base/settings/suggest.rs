//! The closest known name to one that is not known.

/// Longer names are compared by their beginning: names come from the wire, and the work grows
/// with their length.
const COMPARED_CHARS: usize = 64;

/// The candidate with the least edit distance, the first of equals; empty without candidates.
#[must_use]
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    let name: Vec<char> = name.chars().take(COMPARED_CHARS).collect();
    let mut best = (usize::MAX, "");
    for candidate in candidates {
        let chars: Vec<char> = candidate.chars().collect();
        // Names that differ by so much in length cannot be closer.
        if chars.len().abs_diff(name.len()) < best.0 {
            let distance = distance(&name, &chars);
            if distance < best.0 {
                best = (distance, candidate);
            }
        }
    }
    best.1
}

/// Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let substituted = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (from, to, edits) in [
            ("", "abc", 3),
            ("num.partitons", "num.partitions", 1),
            ("kitten", "sitting", 3),
            ("dris", "dirs", 1),
            ("same", "same", 0),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(from), &chars(to)), edits, "{from} {to}");
        }
    }

    #[test]
    fn the_nearest_candidate_wins() {
        let keys = ["log.dir", "log.dirs", "log.roll.ms"];
        assert_eq!(closest("log.dris", keys.into_iter()), "log.dirs");
        assert_eq!(closest(&"log.roll.ms".repeat(100_000), keys.into_iter()), "log.roll.ms");
        assert_eq!(closest("anything", [].into_iter()), "");
    }
}
