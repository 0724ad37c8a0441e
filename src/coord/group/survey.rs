//! What operators want to know of all groups of a partition: how many there are in which state,
//! what they have done, and how far each has read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{ConsumerEntry, Record};
use super::{GroupMap, Kind, classic};

/// What a coordinator has done since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Offsets committed.
    pub commits: u64,
    /// Generations and assignments begun.
    pub rebalances: u64,
}

impl Counts {
    /// Notes what is stored. Of a classic group nothing is stored before its members have synced,
    /// so generations are counted where they begin.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Offset(record) => self.commits += u64::from(record.value.is_some()),
            Record::Consumer(record) => {
                let assigned = matches!(record.entry, ConsumerEntry::Target(Some(_)));
                self.rebalances += u64::from(assigned);
            }
            Record::Classic(_) => {}
        }
    }
}

/// The groups of one partition at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Groups by type and state, by Kafka's names.
    pub groups: BTreeMap<(&'static str, &'static str), u64>,
    /// Members of all groups.
    pub members: u64,
    pub counts: Counts,
    pub offsets: Vec<CommittedOffset>,
    /// Where groups do not get on; see [`super::offsets::stuck`].
    pub stuck: Vec<Stuck>,
    /// Committed offsets beyond those that were asked for.
    pub left_out: u64,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

/// A committed offset that generation after generation of its group began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub at: CommittedOffset,
    pub generations: u32,
    /// Wall time of the first, epoch milliseconds.
    pub since_ms: i64,
}

impl Survey {
    /// Adds what another coordinator knows.
    pub fn merge(&mut self, other: Self) {
        for (kind, count) in other.groups {
            *self.groups.entry(kind).or_default() += count;
        }
        self.members += other.members;
        self.counts.commits += other.counts.commits;
        self.counts.rebalances += other.counts.rebalances;
        self.offsets.extend(other.offsets);
        self.stuck.extend(other.stuck);
        self.left_out += other.left_out;
    }
}

/// Looks at everything; names at most so many offsets.
pub(super) fn survey(groups: &GroupMap, most_offsets: usize) -> Survey {
    let mut survey = Survey { counts: groups.counts, ..Survey::default() };
    for listed in classic::list(groups, &classic::List::default()) {
        *survey.groups.entry((listed.kind, listed.state)).or_default() += 1;
    }
    for group in groups.iter() {
        survey.members += match &group.kind {
            Kind::Simple => 0,
            Kind::Classic(classic) => classic.len() as u64,
            Kind::Consumer(consumer) => consumer.len() as u64,
        };
        survey.stuck.extend(group.offsets.beginnings().stuck().map(
            |(topic, partition, offset, beginning)| Stuck {
                at: CommittedOffset {
                    group: Arc::clone(&group.id),
                    topic: Arc::clone(topic),
                    partition,
                    offset,
                },
                generations: beginning.generations,
                since_ms: beginning.since_ms,
            },
        ));
        for (topic, partition, value) in group.offsets.iter() {
            if survey.offsets.len() >= most_offsets {
                survey.left_out += 1;
                continue;
            }
            survey.offsets.push(CommittedOffset {
                group: Arc::clone(&group.id),
                topic: Arc::clone(topic),
                partition,
                offset: value.offset,
            });
        }
    }
    survey
}
