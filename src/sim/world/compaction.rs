//! A round of compaction, as the cleaner's thread and the log's owner do it together.

use std::io;

use super::life::Life;
use super::{COMPACTED, Ended, World};
use crate::log::compact::CompactError;
use crate::log::compact::map::OffsetMap;
use crate::log::compact::round::{self, Surroundings, Task};
use crate::log::compact::select::{self, Lags};
use crate::log::compact::swap::Replacement;
use crate::log::partition::PartitionLog;
use crate::sim::ledger::Broken;
use crate::sim::random::Random;

const LAGS: Lags = Lags { min_ms: 0, max_ms: i64::MAX, min_dirty_ratio: 0.0 };

struct Owner<'a> {
    log: &'a mut PartitionLog,
    random: &'a mut Random,
    now_ms: i64,
}

impl Surroundings for Owner<'_> {
    fn pace(&mut self, _: usize) -> bool {
        !self.random.one_in(200)
    }

    fn swap(&mut self, replacement: Replacement) -> io::Result<bool> {
        self.log.replace(&replacement, self.now_ms)
    }
}

impl Life {
    pub(super) fn compact(&mut self, world: &mut World) -> Result<(), Ended> {
        let log = &mut self.logs[COMPACTED];
        let segments = log.view().segments();
        let facts = round::facts(&segments, &LAGS)?;
        let stable_end = log.view().last_stable().min(log.view().checkpointed());
        let eligible = select::eligible(&facts, stable_end, self.cleaned_to, &LAGS, world.now_ms);
        if !eligible.is_worth_it(&LAGS) {
            return Ok(());
        }
        let last_offset = |state: &crate::log::producers::ProducerState| {
            Some((state.producer_id, state.batches.last()?.last_offset))
        };
        let settings = log.settings().clone();
        let task = Task {
            store: &self.store,
            end: segments[eligible.segments].base_offset(),
            first_dirty: eligible.first_dirty,
            last_offsets: log.producers().to_checkpoint().iter().filter_map(last_offset).collect(),
            settings: &settings,
            now_ms: world.now_ms,
        };
        let taking_part = segments[..eligible.segments].to_vec();
        let keys = usize::try_from(world.random.below(6)).unwrap_or(0) + 1;
        // Slots of 24 bytes, of which one stays empty.
        let map = OffsetMap::new(24 * (keys + 1), 1.0);
        let mut owner = Owner { log, random: &mut world.random, now_ms: world.now_ms };
        match round::run(&task, taking_part, map, &mut owner) {
            Ok(done) => {
                self.cleaned_to = Some(done.cleaned_to);
                world.tally.compactions += 1;
                world.tally.compacted_records += done.removed_records;
                Ok(())
            }
            Err(_) if world.disk.has_crashed() => Err(Ended::Down),
            Err(CompactError::Sync(_)) => Err(Ended::Down),
            // A full disk.
            Err(CompactError::Interrupted | CompactError::Storage(_)) => Ok(()),
            Err(error) => Err(Broken::Unreadable(error.to_string()).into()),
        }
    }
}
