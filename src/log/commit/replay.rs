//! Reads the commits back that a crash left in the ring.
//!
//! Files are put in the order of the sequence at their heads. From the checkpoint's mark on,
//! frames are taken while each has the next mark and its checksums hold; the first that does not
//! ends the log. Nothing after it was ever acknowledged: one commit is in flight at a time. If
//! whole later frames are found all the same, the disk lost something it had promised, which
//! [`ReplayEnd::later_frames`] tells.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, Mark, NotAFrame, ReplayedRow};
use super::ring::{path_of, ring_files};
use crate::store::{DIRECT_ALIGN_BYTES, Files, OpenMode};

/// One commit read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedCommit {
    pub sequence: u64,
    pub rows: Vec<ReplayedRow>,
}

/// Where and why the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayEnd {
    /// The last commit taken; the checkpoint's if there was none.
    pub last_sequence: u64,
    /// What stood where the next frame would be: nothing or an old frame after a clean end.
    pub reason: NotAFrame,
    /// Whole frames of the same run beyond the end. Not zero means that commits were lost.
    pub later_frames: u32,
}

/// The commits after a checkpoint, oldest first. Reads nothing but the files' heads until it is
/// iterated, and then holds one file of the ring in memory.
pub struct Replay {
    files: Arc<dyn Files>,
    dir: PathBuf,
    /// The files of the run, by the sequence at their heads, that were not read yet.
    heads: VecDeque<(u64, u32)>,
    newest_sequence: u64,
    expected: Mark,
    /// Without a checkpoint: files need not follow each other, some were free already.
    gaps: bool,
    bytes: Bytes,
    at: usize,
    end: Option<ReplayEnd>,
}

impl Replay {
    pub(super) fn open(files: Arc<dyn Files>, dir: &Path, after: Option<Mark>) -> io::Result<Self> {
        let heads = claimed_heads(&*files, dir)?;
        let newest = heads.iter().map(|(mark, _)| *mark).max_by_key(|mark| mark.sequence);
        let run = after.or(newest).map_or(0, |mark| mark.run);
        let mut heads: Vec<_> = heads
            .into_iter()
            .filter(|(mark, _)| mark.run == run)
            .map(|(mark, number)| (mark.sequence, number))
            .collect();
        heads.sort_unstable();
        let mut heads = VecDeque::from(heads);
        let after = after.map(|mark| mark.sequence);
        let first = match after {
            Some(after) => after.saturating_add(1),
            None => heads.front().map_or(1, |(head, _)| *head),
        };
        // What comes after a checkpoint is in the last file that begins no later than it.
        let begun = heads.partition_point(|(head, _)| *head <= first);
        heads.drain(..begun.saturating_sub(1));
        let newest_sequence = newest.map_or(0, |mark| mark.sequence).max(after.unwrap_or(0));
        let mut replay = Self {
            files,
            dir: dir.to_owned(),
            newest_sequence,
            expected: Mark { run, sequence: first },
            gaps: after.is_none(),
            bytes: Bytes::new(),
            at: 0,
            end: None,
            heads,
        };
        if begun == 0 {
            replay.finish(NotAFrame::Nothing)?;
        }
        Ok(replay)
    }

    /// No frame in the ring has a sequence that is 2^32 above this one.
    pub(super) const fn newest_sequence(&self) -> u64 {
        self.newest_sequence
    }

    /// Where the log ended; `None` until the iterator has.
    #[must_use]
    pub const fn end(&self) -> Option<&ReplayEnd> {
        self.end.as_ref()
    }

    fn next_commit(&mut self) -> io::Result<Option<ReplayedCommit>> {
        while self.end.is_none() {
            match frame::parse(&self.bytes, self.at, self.expected) {
                Ok((rows, len)) => {
                    let sequence = self.expected.sequence;
                    self.at += len;
                    self.expected = self.expected.next();
                    return Ok(Some(ReplayedCommit { sequence, rows }));
                }
                Err(reason) => self.next_file(reason)?,
            }
        }
        Ok(None)
    }

    /// The frames of this file end here: goes on in the file that continues them, or ends.
    fn next_file(&mut self, reason: NotAFrame) -> io::Result<()> {
        let expected = self.expected.sequence;
        let first = self.bytes.is_empty();
        let next = self.heads.front().copied();
        let Some((head, number)) = next.filter(|(head, _)| first || self.gaps || *head == expected)
        else {
            return self.finish(reason);
        };
        self.heads.pop_front();
        self.bytes = self.read_file(number)?;
        self.at = 0;
        if self.gaps {
            self.expected.sequence = head;
        }
        if first {
            self.at = place_of(&self.bytes, self.expected);
        }
        Ok(())
    }

    fn finish(&mut self, reason: NotAFrame) -> io::Result<()> {
        let mut later_frames = count_later(&self.bytes, self.at, self.expected);
        while let Some((_, number)) = self.heads.pop_front() {
            let bytes = self.read_file(number)?;
            later_frames += count_later(&bytes, 0, self.expected);
        }
        self.bytes = Bytes::new();
        let last_sequence = self.expected.sequence.saturating_sub(1);
        self.end = Some(ReplayEnd { last_sequence, reason, later_frames });
        Ok(())
    }

    fn read_file(&self, number: u32) -> io::Result<Bytes> {
        let file = self.files.open(&path_of(&self.dir, number), OpenMode::Read)?;
        let len = usize::try_from(file.len_bytes()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }
}

impl Iterator for Replay {
    type Item = io::Result<ReplayedCommit>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_commit().transpose()
    }
}

/// The mark at the head of every file that has one, and the file's number.
fn claimed_heads(files: &dyn Files, dir: &Path) -> io::Result<Vec<(Mark, u32)>> {
    let mut heads = Vec::new();
    for (number, _) in ring_files(files, dir)? {
        let file = files.open(&path_of(dir, number), OpenMode::Read)?;
        let mut head = [0; frame::HEAD_BYTES];
        let read = file.read_at(&mut head, 0)?;
        // A sequence that no broker lives to reach is damage.
        let claimed = frame::claimed(&head[..read]).filter(|mark| mark.sequence >> 62 == 0);
        heads.extend(claimed.map(|mark| (mark, number)));
    }
    Ok(heads)
}

/// Where the frame with this mark stands, whole or not; the end if nowhere. Earlier frames are
/// not looked at: the checkpoint covers them, damaged or not.
fn place_of(bytes: &Bytes, mark: Mark) -> usize {
    let places = (0..bytes.len()).step_by(DIRECT_ALIGN_BYTES);
    let mut found = places.filter(|at| frame::claimed(&bytes[*at..]) == Some(mark));
    found.next().unwrap_or(bytes.len())
}

/// Whole frames of the same run from `at` on, with sequences after the expected one.
fn count_later(bytes: &Bytes, at: usize, expected: Mark) -> u32 {
    let mut count = 0;
    for at in (at..bytes.len()).step_by(DIRECT_ALIGN_BYTES) {
        let claimed = frame::claimed(&bytes[at..]);
        let later =
            claimed.filter(|mark| mark.run == expected.run && mark.sequence > expected.sequence);
        count += u32::from(later.is_some_and(|mark| frame::parse(bytes, at, mark).is_ok()));
    }
    count
}
