//! Redrive jobs: putting dead letters back where they can be processed.
//!
//! A [`Job`] is what an operator asked for ([`Plan`]), how far it is ([`Progress`] by partition of
//! the dead-letter topic) and what was done to it ([`Event`]s). It is pure and small: whoever runs
//! it stores it as a whole ([`codec`]). The position that is stored may lag behind the copies that
//! were made: each copy carries its origin, and its destination knows those it has
//! (`delay::copies`), so that going over a stretch again makes nothing twice.
//!
//! Invariants: a partition's end is fixed when the job begins, so that what fails again is not
//! redriven by the same job; a state that [is over](State::is_over) never changes.

pub mod codec;
pub mod filter;
pub mod provenance;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::base::ids::Uuid;
use crate::wire::records::{Header, Record};
use filter::Filter;
use provenance::Provenance;

/// Redrives after which a dead letter stays where it is, unless a job allows more.
pub const REDRIVE_LIMIT: u32 = 3;

/// Events kept of a job: its first one, and the last ones.
const MOST_EVENTS: usize = 100;

/// A topic by both of its names: one for people, one for storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicRef {
    pub name: String,
    #[serde(with = "codec::id_text")]
    pub id: Uuid,
}

impl TopicRef {
    #[must_use]
    pub fn new(name: &str, id: Uuid) -> Self {
        Self { name: name.to_owned(), id }
    }
}

/// Where dead letters go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The retry topic of the group that failed; without a group, the origin.
    #[default]
    Retry,
    /// The topic and partition of the first delivery.
    Origin,
    /// This topic, the same partition, or that modulo the partitions it has.
    Topic(String),
}

/// What an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The dead-letter topic.
    pub source: TopicRef,
    pub target: Target,
    pub filter: Filter,
    /// Records a second; 0: as fast as it goes.
    pub rate: u32,
    /// Counts only.
    pub dry_run: bool,
    /// Dead letters that were redriven so often are parked: they stay where they are.
    pub redrive_limit: u32,
    /// Also what an earlier job put back.
    pub again: bool,
}

/// What a job does with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Copy,
    Filtered,
    /// An earlier job put it back.
    Redriven,
    Parked,
}

impl Plan {
    /// Judges a dead letter by its place, its own time, what it says of itself, and whether it was
    /// put back before.
    #[must_use]
    pub fn judge(
        &self,
        offset: i64,
        timestamp_ms: i64,
        record: &Record<'_>,
        is_redriven: bool,
    ) -> Verdict {
        let provenance = Provenance::of(record.headers.iter());
        if !self.filter.matches(offset, timestamp_ms, record, &provenance) {
            Verdict::Filtered
        } else if is_redriven && !self.again {
            Verdict::Redriven
        } else if provenance.redrive_count >= self.redrive_limit || is_hollow(record) {
            Verdict::Parked
        } else {
            Verdict::Copy
        }
    }
}

/// Whether a dead letter has its story alone: its record was gone or too large, or its group keeps
/// none.
fn is_hollow(record: &Record<'_>) -> bool {
    let is_story = |header: Header<'_>| header.key.starts_with(provenance::PREFIX.as_bytes());
    record.key.is_none() && record.value.is_none() && record.headers.iter().all(is_story)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Running,
    Paused,
    Cancelled,
    Done,
    /// Why, in a sentence.
    Failed(String),
}

impl State {
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Done | Self::Failed(_))
    }

    /// One word for people and programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// What an operator may ask of a job that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Pause,
    Resume,
    Cancel,
}

/// A command that comes too late: the job is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job is {} already", .0.name())]
pub struct Over(pub State);

/// Something that was done to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at_ms: i64,
    /// Who, as they said; the broker itself is `klamm`.
    pub by: String,
    /// `started`, or the state it brought.
    pub what: String,
}

/// Counts of dead letters that a job has dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Now in the target; of a dry run, what would be.
    pub copied: u64,
    /// Of those, what was there before: made just before a crash.
    pub known: u64,
    /// Not meant by the filter.
    pub filtered: u64,
    /// Left where they are: put back too often, or without a record to put back.
    pub parked: u64,
    /// Put back by an earlier job.
    pub redriven: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.copied += other.copied;
        self.known += other.known;
        self.filtered += other.filtered;
        self.parked += other.parked;
        self.redriven += other.redriven;
    }
}

