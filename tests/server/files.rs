//! File ranges arrive byte for byte: copied, by sendfile, cold, and from files without descriptor.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use klamm::api::reply::{Chunk, Outcome};
use klamm::server::Limits;
use klamm::store::local::LocalFiles;
use klamm::store::memory::MemoryFiles;
use klamm::store::{File, Files, OpenMode};

use crate::service::{Running, file_reply};

const FILE_BYTES: usize = 5 << 20;

fn content() -> Vec<u8> {
    (0..FILE_BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn written(files: &dyn Files, path: &Path) -> Arc<dyn File> {
    files.create_dir(path.parent().unwrap()).unwrap();
    let file = files.open(path, OpenMode::Write).unwrap();
    file.write_at(&[std::io::IoSlice::new(&content())], 0).unwrap();
    file.sync().unwrap();
    file
}

/// Asks for ranges (position and length in the request) and compares.
fn check(file: Arc<dyn File>, ranges: &[(usize, usize)], before_each: impl Fn()) {
    let server = Running::start(Limits::default(), move |frame: Bytes| {
        let number = |at: usize| u64::from_be_bytes(frame[at..at + 8].try_into().unwrap());
        let (position, len) = (number(0), number(8));
        Outcome::reply(file_reply(Chunk::File { file: Arc::clone(&file), position, len }))
    });
    let content = content();
    let mut client = server.connect();
    for (position, len) in ranges {
        before_each();
        client
            .send_frame(&[(*position as u64).to_be_bytes(), (*len as u64).to_be_bytes()].concat());
    }
    for (position, len) in ranges {
        let got = client.receive_frame().unwrap();
        assert!(got == content[*position..position + len], "{len} bytes at {position}");
    }
}

const RANGES: &[(usize, usize)] = &[
    (0, 1),
    (4095, 2),
    (100, 16 << 10),
    (101, (16 << 10) + 1),
    (7, 1 << 20),
    (4096, (1 << 20) + 1),
    (0, FILE_BYTES),
    (FILE_BYTES - 1, 1),
    (33, 3 << 20),
];

#[test]
fn from_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&LocalFiles, &dir.path().join("segment"));
    check(file, RANGES, || {});
}

#[test]
fn from_a_cold_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let file = written(&LocalFiles, &path);
    let evict = std::fs::File::open(&path).unwrap();
    check(file, RANGES, || {
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(&evict, 0, None, advice).unwrap();
    });
}

#[test]
fn from_a_file_without_a_descriptor() {
    let file = written(&MemoryFiles::new(), Path::new("/data/segment"));
    assert!(file.descriptor().is_none());
    check(file, RANGES, || {});
}

#[test]
fn a_file_that_ends_early_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&LocalFiles, &dir.path().join("segment"));
    let server = Running::start(Limits::default(), move |_| {
        let (position, len) = (FILE_BYTES as u64 - 10, 1 << 20);
        Outcome::reply(file_reply(Chunk::File { file: Arc::clone(&file), position, len }))
    });
    let mut client = server.connect();
    client.send_frame(b"\0\0\0\0file");
    server.wait_for_an_end();
}
