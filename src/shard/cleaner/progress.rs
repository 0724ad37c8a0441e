//! How far each partition is compacted: kept by topic id in memory, by name in the file.

use std::io;

use rustc_hash::FxHashMap;

use super::CleanerDeps;
use crate::base::ids::TopicPartition;
use crate::log::checkpoint::SyncWork;
use crate::log::compact::progress::{Entry, FILE_NAME, decode, encode};
use crate::shard::registry::Registry;

/// See the module's head.
#[derive(Default)]
pub(super) struct Progress(FxHashMap<TopicPartition, i64>);

impl Progress {
    /// What the file tells of the partitions that are served. A file that is missing or damaged
    /// tells nothing.
    pub(super) fn load(deps: &CleanerDeps) -> io::Result<Self> {
        let bytes = deps.store.read_small(&deps.data_dir.join(FILE_NAME))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let entries = text.as_deref().and_then(decode).unwrap_or_default();
        let known: FxHashMap<(String, i32), i64> =
            entries.into_iter().map(|(topic, n, offset)| ((topic, n), offset)).collect();
        let served = deps.shards.registry().all().into_iter().filter_map(|partition| {
            let name = (partition.topic_name.clone(), partition.tp.partition);
            Some((partition.tp, *known.get(&name)?))
        });
        Ok(Self(served.collect()))
    }

    pub(super) fn get(&self, tp: TopicPartition) -> Option<i64> {
        self.0.get(&tp).copied()
    }

    pub(super) fn set(&mut self, tp: TopicPartition, cleaned_to: i64) {
        self.0.insert(tp, cleaned_to);
    }

    pub(super) fn retain(&mut self, mut served: impl FnMut(&TopicPartition) -> bool) {
        self.0.retain(|tp, _| served(tp));
    }

    /// The file's text, with the names of the partitions that are served.
    pub(super) fn text(&self, registry: &Registry) -> String {
        let named = |(tp, offset): (&TopicPartition, &i64)| {
            Some((registry.get(*tp)?.topic_name.clone(), tp.partition, *offset))
        };
        let mut entries: Vec<Entry> = self.0.iter().filter_map(named).collect();
        entries.sort_unstable();
        encode(&entries)
    }
}

/// Replaces the file, durably.
pub(super) fn write(deps: &CleanerDeps, text: String) -> io::Result<()> {
    SyncWork::owing([(deps.data_dir.join(FILE_NAME), text)].into()).run(deps.store.files())
}
