//! [`Files`] in memory: for tests, and as the base of the simulator's disk. Durable at once.
//!
//! A limited room shows what a full disk does: a write that does not fit leaves a part behind
//! and fails with `StorageFull`.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DIRECT_ALIGN_BYTES, DirEntry, File, Files, OpenMode, Resize};

/// An empty file system of its own; clones share it.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    nodes: Arc<Mutex<BTreeMap<PathBuf, Node>>>,
    room: Arc<Mutex<Option<u64>>>,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Vec<u8>>>),
}

impl MemoryFiles {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on files may grow by this many bytes in total; `None`: without limit. What files
    /// lose by a cut or removal is not given back: tests raise the room themselves.
    pub fn set_room_bytes(&self, room: Option<u64>) {
        *self.room.lock() = room;
    }

    /// The whole content of a file, for assertions and for doing damage.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.nodes.lock().get(path) {
            Some(Node::File(bytes)) => Ok(bytes.lock().clone()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Puts a whole file in place behind the owner's back; its directory need not exist.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut nodes = self.nodes.lock();
        if let Some(Node::File(old)) = nodes.get(path) {
            *old.lock() = bytes;
            return;
        }
        for parent in path.ancestors().skip(1) {
            nodes.entry(parent.to_path_buf()).or_insert(Node::Dir);
        }
        nodes.insert(path.to_path_buf(), Node::File(Arc::new(Mutex::new(bytes))));
    }

    /// A copy that shares nothing with this one: what a crash at this moment would leave.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let copy = |node: &Node| match node {
            Node::Dir => Node::Dir,
            Node::File(bytes) => Node::File(Arc::new(Mutex::new(bytes.lock().clone()))),
        };
        let nodes = self.nodes.lock();
        let copied = nodes.iter().map(|(path, node)| (path.clone(), copy(node))).collect();
        Self { nodes: Arc::new(Mutex::new(copied)), room: Arc::default() }
    }
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut nodes = self.nodes.lock();
        let bytes = match (nodes.get(path), mode) {
            (Some(Node::File(bytes)), _) => bytes.clone(),
            (Some(Node::Dir), _) => return Err(ErrorKind::IsADirectory.into()),
            (None, OpenMode::Read | OpenMode::Map) => return Err(ErrorKind::NotFound.into()),
            (None, OpenMode::Write | OpenMode::Direct) => {
                if !path.parent().is_some_and(|dir| matches!(nodes.get(dir), Some(Node::Dir))) {
                    return Err(ErrorKind::NotFound.into());
                }
                let bytes = Arc::new(Mutex::new(Vec::new()));
                nodes.insert(path.to_path_buf(), Node::File(bytes.clone()));
                bytes
            }
        };
        Ok(Arc::new(MemoryFile { bytes, room: self.room.clone(), mode }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let nodes = self.nodes.lock();
        let below = nodes.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, node): (&PathBuf, &Node)| DirEntry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_dir: matches!(node, Node::Dir),
            len_bytes: match node {
                Node::Dir => 0,
                Node::File(bytes) => bytes.lock().len() as u64,
            },
        };
        Ok(below.map(entry).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut nodes = self.nodes.lock();
        for path in dir.ancestors() {
            if let Node::File(_) = nodes.entry(path.to_path_buf()).or_insert(Node::Dir) {
                return Err(ErrorKind::NotADirectory.into());
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.nodes.lock();
        if !nodes.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        if matches!(nodes.get(to), Some(Node::Dir)) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let moved: Vec<PathBuf> =
            nodes.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let node = nodes.remove(&path).expect("its key was just listed");
            let rest = path.strip_prefix(from).expect("it starts with the name it was listed by");
            // Joining an empty rest would leave a trailing separator.
            let new = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
            nodes.insert(new, node);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.nodes.lock().retain(|node, _| !node.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct MemoryFile {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<Option<u64>>>,
    mode: OpenMode,
}

impl MemoryFile {
    /// How many of `wanted` further bytes fit; takes them from the room.
    fn take_room(&self, wanted: usize) -> usize {
        match self.room.lock().as_mut() {
            None => wanted,
            Some(room) => {
                let taken = wanted.min(usize::try_from(*room).unwrap_or(usize::MAX));
                *room -= taken as u64;
                taken
            }
        }
    }

    fn misaligned(&self, slices: &[IoSlice<'_>], position: u64) -> bool {
        let odd = |number: usize| !number.is_multiple_of(DIRECT_ALIGN_BYTES);
        self.mode == OpenMode::Direct
            && (!position.is_multiple_of(DIRECT_ALIGN_BYTES as u64)
                || slices.iter().any(|slice| odd(slice.len()) || odd(slice.as_ptr() as usize)))
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        if matches!(self.mode, OpenMode::Read | OpenMode::Map) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        if self.misaligned(slices, position) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut bytes = self.bytes.lock();
        let mut at = usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge)?;
        for slice in slices {
            let growth = (at + slice.len()).saturating_sub(bytes.len());
            let granted = self.take_room(growth);
            let end = (at + slice.len()) - (growth - granted);
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            let count = end.saturating_sub(at);
            bytes[at..at + count].copy_from_slice(&slice[..count]);
            if granted < growth {
                return Err(ErrorKind::StorageFull.into());
            }
            at = end;
        }
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn resize(&self, change: Resize) -> io::Result<()> {
        let mut bytes = self.bytes.lock();
        match change {
            Resize::Cut(len_bytes) => {
                bytes.resize(usize::try_from(len_bytes).map_err(|_| ErrorKind::FileTooLarge)?, 0);
                Ok(())
            }
            Resize::Reserve(len_bytes) => {
                let growth = len_bytes.saturating_sub(bytes.len() as u64);
                let fits = self.room.lock().is_none_or(|room| growth <= room);
                if fits { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