/// How far a job is in one partition of the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub partition: i32,
    /// The next offset to look at.
    pub position: i64,
    /// Where the job ends, exclusive.
    pub end: i64,
    #[serde(flatten)]
    pub counts: Counts,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    #[serde(with = "codec::id_text")]
    pub id: Uuid,
    pub plan: Plan,
    pub state: State,
    pub progress: Vec<Progress>,
    /// Topics that may hold copies of this job, noted before the first one is made.
    pub destinations: Vec<TopicRef>,
    /// The destinations have been told to forget the job: nothing of it is left to do.
    pub forgotten: bool,
    pub events: Vec<Event>,
}

impl Job {
    /// A job that runs. `ends` are partitions of the source with log start and visible end.
    #[must_use]
    pub fn new(
        id: Uuid,
        plan: Plan,
        ends: impl IntoIterator<Item = (i32, i64, i64)>,
        by: &str,
        now_ms: i64,
    ) -> Self {
        let progress = ends.into_iter().filter_map(|(partition, start, end)| {
            let (position, end) = plan.filter.stretch(partition, start, end)?;
            Some(Progress { partition, position, end, counts: Counts::default() })
        });
        let progress = progress.collect();
        let mut job = Self {
            id,
            plan,
            state: State::Running,
            progress,
            destinations: Vec::new(),
            forgotten: false,
            events: Vec::new(),
        };
        job.note(by, "started", now_ms);
        job
    }

    /// Carries a command out; one that changes nothing is fine.
    ///
    /// # Errors
    /// If the job is over, but for a cancel of a cancelled one.
    pub fn command(&mut self, command: Command, by: &str, now_ms: i64) -> Result<(), Over> {
        let next = match command {
            Command::Pause => State::Paused,
            Command::Resume => State::Running,
            Command::Cancel => State::Cancelled,
        };
        if self.state == next {
            return Ok(());
        }
        if self.state.is_over() {
            return Err(Over(self.state.clone()));
        }
        self.enter(next, by, now_ms);
        Ok(())
    }

    /// The runner gives up. A job that is over stays as it is.
    pub fn fail(&mut self, reason: impl Into<String>, now_ms: i64) {
        if !self.state.is_over() {
            self.enter(State::Failed(reason.into()), "klamm", now_ms);
        }
    }

    /// The runner has come to the end of every partition. A job that was paused meanwhile is
    /// done too: nothing is left to resume.
    pub fn finish(&mut self, now_ms: i64) {
        if !self.state.is_over() {
            self.enter(State::Done, "klamm", now_ms);
        }
    }

    /// As it is to be stored while copies may have been made that are not noted yet: a cancel does
    /// not count before that.
    #[must_use]
    pub fn not_cancelled_yet(mut self) -> Self {
        if self.state == State::Cancelled {
            self.state = State::Paused;
            self.events.pop_if(|last| last.what == State::Cancelled.name());
        }
        self
    }

    fn enter(&mut self, state: State, by: &str, now_ms: i64) {
        self.note(by, state.name(), now_ms);
        self.state = state;
    }

    fn note(&mut self, by: &str, what: &str, at_ms: i64) {
        if self.events.len() >= MOST_EVENTS {
            self.events.remove(1);
        }
        self.events.push(Event { at_ms, by: by.to_owned(), what: what.to_owned() });
    }

    /// The first partition with something left, and what is left of it.
    #[must_use]
    pub fn next(&self) -> Option<&Progress> {
        self.progress.iter().find(|progress| progress.position < progress.end)
    }

    /// Everything in a partition below `position` has been dealt with.
    pub fn advance(&mut self, partition: i32, position: i64, counts: Counts) {
        if let Some(progress) = self.progress.iter_mut().find(|p| p.partition == partition) {
            progress.position = progress.position.max(position);
            progress.counts.add(counts);
        }
    }

    /// Notes a destination; true if it is new, and must be stored before a copy is made there.
    pub fn heads_for(&mut self, topic: &TopicRef) -> bool {
        let is_new = !self.destinations.contains(topic);
        if is_new {
            self.destinations.push(topic.clone());
        }
        is_new
    }

    /// Sums over all partitions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.progress.iter().for_each(|progress| sum.add(progress.counts));
        sum
    }

    /// When it was asked for.
    #[must_use]
    pub fn started_ms(&self) -> i64 {
        self.events.first().map_or(0, |event| event.at_ms)
    }
}
