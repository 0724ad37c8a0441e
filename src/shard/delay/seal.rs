//! A partition's runs from its shard's side: what is to be sealed or merged, and what changes when
//! that is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sealer::{Changed, Done, Hold, Job, Work};
use super::{Delay, DelayHost};
use crate::base::ids::TopicPartition;
use crate::delay::key::Key;
use crate::delay::state::State;
use crate::log::runs::{Manifest, Merge, RunError, RunId, Runs, due_for_merge};
use crate::shard::mailbox::Mailbox;
use crate::shard::worker::{Message, Shard, ShardDeps};

/// How long a partition's files are left alone after a job has failed, in milliseconds.
const RETRY_MS: i64 = 5_000;

/// The part of what is delayed that is in runs.
pub(super) struct Sealed {
    pub(super) manifest: Manifest,
    pub(super) runs: Runs,
    /// All runs in the order of delivery, from the release position on.
    pub(super) next: Merge,
    /// Entries of runs that damage took, with the length of their records, until their turn comes.
    pub(super) lost: BTreeMap<Key, u64>,
    /// Runs with damage, which are not merged.
    pub(super) damaged: Vec<RunId>,
    pub(super) hold: Arc<Hold>,
    busy: bool,
    /// The manifest names less than there are files.
    leftovers: bool,
    not_before_ms: i64,
}

impl Sealed {
    pub(super) fn new(manifest: Manifest, runs: Runs, next: Merge) -> Self {
        Self {
            manifest,
            runs,
            next,
            lost: BTreeMap::new(),
            damaged: Vec::new(),
            hold: Arc::default(),
            busy: false,
            leftovers: false,
            not_before_ms: i64::MIN,
        }
    }

    /// Begins the sequence anew behind the release position.
    pub(super) fn rewind(&mut self, state: &State) {
        self.next = self.runs.after(state.w());
        // What is lost above it is met again.
        self.lost.clear();
    }
}

impl Shard {
    /// Hands over what is to be sealed or merged, of partitions where something has changed.
    pub(in crate::shard) fn seal_due(&mut self) {
        if self.delays.unsealed.is_empty() {
            return;
        }
        let Self { deps, hosted, delays, mailbox, .. } = self;
        let now_ms = deps.delay.now_ms();
        let mut retry_ms = None;
        let mut waiting = std::mem::take(&mut delays.unsealed);
        waiting.retain(|tp| {
            let Some(delay) = hosted.get_mut(tp).and_then(|hosted| hosted.delay.as_mut()) else {
                return false;
            };
            let mut next = delay.next_job(now_ms);
            if matches!(next, Next::Landing) {
                delays.flight.ask_to_be_rung();
                next = delay.next_job(now_ms);
            }
            match next {
                Next::Job(work) => {
                    deps.delay.sealer.send(delay.begin_job(*tp, work, mailbox));
                    false
                }
                Next::Landing => true,
                Next::At(at_ms) => {
                    retry_ms = retry_ms.into_iter().chain([at_ms]).min();
                    true
                }
                Next::Nothing => false,
            }
        });
        delays.retry_ms = retry_ms;
        delays.unsealed.extend(waiting);
    }

    /// Takes over what a job has done.
    pub(in crate::shard) fn sealed(&mut self, done: Done) {
        let Done { tp, outcome } = done;
        let Self { deps, hosted, delays, .. } = self;
        let Some(hosted) = hosted.get_mut(&tp) else { return };
        let Some(delay) = &mut hosted.delay else { return };
        hosted.changed = true;
        match outcome {
            Ok(changed) => delay.adopt(deps, changed),
            Err(RunError::Aborted) => return,
            Err(error) => {
                let topic = &hosted.partition.topic_name;
                tracing::warn!(topic, partition = tp.partition, %error, "to be tried again");
                delay.give_up_job(&error, deps.delay.now_ms());
            }
        }
        delays.unsealed.insert(tp);
        delays.turns.arm(tp, delay.next_due_ms());
    }
}

impl DelayHost {
    /// A segment of the partition's journal was closed, or a file is passed.
    pub(super) fn has_unsealed(&mut self, tp: TopicPartition) {
        self.unsealed.insert(tp);
    }
}

enum Next {
    Job(Work),
    /// Something waits to become durable.
    Landing,
    /// The disk is left alone until then, epoch ms.
    At(i64),
    Nothing,
}

impl Delay {
    fn begin_job(&mut self, tp: TopicPartition, work: Work, to: &Arc<Mailbox<Message>>) -> Job {
        let sealed = self.sealed.as_mut().expect("it has a job");
        sealed.busy = true;
        Job {
            tp,
            dir: self.dir.clone(),
            manifest: sealed.manifest.clone(),
            released: self.durable_w,
            work,
            hold: Arc::clone(&sealed.hold),
            mailbox: Arc::clone(to),
        }
    }

