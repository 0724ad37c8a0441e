//! What producers were told, and the judgement of what a recovered log holds.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{PARTITIONS, key};

/// A batch as its producer knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The log's number.
    pub partition: usize,
    pub records: i64,
    /// Batches of one number are one atomic append.
    pub group: Option<u64>,
    /// The base offset that was acknowledged.
    pub acked: Option<i64>,
}

/// A batch as found in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: u64,
    pub base_offset: i64,
    pub last_offset: i64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("batch {id} was acknowledged at {offset} of partition {partition} and is not there")]
    Lost { id: u64, partition: usize, offset: i64 },
    #[error("batch {id} was acknowledged at {acked} and lies at {found} of partition {partition}")]
    Moved { id: u64, partition: usize, acked: i64, found: i64 },
    #[error("batch {id} lies in partition {partition} twice, at {first} and {second}")]
    Doubled { id: u64, partition: usize, first: i64, second: i64 },
    #[error("offset {offset} of partition {partition} was given out again, to batch {id}")]
    Reused { id: u64, partition: usize, offset: i64 },
    #[error("append {group} is there in part: batch {there}, but not {missing}")]
    Split { group: u64, there: u64, missing: u64 },
    #[error("partition {partition} holds batch {id}, which nobody sent there like that")]
    Foreign { id: u64, partition: usize },
    #[error("offsets of partition {partition} do not rise at {offset}")]
    Order { partition: usize, offset: i64 },
    #[error("partition {partition} ends at {log_end}, below what was acknowledged up to {acked}")]
    Shrunk { partition: usize, log_end: i64, acked: i64 },
    #[error("a retry of batch {id}, acknowledged at {acked}, was told {told}")]
    Retold { id: u64, acked: i64, told: i64 },
    #[error("batch {id} is visible in partition {partition} before it is durable")]
    Premature { id: u64, partition: usize },
    #[error("a read that must succeed: {0}")]
    Unreadable(String),
    #[error("recovery: {0}")]
    Recovery(String),
}

/// Everything ever sent.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    /// Where batches lie that a crash left unacknowledged; they may be acknowledged later.
    seen: BTreeMap<u64, i64>,
}

impl Ledger {
    /// Notes a batch and gives it its id.
    pub fn send(&mut self, partition: usize, records: i64, group: Option<u64>) -> u64 {
        self.sent.push(Sent { partition, records, group, acked: None });
        self.sent.len() as u64 - 1
    }

    /// Notes an acknowledgement.
    ///
    /// # Errors
    /// A second one must tell the same offset.
    pub fn ack(&mut self, id: u64, offset: i64) -> Result<(), Broken> {
        let known = self.get(id).and_then(|sent| sent.acked);
        if let Some(acked) = known.filter(|acked| *acked != offset) {
            return Err(Broken::Retold { id, acked, told: offset });
        }
        if let Some(sent) = usize::try_from(id).ok().and_then(|at| self.sent.get_mut(at)) {
            sent.acked = Some(offset);
        }
        Ok(())
    }

    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Sent> {
        self.sent.get(usize::try_from(id).ok()?)
    }

    #[must_use]
    pub fn acked(&self) -> usize {
        self.sent.iter().filter(|sent| sent.acked.is_some()).count()
    }

    /// What may be visible at any time: acknowledged batches only, or what was found durable
    /// when the log was recovered.
    ///
    /// # Errors
    /// The first batch that may not.
    pub fn judge_visible(&self, partition: usize, found: &[Found]) -> Result<(), Broken> {
        self.judge_batches(partition, found)?;
        for Found { id, .. } in found {
            let acked = self.get(*id).is_some_and(|sent| sent.acked.is_some());
            if !acked && !self.seen.contains_key(id) {
                return Err(Broken::Premature { id: *id, partition });
            }
        }
        Ok(())
    }

    /// What every partition may hold after a recovery: all that was acknowledged from the log
    /// start on and is not superseded, where it was acknowledged, and else only what was sent, once.
    ///
    /// # Errors
    /// The first promise found broken.
    pub fn judge_recovered(&mut self, logs: &[RecoveredLog]) -> Result<(), Broken> {
        for (partition, log) in logs.iter().enumerate() {
            self.judge_batches(partition, &log.found)?;
            self.judge_acked(partition, log)?;
        }
        self.judge_groups(logs)?;
        self.judge_shared(logs)?;
        for found in logs.iter().flat_map(|log| &log.found) {
            self.seen.insert(found.id, found.base_offset);
        }
        Ok(())
    }

