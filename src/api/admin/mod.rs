//! Requests that change topics. Each request is one message to the metadata worker; what a request
//! says twice is refused before that, as Kafka's controller does.

pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;

use std::hash::Hash;

use rustc_hash::FxHashSet;

use crate::base::fault::{Code, Fault};
use crate::catalog::Change;

/// Keys that occur more than once.
fn repeated<K: Eq + Hash + Clone>(keys: impl IntoIterator<Item = K>) -> FxHashSet<K> {
    let mut seen = FxHashSet::default();
    keys.into_iter().filter(|key| !seen.insert(key.clone())).collect()
}

fn duplicate(what: &str) -> Fault {
    Fault::with(Code::InvalidRequest, format!("Duplicate {what}."))
}

/// One outcome for each of `count` commands, also if the worker gave none.
fn outcomes(
    answer: Result<Vec<Result<Change, Fault>>, Fault>,
    count: usize,
) -> Vec<Result<Change, Fault>> {
    answer.unwrap_or_else(|fault| vec![Err(fault); count])
}
