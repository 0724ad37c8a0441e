//! A disk that does what disks may do: forget what was not synced, tear and reorder it, fail.
//!
//! Model, stricter than ext4: of an unsynced write any subset of its 4 KiB pages survives a
//! crash, in any mixture with later ones; a file's unsynced length survives or not; names made,
//! changed or removed since the last sync of their directory survive up to a point of its own
//! per directory. Syncing a file also keeps its own name, as journaling file systems do. Direct
//! writes are durable when they return. A sync that failed has dropped its pages for good.
//!
//! Every call is a step; the crash comes at a chosen one, within the call. Deterministic: one
//! thread, one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Component, Path};
use std::sync::Arc;

use parking_lot::Mutex;

use super::random::Random;
use crate::store::{DirEntry, File, Files, OpenMode, Resize};

const PAGE_BYTES: usize = 4096;

type Id = usize;

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Pages whose sync failed: in the cache, never to be written.
    dropped: BTreeSet<usize>,
}

impl Inode {
    /// As the disk has it: what a reader finds who does not trust the cache.
    fn on_disk(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    fn copy_page(from: &[u8], to: &mut [u8], page: usize) {
        let end = ((page + 1) * PAGE_BYTES).min(from.len()).min(to.len());
        let start = (page * PAGE_BYTES).min(end);
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Child {
    File(Id),
    Dir(Id),
}

/// Names that change together: a rename takes one away and gives another.
type Change = Vec<(String, Option<Child>)>;

#[derive(Clone, Default)]
struct Dir {
    live: BTreeMap<String, Child>,
    durable: BTreeMap<String, Child>,
    /// What is not synced yet, oldest first.
    pending: Vec<Change>,
}

/// What the disk does wrong besides crashing; the planted faults of the tests are here too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// One in so many writes fails half-way with `StorageFull`; 0: none does.
    pub full_one_in: u64,
    /// One in so many syncs fails; 0: none does.
    pub sync_fails_one_in: u64,
    /// Syncs do nothing and say they did.
    pub syncs_lie: bool,
}

struct State {
    random: Random,
    inodes: Vec<Inode>,
    dirs: Vec<Dir>,
    faults: Faults,
    /// Steps left before the crash; `None`: no crash is planned.
    fuse: Option<u64>,
    crashed: bool,
    steps: u64,
}

/// See the module's head. Clones share the disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            inodes: Vec::new(),
            dirs: vec![Dir::default()],
            faults: Faults::default(),
            fuse: None,
            crashed: false,
            steps: 0,
        })))
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Plans the crash within the `steps`th call from now.
    pub fn crash_in(&self, steps: u64) {
        self.0.lock().fuse = Some(steps);
    }

    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Calls so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// What a power cut leaves: the disk to start again from. Files that were open stay dead.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        let mut state = self.0.lock();
        state.crashed = true;
        let mut random = state.random.fork();
        let dirs = state.dirs.iter().map(|dir| after_cut_dir(dir, &mut random)).collect();
        let inodes = state.inodes.iter().map(|inode| after_cut(inode, &mut random)).collect();
        state.restarted(random, inodes, dirs)
    }

    /// What the end of the process alone leaves: all that was written, but for pages whose sync
    /// failed, since recovery looks past the cache for those.
    #[must_use]
    pub fn process_end(&self) -> Self {
        let mut state = self.0.lock();
        state.crashed = true;
        let random = state.random.fork();
        let (mut inodes, dirs) = (state.inodes.clone(), state.dirs.clone());
        for inode in &mut inodes {
            inode.durable.resize(inode.durable.len().max(inode.live.len()), 0);
            for page in std::mem::take(&mut inode.dropped) {
                Inode::copy_page(&inode.durable, &mut inode.live, page);
            }
        }
        state.restarted(random, inodes, dirs)
    }

    /// The whole content of a file, and putting one in place: for damage on purpose.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.0.lock();
        let Some(Child::File(id)) = state.find(path) else {
            return Err(ErrorKind::NotFound.into());
        };
        let inode = &mut state.inodes[id];
        change(&mut inode.live);
        inode.durable = inode.live.clone();
        Ok(())
    }
}

/// Some of the unsynced pages, and perhaps the unsynced length.
fn after_cut(inode: &Inode, random: &mut Random) -> Inode {
    let mut bytes = inode.durable.clone();
    let len = if random.coin() { inode.live.len() } else { inode.durable.len() };
    bytes.resize(len, 0);
    for page in &inode.dirty {
        if random.coin() {
            Inode::copy_page(&inode.live, &mut bytes, *page);
        }
    }
    Inode::on_disk(bytes)
}

/// The names as they were at the last sync, or at some moment after it.
fn after_cut_dir(dir: &Dir, random: &mut Random) -> Dir {
    let mut names = dir.durable.clone();
    let kept = random.below(dir.pending.len() as u64 + 1);
    for change in dir.pending.iter().take(usize::try_from(kept).unwrap_or(0)) {
        apply(&mut names, change);
    }
    Dir { live: names.clone(), durable: names, pending: Vec::new() }
}

