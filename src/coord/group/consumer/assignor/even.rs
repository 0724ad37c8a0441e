//! `uniform` where all members want the same topics: counts differ by one at most, and as many
//! partitions stay where they are as that allows.

use rustc_hash::FxHashSet;

use super::{Partitions, Subscribers, give};

pub(super) fn assign(subscribers: &Subscribers<'_>) -> Vec<Partitions> {
    let members = &subscribers.members;
    let mut assigned = vec![Partitions::new(); members.len()];
    if members.is_empty() {
        return assigned;
    }
    let all: Vec<_> = subscribers.all().collect();
    let (quota, mut extras) = (all.len() / members.len(), all.len() % members.len());

    let mut taken = FxHashSet::default();
    let mut counts = vec![0; members.len()];
    for (n, member) in members.iter().enumerate() {
        // One more than the quota goes first to those who have it already.
        let most = quota + usize::from(extras > 0);
        for partition in subscribers.kept(member) {
            if counts[n] == most {
                break;
            }
            if taken.insert(partition) {
                give(&mut assigned[n], partition);
                counts[n] += 1;
            }
        }
        extras -= usize::from(counts[n] > quota);
    }

    let mut free = all.into_iter().filter(|partition| !taken.contains(partition));
    for (n, count) in counts.iter().enumerate() {
        let extra = extras > 0 && *count <= quota;
        extras -= usize::from(extra);
        let missing = (quota + usize::from(extra)).saturating_sub(*count);
        free.by_ref().take(missing).for_each(|partition| give(&mut assigned[n], partition));
    }
    assigned
}
