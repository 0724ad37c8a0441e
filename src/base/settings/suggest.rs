//! The closest known name to one that is not known.

/// The candidate with the least edit distance, the first of equals; empty without candidates.
#[must_use]
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    candidates.min_by_key(|candidate| distance(name, candidate)).unwrap_or_default()
}

/// Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
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
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("num.partitons", "num.partitions"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("dris", "dirs"), 1);
    }

    #[test]
    fn the_nearest_candidate_wins() {
        let keys = ["log.dir", "log.dirs", "log.roll.ms"];
        assert_eq!(closest("log.dris", keys.into_iter()), "log.dirs");
    }
}