    fn next_job(&mut self, now_ms: i64) -> Next {
        self.settle();
        let (Some(state), Some(sealed)) = (&self.state, &self.sealed) else { return Next::Nothing };
        if sealed.busy {
            // It comes back when that is done.
            return Next::Nothing;
        }
        if now_ms < sealed.not_before_ms {
            return Next::At(sealed.not_before_ms);
        }
        if let Some(sealing) = state.sealing() {
            if self.journal.view().high_watermark() < sealing.at.below {
                return Next::Landing;
            }
            let base = sealing.window.base();
            let segments = self.journal.view().segments();
            let segment = segments.iter().find(|segment| segment.base_offset() == base);
            return match segment.map(|segment| segment.file()) {
                Some(Ok(segment)) => {
                    Next::Job(Work::Seal { sealing: Arc::clone(sealing), segment })
                }
                Some(Err(_)) | None => Next::At(now_ms.saturating_add(RETRY_MS)),
            };
        }
        if let Some(ids) = due_for_merge(&sealed.manifest.runs, &sealed.damaged) {
            let all = sealed.runs.all().iter();
            let inputs = all.filter(|run| ids.contains(&run.meta().id)).cloned().collect();
            // What the manifest has is durable, unlike the newest cancels.
            let cancelled = sealed.manifest.cancelled.clone();
            return Next::Job(Work::Merge { inputs, cancelled });
        }
        if sealed.leftovers {
            return Next::Job(Work::Sweep);
        }
        if self.has_passed_slice(self.durable_w) {
            return Next::Job(Work::Trim);
        }
        // What is passed and not durable yet comes to be.
        match self.has_passed_slice(state.w()) {
            true => Next::Landing,
            false => Next::Nothing,
        }
    }

    /// Whether a window waits to become a run.
    pub(super) fn has_sealing(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.sealing().is_some())
    }

    /// Whether the release position has just passed all of some slice.
    pub(super) fn has_passed_slice(&self, w: Key) -> bool {
        let Some(sealed) = &self.sealed else { return false };
        let mut slices = sealed.manifest.runs.iter().flat_map(|run| &run.slices);
        slices.any(|slice| slice.last <= w)
    }

    fn give_up_job(&mut self, error: &RunError, now_ms: i64) {
        let Some(sealed) = &mut self.sealed else { return };
        sealed.busy = false;
        sealed.not_before_ms = now_ms.saturating_add(RETRY_MS);
        if let RunError::Damaged { run, .. } = error {
            sealed.damaged.push(*run);
        }
    }

    /// The manifest on disk has changed: memory and journal follow.
    fn adopt(&mut self, deps: &ShardDeps, changed: Changed) {
        let (Some(state), Some(sealed)) = (&mut self.state, &mut self.sealed) else { return };
        let Changed { manifest, run, lost, dropped, leftovers } = changed;
        sealed.busy = false;
        sealed.leftovers = leftovers;
        state.adopt(manifest.sealed);
        state.forget_cancelled(&dropped);
        let named = |id: RunId| manifest.runs.iter().any(|run| run.id == id);
        let gone: Vec<RunId> =
            sealed.runs.all().iter().map(|run| run.meta().id).filter(|id| !named(*id)).collect();
        sealed.runs.forget(&gone);
        if let Some(run) = run.filter(|run| named(run.id)) {
            let run = sealed.runs.adopt(run);
            sealed.next.add(run);
        }
        if !gone.is_empty() {
            sealed.rewind(state);
        }
        sealed.manifest = manifest;
        for source in &lost {
            tracing::error!(journal = ?self.journal.identity().tp, key = ?source.key,
                "a delayed record is lost: its batch in the journal is damaged");
        }
        let sealed_to = sealed.manifest.sealed;
        self.count_window(&deps.delay);
        self.trim(deps, sealed_to);
    }

    /// Deletes the journal's segments below an offset, which runs stand for.
    pub(super) fn trim(&mut self, deps: &ShardDeps, below: i64) {
        let below = below.min(self.journal.view().high_watermark());
        let trimmed = self.journal.delete_records(below).is_ok();
        if let Err(error) = self.journal.retain(deps.env.wall_ms()) {
            tracing::warn!(journal = ?self.journal.identity().tp, trimmed, %error,
                "segments of the journal are deleted later");
        }
    }

    /// The release position was moved by what the journal ends with now.
    pub(super) fn note_mark(&mut self, w: Key) {
        self.marks.push_back((self.journal.end().offset, w));
        self.settle();
    }

    /// Counts marks that have become durable.
    fn settle(&mut self) {
        let durable = self.journal.view().high_watermark();
        while let Some((end, w)) = self.marks.front().copied()
            && end <= durable
        {
            self.durable_w = w;
            self.marks.pop_front();
        }
    }
}
