//! Committed batches whose partition could not be opened: kept aside until it can.
//!
//! The commit log is freed at the end of recovery, but a partition may be unreadable for a while
//! (permissions, a failing disk). Its batches from the commit log then go to files of their own,
//! `unplaced/<topic id>-<partition>-<base offset>`, each one whole stamped batch, and are put back
//! at the first start that opens the partition. Rejected: keeping the ring, which would stop the
//! partitions that are well once it is full.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::ids::{TopicPartition, Uuid};
use crate::store::{Files, OpenMode, Resize};

const DIR: &str = "unplaced";

/// One batch that was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub tp: TopicPartition,
    pub base_offset: i64,
    pub batch: Bytes,
    path: PathBuf,
}

/// Keeps a batch, durably. Keeping it again replaces it.
///
/// # Errors
/// The disk's own.
pub fn keep(
    files: &dyn Files,
    data_dir: &Path,
    tp: TopicPartition,
    base_offset: i64,
    batch: &Bytes,
) -> io::Result<()> {
    let dir = data_dir.join(DIR);
    files.create_dir(&dir)?;
    // Zero-padded, so that the order of names is the order of offsets.
    let name = format!("{}-{}-{base_offset:020}", tp.topic_id, tp.partition);
    let file = files.open(&dir.join(name), OpenMode::Write)?;
    file.write_at(&[IoSlice::new(batch)], 0)?;
    file.resize(Resize::Cut(batch.len() as u64))?;
    file.sync()?;
    files.sync_dir(&dir)?;
    files.sync_dir(data_dir)
}

/// Everything that was kept, in offset order per partition.
///
/// # Errors
/// The disk's own.
pub fn load(files: &dyn Files, data_dir: &Path) -> io::Result<Vec<Kept>> {
    let dir = data_dir.join(DIR);
    let mut kept = Vec::new();
    for entry in files.list(&dir)? {
        let Some((tp, base_offset)) = parse(&entry.name) else { continue };
        let path = dir.join(&entry.name);
        let file = files.open(&path, OpenMode::Read)?;
        let mut batch = vec![0; usize::try_from(file.len_bytes()?).map_err(io::Error::other)?];
        let read = file.read_at(&mut batch, 0)?;
        batch.truncate(read);
        kept.push(Kept { tp, base_offset, batch: batch.into(), path });
    }
    Ok(kept)
}

/// Removes what was put back, once that is durable in its log.
///
/// # Errors
/// The disk's own; what is left is recognised as put back at the next start.
pub fn forget(files: &dyn Files, placed: &[Kept]) -> io::Result<()> {
    placed.iter().try_for_each(|kept| files.remove(&kept.path))
}

fn parse(name: &str) -> Option<(TopicPartition, i64)> {
    let (rest, base_offset) = name.rsplit_once('-')?;
    let (topic_id, partition) = rest.rsplit_once('-')?;
    let tp = TopicPartition::new(Uuid::parse_str(topic_id).ok()?, partition.parse().ok()?);
    Some((tp, base_offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryFiles;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new(Uuid::from_u128(7), partition)
    }

    #[test]
    fn batches_are_kept_in_offset_order_and_forgotten() {
        let (files, dir) = (MemoryFiles::new(), Path::new("data"));
        files.create_dir(dir).unwrap();
        for (base_offset, batch) in [(10, "later"), (9, "first"), (9, "again")] {
            keep(&files, dir, tp(1), base_offset, &Bytes::from_static(batch.as_bytes())).unwrap();
        }
        let kept = load(&files, dir).unwrap();
        let seen: Vec<_> = kept.iter().map(|k| (k.tp, k.base_offset, &k.batch[..])).collect();
        assert_eq!(seen, [(tp(1), 9, &b"again"[..]), (tp(1), 10, &b"later"[..])]);
        forget(&files, &kept).unwrap();
        assert_eq!(load(&files, dir).unwrap(), []);
    }

    #[test]
    fn nothing_kept_is_nothing_found() {
        assert_eq!(load(&MemoryFiles::new(), Path::new("data")).unwrap(), []);
    }
}