    /// Order, origin and uniqueness.
    fn judge_batches(&self, partition: usize, found: &[Found]) -> Result<(), Broken> {
        let mut next_offset = 0;
        let mut first_at = BTreeMap::new();
        for Found { id, base_offset, last_offset } in found.iter().copied() {
            if base_offset < next_offset {
                return Err(Broken::Order { partition, offset: base_offset });
            }
            next_offset = last_offset + 1;
            if let Some(first) = first_at.insert(id, base_offset) {
                return Err(Broken::Doubled { id, partition, first, second: base_offset });
            }
            let sent = self.get(id).filter(|sent| sent.partition == partition);
            let sent = sent.filter(|sent| sent.records == last_offset - base_offset + 1);
            let Some(sent) = sent else { return Err(Broken::Foreign { id, partition }) };
            if let Some(acked) = sent.acked.filter(|acked| *acked != base_offset) {
                return Err(Broken::Moved { id, partition, acked, found: base_offset });
            }
        }
        Ok(())
    }

    fn judge_acked(&self, partition: usize, log: &RecoveredLog) -> Result<(), Broken> {
        let by_offset: BTreeMap<i64, u64> =
            log.found.iter().map(|found| (found.base_offset, found.id)).collect();
        for (id, sent) in (0..).zip(&self.sent).filter(|(_, sent)| sent.partition == partition) {
            let Some(offset) = sent.acked else { continue };
            if offset + sent.records > log.log_end {
                let acked = offset + sent.records;
                return Err(Broken::Shrunk { partition, log_end: log.log_end, acked });
            }
            match by_offset.get(&offset) {
                _ if offset + sent.records <= log.log_start => {}
                Some(there) if *there == id => {}
                Some(there) => return Err(Broken::Reused { id: *there, partition, offset }),
                None if log.supersedes(partition, id, offset) => {}
                None => return Err(Broken::Lost { id, partition, offset }),
            }
        }
        Ok(())
    }

    /// A partition's log and its journal never have an offset twice, but for the halves of a pair.
    fn judge_shared(&self, logs: &[RecoveredLog]) -> Result<(), Broken> {
        let acked = (0..).zip(&self.sent).filter_map(|(id, sent)| Some((id, sent.acked?)));
        let found = logs.iter().flat_map(|log| &log.found).map(|f| (f.id, f.base_offset));
        let places: BTreeMap<u64, i64> = found.chain(acked).collect();
        for partition in 0..PARTITIONS {
            let here =
                |id: u64| self.get(id).filter(|sent| sent.partition % PARTITIONS == partition);
            let mut taken: Vec<(i64, i64, u64, Option<u64>)> = places
                .iter()
                .filter_map(|(id, base)| {
                    let sent = here(*id)?;
                    Some((*base, base + sent.records, *id, sent.group))
                })
                .collect();
            taken.sort_unstable();
            let mut reach = (0, None);
            for (base, end, id, group) in taken {
                if base < reach.0 && (group.is_none() || group != reach.1) {
                    return Err(Broken::Reused { id, partition, offset: base });
                }
                reach = (end.max(reach.0), group);
            }
        }
        Ok(())
    }

    /// Whole or not at all; what is below a log start is not missed.
    fn judge_groups(&self, logs: &[RecoveredLog]) -> Result<(), Broken> {
        let there: BTreeSet<u64> =
            logs.iter().flat_map(|log| &log.found).map(|found| found.id).collect();
        let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (id, sent) in (0..).zip(&self.sent) {
            if let Some(group) = sent.group {
                groups.entry(group).or_default().push(id);
            }
        }
        for (group, ids) in groups {
            let Some(one) = ids.iter().find(|id| there.contains(id)) else { continue };
            for missing in ids.iter().filter(|id| !there.contains(id)) {
                let gone_by_right = self.get(*missing).is_some_and(|sent| {
                    let log = &logs[sent.partition];
                    let offset = sent.acked.or_else(|| self.seen.get(missing).copied());
                    offset.is_some_and(|offset| {
                        offset + sent.records <= log.log_start
                            || log.supersedes(sent.partition, *missing, offset)
                    })
                });
                if !gone_by_right {
                    return Err(Broken::Split { group, there: *one, missing: *missing });
                }
            }
        }
        Ok(())
    }
}

impl RecoveredLog {
    /// Whether compaction may have dropped a batch: a later one with its key is there.
    fn supersedes(&self, partition: usize, id: u64, offset: i64) -> bool {
        let same = |found: &Found| key(found.id, partition) == key(id, partition);
        let later = |found: &&Found| found.base_offset > offset && same(found);
        key(id, partition).is_some() && self.found.iter().any(|found| later(&found))
    }
}

/// One partition after recovery.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    pub log_start: i64,
    pub log_end: i64,
    pub found: Vec<Found>,
}
