//! The one log of [`super`]'s world and its commit log, recovered and written as the broker does.

use std::sync::Arc;

use super::{Broken, LOG_NAME, NOW_MS, data_dir, tp};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::log::cache::LogStore;
use crate::log::checkpoint_file;
use crate::log::commit::{CommitError, CommitLog, CommitSettings, Row};
use crate::log::dir::Identity;
use crate::log::error::{LogError, ReplayError};
use crate::log::partition::PartitionLog;
use crate::log::recover::OpenHint;
use crate::log::settings::LogSettings;
use crate::log::validate::ValidBatch;
use crate::log::view::{End, PartitionView};
use crate::shard::coordinator::Logs;
use crate::shard::landing::Held;
use crate::sim::disk::SimDisk;
use crate::store::Files;

/// Why a life ends early.
pub(super) enum Ended {
    /// The power is out, or the disk failed for good.
    Down,
    Broken(Broken),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Down
    }
}

/// A log and what is on its way to be durable.
pub(super) struct OneLog {
    disk: SimDisk,
    store: LogStore,
    log: PartitionLog,
    commit_log: CommitLog,
    rows: Vec<Row>,
    held: Vec<(End, Held)>,
    tell_at_once: bool,
}

impl OneLog {
    pub(super) fn recover(
        disk: &SimDisk,
        life: i32,
        run: u64,
        tell_at_once: bool,
    ) -> Result<Self, Ended> {
        let files: Arc<dyn Files> = Arc::new(disk.clone());
        files.create_dir(data_dir())?;
        let broken = |why: String| Ended::from(Broken::Recovery(why));
        let checkpoint = match checkpoint_file::read(&*files, data_dir()) {
            Ok(checkpoint) => checkpoint,
            Err(checkpoint_file::CheckpointError::Io(error)) => return Err(error.into()),
            Err(error) => return Err(broken(error.to_string())),
        };
        let after = checkpoint.as_ref().map(|known| known.mark);
        let settings = CommitSettings { file_bytes: 32 << 10, max_bytes: 128 << 10, durable: true };
        let dir = data_dir().join("commit");
        let (commit_log, replay) = CommitLog::open(Arc::clone(&files), &dir, settings, after, run)?;
        let known = checkpoint.and_then(|known| known.partitions.into_iter().next());
        let hint = known.map_or_else(OpenHint::default, |known| OpenHint {
            recovery_point: known.recovery_point,
            log_start: known.log_start,
            ..OpenHint::default()
        });
        let store = LogStore::new(files, 16);
        let identity = Identity::below(data_dir(), LOG_NAME, tp());
        let settings = LogSettings {
            segment_bytes: 6_000,
            index_interval_bytes: 500,
            ..LogSettings::default()
        };
        let mut log = match PartitionLog::open(&store, identity, settings, hint, life, NOW_MS) {
            Ok((log, _)) => log,
            Err(LogError::Io { source, .. }) => return Err(source.into()),
            Err(error) => return Err(broken(error.to_string())),
        };
        for commit in replay {
            for batch in commit?.rows.iter().filter_map(|row| row.batch.as_ref()) {
                match log.append_replayed(batch, NOW_MS) {
                    Ok(_) => {}
                    Err(ReplayError::Storage(error)) => return Err(error.into()),
                    Err(error) => return Err(broken(error.to_string())),
                }
            }
        }
        let (rows, held) = (Vec::new(), Vec::new());
        let mut opened =
            Self { disk: disk.clone(), store, log, commit_log, rows, held, tell_at_once };
        if !opened.write_checkpoint()? {
            return Err(Ended::Down);
        }
        opened.log.view().advance(&opened.log.end());
        Ok(opened)
    }

    /// One commit of what was appended, then it is visible and told of.
    pub(super) fn commit(&mut self) -> Result<(), Ended> {
        if !self.rows.is_empty() {
            match self.commit_log.write(self.rows.iter()) {
                Ok(_) => {}
                Err(CommitError::Full) => return self.checkpoint(),
                Err(CommitError::Failed(_)) => {
                    let fault = Fault::new(Code::NotCoordinator);
                    self.held.drain(..).for_each(|(_, held)| held(Err(fault.clone())));
                    return Err(Ended::Down);
                }
            }
        }
        self.rows.clear();
        for (end, held) in self.held.drain(..) {
            self.log.view().advance(&end);
            held(Ok(()));
        }
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), Ended> {
        self.write_checkpoint().map(drop)
    }

    /// `false` if the disk had no room for it.
    fn write_checkpoint(&mut self) -> Result<bool, Ended> {
        let mark = self.commit_log.last();
        let (partition, work) = self.log.checkpoint().expect("no pair is half written");
        work.run(self.store.files())?;
        match checkpoint_file::write(
            self.store.files(),
            data_dir(),
            mark,
            false,
            [&partition].into_iter(),
        ) {
            Ok(()) => self.commit_log.release(mark.sequence),
            Err(error) if self.disk.has_crashed() => return Err(error.into()),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }
}

impl Logs for OneLog {
    fn view(&self, _: TopicPartition) -> Option<Arc<PartitionView>> {
        Some(Arc::clone(self.log.view()))
    }

    fn append(
        &mut self,
        tp: TopicPartition,
        mut batch: ValidBatch,
        held: Held,
    ) -> Result<(), Fault> {
        match self.log.append(&mut batch, NOW_MS) {
            Ok(appended) => {
                let (header, records) = (*batch.header_bytes(), batch.records().clone());
                self.rows.push(Row { tp, header, records, in_segment: false });
                let held = if self.tell_at_once {
                    held(Ok(()));
                    Box::new(|_| {})
                } else {
                    held
                };
                self.held.push((appended.end, held));
                Ok(())
            }
            Err(error) => {
                held(Err(Code::NotCoordinator.into()));
                Err(error.into())
            }
        }
    }

    fn when_durable(&mut self, _: TopicPartition, held: Held) {
        if self.held.is_empty() || self.tell_at_once {
            return held(Ok(()));
        }
        self.held.push((self.log.end(), held));
    }
}
