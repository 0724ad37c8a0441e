//! Redrive jobs as JSON.

use serde::Serialize;

use crate::retry::redrive::filter::Filter;
use crate::retry::redrive::{Counts, Event, Job, Progress, State, Target};

#[derive(Debug, Serialize)]
pub(super) struct JobShape {
    id: String,
    state: &'static str,
    /// Why it failed.
    reason: Option<String>,
    source: String,
    target: Target,
    filter: Filter,
    /// Records a second; 0: no limit.
    rate: u32,
    dry_run: bool,
    redrive_limit: u32,
    again: bool,
    started_ms: i64,
    #[serde(flatten)]
    counts: Counts,
    /// Offsets not looked at yet.
    left_offsets: i64,
    by_partition: Vec<Progress>,
    events: Vec<Event>,
}

impl From<Job> for JobShape {
    fn from(job: Job) -> Self {
        let left = job.progress.iter().map(|progress| progress.end - progress.position);
        Self {
            id: job.id.to_string(),
            state: job.state.name(),
            counts: job.counts(),
            left_offsets: left.sum(),
            started_ms: job.started_ms(),
            reason: match job.state {
                State::Failed(reason) => Some(reason),
                _ => None,
            },
            source: job.plan.source.name,
            target: job.plan.target,
            filter: job.plan.filter,
            rate: job.plan.rate,
            dry_run: job.plan.dry_run,
            redrive_limit: job.plan.redrive_limit,
            again: job.plan.again,
            by_partition: job.progress,
            events: job.events,
        }
    }
}
