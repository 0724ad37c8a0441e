use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{Meta, MetaWrite, Transacted};
use super::{MemoryMeta, RedbMeta};

fn put(key: &str, value: &[u8]) -> MetaWrite {
    MetaWrite::Put(key.to_owned(), value.to_vec())
}

fn scratch() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.redb");
    (dir, path)
}

/// What every store does.
fn contract(meta: &dyn Meta) {
    assert_eq!(meta.get("a").unwrap(), None);
    let first = meta.transact(&[], &[put("b/1", b"one"), put("b/2", b"two"), put("c", b"")]);
    assert_eq!(first.unwrap(), Transacted::Done(1));
    let keys = |prefix| -> Vec<String> {
        meta.scan(prefix).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys("b/"), ["b/1", "b/2"]);
    assert_eq!(keys(""), ["b/1", "b/2", "c"]);
    assert!(keys("d").is_empty());

    // An expectation that fails leaves everything as it was, and takes no revision.
    let wrong = [("b/1".to_owned(), Some(1)), ("c".to_owned(), None)];
    let refused = meta.transact(&wrong, &[put("b/1", b"no")]).unwrap();
    assert_eq!(refused, Transacted::Conflict);
    assert_eq!(meta.get("b/1").unwrap().unwrap().value, b"one");

    let right = [("b/1".to_owned(), Some(1)), ("a".to_owned(), None)];
    let writes = [put("a", b"new"), MetaWrite::Delete("b/1".to_owned())];
    assert_eq!(meta.transact(&right, &writes).unwrap(), Transacted::Done(2));
    assert_eq!(meta.get("b/1").unwrap(), None);
    assert_eq!(meta.get("a").unwrap().unwrap().revision, 2);
    assert_eq!(meta.get("b/2").unwrap().unwrap().revision, 1);
}

#[test]
fn memory_keeps_the_contract() {
    contract(&MemoryMeta::new());
}

#[test]
fn redb_keeps_the_contract() {
    let (_dir, path) = scratch();
    contract(&RedbMeta::open(&path).unwrap());
}

#[test]
fn pairs_and_revisions_survive_a_restart() {
    let (_dir, path) = scratch();
    let meta = RedbMeta::open(&path).unwrap();
    meta.transact(&[], &[put("k", b"v")]).unwrap();
    drop(meta);
    let meta = RedbMeta::open(&path).unwrap();
    let pair = meta.get("k").unwrap().unwrap();
    assert_eq!((pair.value.as_slice(), pair.revision), (&b"v"[..], 1));
    assert_eq!(meta.transact(&[], &[put("k", b"w")]).unwrap(), Transacted::Done(2));
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let (_dir, path) = scratch();
    let _first = RedbMeta::open(&path).unwrap();
    let error = RedbMeta::open(&path).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(error.to_string(), format!("{}: in use by another process", path.display()));
}

#[test]
fn a_foreign_file_is_refused_in_one_line_and_left_alone() {
    let (_dir, path) = scratch();
    std::fs::write(&path, [7; 9_000]).unwrap();
    let error = RedbMeta::open(&path).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string().lines().count(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), [7; 9_000]);
}

/// A store with enough in it to have several pages.
fn filled() -> Vec<u8> {
    let (_dir, path) = scratch();
    let meta = RedbMeta::open(&path).unwrap();
    for n in 0..40 {
        meta.transact(&[], &[put(&format!("topic/{n:02}"), &[n; 700])]).unwrap();
    }
    drop(meta);
    std::fs::read(&path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cut_file_never_panics(keep in 0.0..1.0_f64) {
        let bytes = filled();
        let (_dir, path) = scratch();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's")]
        let keep = (bytes.len() as f64 * keep) as usize;
        std::fs::write(&path, &bytes[..keep]).unwrap();
        if let Ok(meta) = RedbMeta::open(&path) {
            drop(meta.scan(""));
        }
    }

    #[test]
    fn flipped_bytes_are_refused_or_harmless(flips in prop::collection::vec((0..200_000_usize, 1..=255_u8), 1..20)) {
        let mut bytes = filled();
        for (at, mask) in flips {
            let at = at % bytes.len();
            bytes[at] ^= mask;
        }
        let (_dir, path) = scratch();
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(meta) = RedbMeta::open(&path) {
            let found = meta.scan("").unwrap();
            prop_assert_eq!(found.len(), 40, "no pair is forgotten");
            for (n, (_, pair)) in found.iter().enumerate() {
                prop_assert_eq!(pair.revision, n as u64 + 1, "nor taken back");
            }
            meta.transact(&[], &[put("topic/3", b"x")]).unwrap();
        }
    }
}

/// A file in memory on a disk that can fill up.
#[derive(Clone, Debug, Default)]
struct SmallDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl redb::StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock()[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = usize::try_from(offset).unwrap();
        self.bytes.lock()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_full_disk_passes() {
    let disk = SmallDisk::default();
    let same = disk.clone();
    let open = move || redb::Database::builder().create_with_backend(same.clone());
    let meta = RedbMeta::open_with(Box::new(open)).unwrap();
    meta.transact(&[], &[put("a", b"before")]).unwrap();

    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = meta.transact(&[], &[put("a", b"lost"), put("b", b"lost")]);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(meta.get("a").unwrap().unwrap().value, b"before");
    assert_eq!(meta.get("b").unwrap(), None);
    let done = meta.transact(&[("a".to_owned(), Some(1))], &[put("a", b"after")]);
    assert_eq!(done.unwrap(), Transacted::Done(2));
}