fn apply(names: &mut BTreeMap<String, Child>, change: &Change) {
    for (name, child) in change {
        match child {
            Some(child) => drop(names.insert(name.clone(), *child)),
            None => drop(names.remove(name)),
        }
    }
}

impl State {
    fn restarted(&self, random: Random, inodes: Vec<Inode>, dirs: Vec<Dir>) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Self {
            random,
            inodes,
            dirs,
            faults: Faults::default(),
            fuse: None,
            crashed: false,
            steps: self.steps,
        })))
    }

    /// Counts a call. `Ok(true)`: it is the one in which the crash comes.
    fn step(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(power_is_out());
        }
        self.steps += 1;
        if let Some(fuse) = &mut self.fuse {
            *fuse = fuse.saturating_sub(1);
            self.crashed = *fuse == 0;
        }
        Ok(self.crashed)
    }

    /// A call that either happens whole or not at all, also in a crash.
    fn atomic_step(&mut self) -> io::Result<()> {
        if self.step()? && self.random.coin() { Err(power_is_out()) } else { Ok(()) }
    }

    fn end_step<T>(&self, value: T) -> io::Result<T> {
        if self.crashed { Err(power_is_out()) } else { Ok(value) }
    }

    fn find(&self, path: &Path) -> Option<Child> {
        let mut at = 0;
        let mut found = Child::Dir(0);
        for part in names(path) {
            found = *self.dirs[at].live.get(&part)?;
            at = if let Child::Dir(dir) = found { dir } else { usize::MAX };
        }
        Some(found)
    }

    fn find_dir(&self, path: &Path) -> io::Result<Id> {
        match self.find(path) {
            Some(Child::Dir(id)) => Ok(id),
            Some(Child::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, dir: Id, change: Change) {
        apply(&mut self.dirs[dir].live, &change);
        self.dirs[dir].pending.push(change);
    }

    /// Makes names durable up to the one that gave this child its name, and those above.
    fn keep_name(&mut self, child: Child) {
        let named = |change: &Change| change.iter().any(|(_, new)| *new == Some(child));
        for at in 0..self.dirs.len() {
            let dir = &mut self.dirs[at];
            if let Some(last) = dir.pending.iter().rposition(named) {
                for change in dir.pending.drain(..=last) {
                    apply(&mut dir.durable, &change);
                }
            }
            if self.dirs[at].live.values().any(|held| *held == child) && at != 0 {
                self.keep_name(Child::Dir(at));
            }
        }
    }

    fn sync_inode(&mut self, id: Id) -> io::Result<()> {
        let fails_one_in = self.faults.sync_fails_one_in;
        let failed = fails_one_in > 0 && self.random.below(fails_one_in) == 0;
        let inode = &mut self.inodes[id];
        if failed {
            // The kernel forgets the pages: no later sync writes them.
            let pages = std::mem::take(&mut inode.dirty);
            inode.dropped.extend(pages);
            return Err(io::Error::other("input/output error"));
        }
        if !self.faults.syncs_lie {
            let pages = std::mem::take(&mut inode.dirty);
            inode.durable.resize(inode.live.len(), 0);
            for page in pages {
                Inode::copy_page(&inode.live, &mut inode.durable, page);
            }
        }
        Ok(())
    }

    fn sync_names(&mut self, id: Id) {
        let dir = &mut self.dirs[id];
        for change in std::mem::take(&mut dir.pending) {
            apply(&mut dir.durable, &change);
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<Id> {
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let dir = self.find_dir(parent)?;
        let name = names(path).pop().ok_or(ErrorKind::InvalidInput)?;
        self.inodes.push(Inode::default());
        let id = self.inodes.len() - 1;
        self.change(dir, vec![(name, Some(Child::File(id)))]);
        Ok(id)
    }
}

fn names(path: &Path) -> Vec<String> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn power_is_out() -> io::Error {
    io::Error::other("the power is out")
}

impl Files for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        let inode = match (state.find(path), mode) {
            (Some(Child::File(id)), _) => id,
            (Some(Child::Dir(_)), OpenMode::Read | OpenMode::Map) => usize::MAX,
            (Some(Child::Dir(_)), _) => return Err(ErrorKind::IsADirectory.into()),
            (None, OpenMode::Read | OpenMode::Map) => return Err(ErrorKind::NotFound.into()),
            (None, OpenMode::Write | OpenMode::Direct) => state.create(path)?,
        };
        let direct = mode == OpenMode::Direct;
        state.end_step(Arc::new(SimFile { disk: self.clone(), inode, direct }) as Arc<dyn File>)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        let Some(Child::Dir(id)) = state.find(dir) else { return state.end_step(Vec::new()) };
        let entry = |(name, child): (&String, &Child)| DirEntry {
            name: name.clone(),
            is_dir: matches!(child, Child::Dir(_)),
            len_bytes: match child {
                Child::File(id) => state.inodes[*id].live.len() as u64,
                Child::Dir(_) => 0,
            },
        };
        let entries = state.dirs[id].live.iter().map(entry).collect();
        state.end_step(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        let mut at = 0;
        for name in names(dir) {
            at = match state.dirs[at].live.get(&name) {
                Some(Child::Dir(id)) => *id,
                Some(Child::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    state.dirs.push(Dir::default());
                    let id = state.dirs.len() - 1;
                    state.change(at, vec![(name, Some(Child::Dir(id)))]);
                    id
                }
            };
        }
        state.end_step(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        let child = state.find(from).ok_or(ErrorKind::NotFound)?;
        let (old, new) = (from.parent(), to.parent());
        assert_eq!(old, new, "the log renames within a directory only");
        let dir = state.find_dir(old.unwrap_or(Path::new("/")))?;
        let (from, to) = (names(from).pop(), names(to).pop());
        let (from, to) = from.zip(to).ok_or(ErrorKind::InvalidInput)?;
        state.change(dir, vec![(from, None), (to, Some(child))]);
        state.end_step(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        if state.find(path).is_some() {
            let dir = state.find_dir(path.parent().unwrap_or(Path::new("/")))?;
            let name = names(path).pop().ok_or(ErrorKind::InvalidInput)?;
            state.change(dir, vec![(name, None)]);
        }
        state.end_step(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.atomic_step()?;
        let id = state.find_dir(dir)?;
        if !state.faults.syncs_lie {
            state.sync_names(id);
        }
        state.end_step(())
    }
}

struct SimFile {
    disk: SimDisk,
    /// None of the disk's for a directory, of which nothing is asked but a sync of the volume.
    inode: Id,
    direct: bool,
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        // Reads change nothing, so they are no steps: crashes come where they matter.
        let state = self.disk.0.lock();
        if state.crashed {
            return Err(power_is_out());
        }
        let live = &state.inodes[self.inode].live;
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(live.len());
        let count = buffer.len().min(live.len() - from);
        buffer[..count].copy_from_slice(&live[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let crash = state.step()?;
        let full_one_in = state.faults.full_one_in;
        let full = full_one_in > 0 && !self.direct && state.random.below(full_one_in) == 0;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let from = usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge)?;
        let whole = bytes.len() as u64;
        let done = if crash || full { state.random.below(whole + 1) } else { whole };
        let to = from + usize::try_from(done).unwrap_or(0);
        let direct = self.direct && !state.faults.syncs_lie;
        let pages = from / PAGE_BYTES..to.div_ceil(PAGE_BYTES);
        // Of a direct write that the crash interrupts any pages may be on the disk.
        let torn: Vec<usize> = pages.clone().filter(|_| crash && state.random.coin()).collect();
        let inode = &mut state.inodes[self.inode];
        if to > from {
            let len = inode.live.len().max(to);
            inode.live.resize(len, 0);
            inode.live[from..to].copy_from_slice(&bytes[..to - from]);
        }
        if direct {
            if inode.durable.len() < to {
                inode.durable.resize(to, 0);
            }
            for page in pages.filter(|page| !crash || torn.contains(page)) {
                Inode::copy_page(&inode.live, &mut inode.durable, page);
            }
        } else {
            inode.dirty.extend(pages);
        }
        match (crash, full) {
            (true, _) => Err(power_is_out()),
            (false, true) => Err(ErrorKind::StorageFull.into()),
            (false, false) => Ok(()),
        }
    }

    fn len_bytes(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        if state.crashed {
            return Err(power_is_out());
        }
        Ok(state.inodes[self.inode].live.len() as u64)
    }

    fn resize(&self, change: Resize) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.atomic_step()?;
        let len = match change {
            Resize::Cut(len_bytes) => usize::try_from(len_bytes).unwrap_or(usize::MAX),
            Resize::Reserve(_) => return state.end_step(()),
        };
        let inode = &mut state.inodes[self.inode];
        let old = inode.live.len();
        inode.live.resize(len, 0);
        // The page of the cut, and what was cut and may be written again.
        inode.dirty.extend(len.min(old) / PAGE_BYTES..len.max(old).div_ceil(PAGE_BYTES));
        state.end_step(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.atomic_step()?;
        state.sync_inode(self.inode)?;
        if !state.faults.syncs_lie {
            state.keep_name(Child::File(self.inode));
        }
        state.end_step(())
    }

    /// A crash leaves some files synced and others not; so does a failure.
    fn sync_volume(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let crash = state.step()?;
        for inode in 0..state.inodes.len() {
            if crash && state.random.coin() {
                continue;
            }
            if !state.inodes[inode].dirty.is_empty() {
                state.sync_inode(inode)?;
            }
        }
        for dir in 0..state.dirs.len() {
            if !crash && !state.faults.syncs_lie {
                state.sync_names(dir);
            }
        }
        state.end_step(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
