//! What every [`Files`] must do, asked of the machine's own and of the one in memory.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use super::local::{LocalFiles, read_cached};
use super::memory::MemoryFiles;
use super::{DIRECT_ALIGN_BYTES, Files, OpenMode, Resize};

fn on_both(case: impl Fn(&dyn Files, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    case(&LocalFiles, dir.path());
    let memory = MemoryFiles::new();
    memory.create_dir(Path::new("/data")).unwrap();
    case(&memory, Path::new("/data"));
}

fn names(files: &dyn Files, dir: &Path) -> Vec<String> {
    files.list(dir).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn slices_are_written_one_after_the_other_and_read_back() {
    on_both(|files, root| {
        let file = files.open(&root.join("a"), OpenMode::Write).unwrap();
        file.write_at(&[IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")], 3)
            .unwrap();
        file.sync().unwrap();
        let mut buffer = [9; 16];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 11);
        assert_eq!(&buffer[..11], b"\0\0\0headbody");
        assert_eq!(file.read_at(&mut buffer, 100).unwrap(), 0);
    });
}

#[test]
fn more_slices_than_one_call_takes_are_all_written() {
    on_both(|files, root| {
        let file = files.open(&root.join("many"), OpenMode::Write).unwrap();
        let bytes: Vec<u8> = (0..3000_u32).map(|n| (n % 251) as u8).collect();
        let slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        file.write_at(&slices, 0).unwrap();
        let mut read = vec![0; 3001];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 3000);
        assert_eq!(read[..3000], bytes);
    });
}

#[test]
fn reserving_keeps_the_length_and_cutting_sets_it() {
    on_both(|files, root| {
        let file = files.open(&root.join("a"), OpenMode::Write).unwrap();
        file.write_at(&[IoSlice::new(b"12345")], 0).unwrap();
        file.resize(Resize::Reserve(1 << 20)).unwrap();
        assert_eq!(file.len_bytes().unwrap(), 5);
        file.resize(Resize::Cut(2)).unwrap();
        assert_eq!(file.len_bytes().unwrap(), 2);
    });
}

#[test]
fn a_missing_file_is_not_made_by_reading_nor_a_missing_directory_by_writing() {
    on_both(|files, root| {
        let missing = |path: &Path, mode| files.open(path, mode).err().map(|error| error.kind());
        assert_eq!(missing(&root.join("a"), OpenMode::Read), Some(ErrorKind::NotFound));
        assert_eq!(missing(&root.join("no/a"), OpenMode::Write), Some(ErrorKind::NotFound));
        assert!(files.list(&root.join("no")).unwrap().is_empty());
    });
}

#[test]
fn directories_move_and_vanish_with_what_is_in_them() {
    on_both(|files, root| {
        let (old, new) = (root.join("t-0"), root.join("t-0.x-delete"));
        files.create_dir(&old.join("delay")).unwrap();
        files.open(&old.join("b.log"), OpenMode::Write).unwrap();
        files.open(&old.join("a.log"), OpenMode::Write).unwrap();
        files.rename(&old, &new).unwrap();
        files.sync_dir(root).unwrap();
        assert_eq!(names(files, root), ["t-0.x-delete"]);
        assert_eq!(names(files, &new), ["a.log", "b.log", "delay"]);
        files.remove(&new).unwrap();
        files.remove(&new).unwrap();
        assert!(names(files, root).is_empty());
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    on_both(|files, root| {
        let path = root.join("a");
        let file = files.open(&path, OpenMode::Write).unwrap();
        file.write_at(&[IoSlice::new(b"still here")], 0).unwrap();
        files.remove(&path).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 10);
        assert_eq!(&buffer, b"still here");
    });
}

#[test]
fn direct_writes_demand_alignment() {
    on_both(|files, root| {
        let file = match files.open(&root.join("ring"), OpenMode::Direct) {
            Ok(file) => file,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Unsupported),
        };
        let memory = vec![7_u8; 3 * DIRECT_ALIGN_BYTES];
        let from = memory.as_ptr().align_offset(DIRECT_ALIGN_BYTES);
        let aligned = &memory[from..from + DIRECT_ALIGN_BYTES];
        file.write_at(&[IoSlice::new(aligned)], DIRECT_ALIGN_BYTES as u64).unwrap();
        assert_eq!(file.len_bytes().unwrap(), 2 * DIRECT_ALIGN_BYTES as u64);
        assert!(file.write_at(&[IoSlice::new(&aligned[..100])], 0).is_err());
    });
}

#[test]
fn cached_reads_are_whole_or_declined() {
    on_both(|files, root| {
        let file = files.open(&root.join("a"), OpenMode::Write).unwrap();
        file.write_at(&[IoSlice::new(b"0123456789")], 0).unwrap();
        let mut buffer = [0; 4];
        if let Some(read) = read_cached(&*file, &mut buffer, 3) {
            read.unwrap();
            assert_eq!(&buffer, b"3456");
        }
        // Past the end there is nothing to give, whichever way it is said.
        assert!(!matches!(read_cached(&*file, &mut buffer, 8), Some(Ok(()))));
    });
}

#[test]
fn a_full_disk_leaves_a_part_and_says_so() {
    let files = MemoryFiles::new();
    files.create_dir(Path::new("/")).unwrap();
    let file = files.open(Path::new("/a"), OpenMode::Write).unwrap();
    files.set_room_bytes(Some(6));
    let error = file.write_at(&[IoSlice::new(b"head"), IoSlice::new(b"body")], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(files.read(Path::new("/a")).unwrap(), b"headbo");
    files.set_room_bytes(None);
    file.write_at(&[IoSlice::new(b"headbody")], 0).unwrap();
    assert_eq!(files.read(Path::new("/a")).unwrap(), b"headbody");
}

#[test]
fn a_mapped_file_reads_as_any_other_and_takes_no_writes() {
    on_both(|files, root| {
        let path = root.join("index");
        assert_eq!(files.open(&path, OpenMode::Map).err().unwrap().kind(), ErrorKind::NotFound);
        let file = files.open(&path, OpenMode::Write).unwrap();
        assert_eq!(files.open(&path, OpenMode::Map).unwrap().len_bytes().unwrap(), 0);
        file.write_at(&[IoSlice::new(b"12345678")], 0).unwrap();
        let mapped = files.open(&path, OpenMode::Map).unwrap();
        assert_eq!(mapped.len_bytes().unwrap(), 8);
        let mut buffer = [0; 4];
        for (position, wanted) in [(0, "1234"), (6, "78"), (8, ""), (u64::MAX, "")] {
            let count = mapped.read_at(&mut buffer, position).unwrap();
            assert_eq!(&buffer[..count], wanted.as_bytes());
        }
        assert!(mapped.write_at(&[IoSlice::new(b"x")], 0).is_err());
    });
}
