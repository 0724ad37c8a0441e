//! Directories of partitions: names, identity, deletion in two steps, and what a crash left.
//!
//! `<topic>-<n>/` holds a partition; `partition.metadata` in it holds the topic's UUID, which is
//! its identity: a directory of another UUID is not opened, since it is another topic's of the
//! same name. Deleting renames to `<topic>-<n>.<uuid>-delete` first, so that the name is free at
//! once and a crash can not leave half a partition under it; the sweep at start removes the rest.
//! Source: Kafka 4.3, `PartitionMetadataFile`, `LogFileUtils`, `UnifiedLog.logDeleteDirName`.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::cache::LogStore;
use super::error::LogError;
use crate::base::ids::{TopicPartition, Uuid, base64_id, parse_base64_id};
use crate::store::{Files, OpenMode, Resize};

/// Kafka's name of the file with the topic's UUID.
pub(crate) const METADATA_FILE: &str = "partition.metadata";
/// Kafka cuts the names of deleted directories to what file systems take.
const MAX_NAME_BYTES: usize = 255;

/// Suffix of a file that waits for its removal.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// Which partition a log is, and where.
#[derive(Clone, Debug)]
pub struct Identity {
    pub tp: TopicPartition,
    pub topic_name: String,
    /// The partition's directory: the data directory joined with [`partition_dir_name`].
    pub dir: PathBuf,
}

impl Identity {
    /// The identity of a partition below a data directory.
    #[must_use]
    pub fn below(data_dir: &Path, topic_name: &str, tp: TopicPartition) -> Self {
        let dir = data_dir.join(partition_dir_name(topic_name, tp.partition));
        Self { tp, topic_name: topic_name.to_owned(), dir }
    }

    /// The directories whose entries lead to this one, from the data directory on: a journal lies
    /// in its partition's directory, and may be there before any segment of that.
    pub(crate) fn parents(&self) -> impl Iterator<Item = PathBuf> {
        let levels = if self.tp.is_journal() { 3 } else { 1 };
        self.dir.ancestors().skip(1).take(levels).map(Path::to_path_buf)
    }
}

/// Kafka's name of a partition's directory. The topic name is taken to be legal.
#[must_use]
pub fn partition_dir_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// Topic and partition of a directory's name; `None` if it is not a partition's.
#[must_use]
pub fn parse_dir_name(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let digits = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    if topic.is_empty() || !digits || name.ends_with("-delete") {
        return None;
    }
    Some((topic, partition.parse().ok()?))
}

/// The UUID in a directory's metadata; `None` if the file is missing or not whole. It is written
/// before any segment but not synced, so a power cut can leave it empty beside them.
pub(crate) fn read_identity(store: &LogStore, dir: &Path) -> Result<Option<Uuid>, LogError> {
    let path = dir.join(METADATA_FILE);
    let bytes = store.read_small(&path).map_err(|source| LogError::Io { path, source })?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("topic_id:"));
    Ok(line.and_then(|id| parse_base64_id(id.trim())))
}

/// Fails if the directory is another topic's. Returns whether it says whose it is.
pub(crate) fn check_identity(store: &LogStore, identity: &Identity) -> Result<bool, LogError> {
    let expected = identity.tp.topic_id;
    match read_identity(store, &identity.dir)? {
        Some(found) if found != expected => {
            Err(LogError::OtherTopic { path: identity.dir.clone(), expected, found })
        }
        found => Ok(found.is_some()),
    }
}

/// Makes the directory and says in it whose it is.
pub(crate) fn create(files: &dyn Files, identity: &Identity) -> io::Result<()> {
    files.create_dir(&identity.dir)?;
    let file = files.open(&identity.dir.join(METADATA_FILE), OpenMode::Write)?;
    let text = format!("version: 0\ntopic_id: {}\n", base64_id(identity.tp.topic_id));
    file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.resize(Resize::Cut(text.len() as u64))
}

/// First step of a partition's deletion: durably takes its directory out of sight. Nothing to do
/// if it has none. `random` makes the name unique. Returns where it is now.
///
/// # Errors
/// The disk's own; the directory is then under either name.
pub fn mark_deleted(
    files: &dyn Files,
    identity: &Identity,
    random: Uuid,
) -> io::Result<Option<PathBuf>> {
    let Some(parent) = identity.dir.parent() else { return Ok(None) };
    let name = partition_dir_name(&identity.topic_name, identity.tp.partition);
    if !files.list(parent)?.iter().any(|entry| entry.is_dir && entry.name == name) {
        return Ok(None);
    }
    let suffix = format!(".{}-delete", random.simple());
    let mut kept = name;
    kept.truncate(MAX_NAME_BYTES - suffix.len());
    let marked = parent.join(kept + &suffix);
    files.rename(&identity.dir, &marked)?;
    files.sync_dir(parent)?;
    Ok(Some(marked))
}

/// Removes every directory marked for deletion, as at start. Returns how many.
///
/// # Errors
/// The disk's own; what is left is found by the next sweep.
pub fn sweep_marked(files: &dyn Files, data_dir: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in files.list(data_dir)? {
        if entry.is_dir && entry.name.ends_with("-delete") {
            files.remove(&data_dir.join(entry.name))?;
            swept += 1;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryFiles;
    use std::sync::Arc;

    const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978);

    fn identity() -> Identity {
        Identity::below(Path::new("/data"), "orders", TopicPartition::new(ID, 3))
    }

    #[test]
    fn names_of_partition_directories() {
        assert_eq!(parse_dir_name("orders-3"), Some(("orders", 3)));
        assert_eq!(parse_dir_name("a-b.c-12"), Some(("a-b.c", 12)));
        for name in
            ["orders", "-3", "orders-", "orders-x", "orders-3.ab-delete", "orders-99999999999"]
        {
            assert_eq!(parse_dir_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_of_another_topic_is_refused() {
        let files = MemoryFiles::new();
        create(&files, &identity()).unwrap();
        let store = LogStore::new(Arc::new(files.clone()), 8);
        assert!(check_identity(&store, &identity()).unwrap());
        let mut other = identity();
        other.tp.topic_id = Uuid::from_u128(9);
        assert!(matches!(check_identity(&store, &other), Err(LogError::OtherTopic { .. })));
        // Lost by a power cut: to be written again, not to be refused.
        files.put(&identity().dir.join(METADATA_FILE), Vec::new());
        assert!(!check_identity(&store, &identity()).unwrap());
    }

    #[test]
    fn deletion_frees_the_name_at_once_and_the_sweep_removes_the_rest() {
        let files = MemoryFiles::new();
        assert_eq!(mark_deleted(&files, &identity(), ID).unwrap(), None);
        create(&files, &identity()).unwrap();
        let marked = mark_deleted(&files, &identity(), ID).unwrap().unwrap();
        let name = "orders-3.0123456789abcdef0f1e2d3c4b5a6978-delete";
        assert_eq!(marked, Path::new("/data").join(name));
        assert_eq!(files.list(&identity().dir).unwrap(), []);
        assert_eq!(sweep_marked(&files, Path::new("/data")).unwrap(), 1);
        assert_eq!(files.list(Path::new("/data")).unwrap(), []);
    }
}
