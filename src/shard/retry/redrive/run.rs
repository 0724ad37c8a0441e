//! One job at work: read, judge, copy, note how far that is; and once it is over, have it
//! forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Redrives;
use super::gather::{Gathered, Limits, Outgoing, gather};
use super::route::{NoWay, Routes};
use crate::base::ids::{TopicPartition, Uuid};
use crate::delay::command::Due;
use crate::delay::copies::{Maker, Origin};
use crate::delay::rate::Bucket;
use crate::log::read::ReadHint;
use crate::retry::redrive::{Counts, Job, Plan, Progress, State};
use crate::shard::retry::copy::{CopySet, NewCopy, Task};
use crate::shard::retry::reader::Unreadable;

/// Bytes of one copy set.
const SET_BYTES: usize = 1 << 20;
/// Records of one step, unless a rate allows fewer.
const STEP_RECORDS: usize = 10_000;
/// How far the stored position may lag behind.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Until what can't be done now is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Steps of a limited rate in a second.
const STEPS_PER_SECOND: u32 = 10;

/// Looks after a job until nothing is left to do, or the broker stops.
pub(super) async fn look_after(redrives: Arc<Redrives>, id: Uuid) {
    let mut told = String::new();
    while !redrives.leave(id) {
        let Ok(job) = redrives.now(id) else { return };
        let done = match job.state {
            State::Running => Work::new(&redrives, id, job.plan).until_it_rests().await,
            _ => end(&redrives, id, job.plan).await,
        };
        if let Err(why) = done {
            if why != told {
                tracing::warn!(job = %id, "{why}; it is tried again");
                told = why;
            }
            redrives.pause(id, TRY_AGAIN).await;
        }
    }
}

impl Redrives {
    /// Waits, but not for longer than until the job's state changes or the broker stops.
    async fn pause(&self, id: Uuid, time: Duration) {
        let changed = self.jobs.lock().get(&id).map(|entry| Arc::clone(&entry.changed));
        let mut stopping = self.stopping.subscribe();
        let Some(changed) = changed else { return };
        if *stopping.borrow_and_update() {
            return;
        }
        let news = async {
            tokio::select! {
                () = changed.notified() => {}
                _ = stopping.changed() => {}
            }
        };
        let _ = tokio::time::timeout(time, news).await;
    }
}

/// A job that is over first goes over what it may have copied and not noted: what it began is
/// finished, or the next job would copy it again.
async fn end(redrives: &Redrives, id: Uuid, plan: Plan) -> Result<(), String> {
    let mut work = Work::new(redrives, id, plan);
    while redrives.owing(id).is_some() {
        let job = redrives.now(id).ok();
        let Some(next) = job.as_ref().and_then(Job::next) else {
            redrives.quit(id);
            break;
        };
        match work.step(next).await {
            Ok(()) => {}
            Err(Stuck::Failed(_)) => redrives.quit(id),
            Err(Stuck::NotNow(why)) => return Err(why),
        }
    }
    forget(redrives, id).await
}

/// The end is made durable, then no destination need know the job's copies any more.
async fn forget(redrives: &Redrives, id: Uuid) -> Result<(), String> {
    redrives.save(id).await.map_err(|error| error.to_string())?;
    let destinations = redrives.now(id).map(|job| job.destinations).unwrap_or_default();
    let maker = Maker::Redrive(id);
    for topic in destinations {
        for partition in 0..super::partitions(&redrives.metadata.catalog(), &topic) {
            let tp = TopicPartition::new(topic.id, partition);
            if redrives.shards.registry().get(tp).is_none() {
                continue;
            }
            let forget = Task::Forget { dest: tp, maker: maker.clone() };
            let told = redrives.shards.ask_copies(forget).await;
            told.map_err(|_| "the broker stops")?.map_err(|fault| fault.to_string())?;
        }
    }
    redrives.change(id, |job| job.forgotten = true);
    redrives.save(id).await.map_err(|error| error.to_string())
}

/// A job that runs.
struct Work<'a> {
    redrives: &'a Redrives,
    id: Uuid,
    plan: Arc<Plan>,
    routes: Routes,
    bucket: Bucket,
    hint: Option<(i32, ReadHint)>,
    saved_at: Duration,
}

/// Why a step was not made.
enum Stuck {
    /// The job ends.
    Failed(String),
    NotNow(String),
}

impl From<NoWay> for Stuck {
    fn from(no_way: NoWay) -> Self {
        match no_way {
            NoWay::Never(why) => Self::Failed(why),
            NoWay::NotNow(why) => Self::NotNow(why),
        }
    }
}

impl<'a> Work<'a> {
    fn new(redrives: &'a Redrives, id: Uuid, plan: Plan) -> Self {
        let now = redrives.env.monotonic();
        Self {
            redrives,
            id,
            bucket: Bucket::new(u64::from(plan.rate), now),
            plan: Arc::new(plan),
            routes: Routes::default(),
            hint: None,
            saved_at: now,
        }
    }

    /// Works until the job does not run any more, or the broker stops.
    async fn until_it_rests(mut self) -> Result<(), String> {
        let mut stopping = self.redrives.stopping.subscribe();
        let permit = tokio::select! {
            permit = self.redrives.at_work.acquire() => permit,
            _ = stopping.changed() => return Ok(()),
        };
        let _permit = permit.map_err(|_| "the broker stops")?;
        let rested = self.work().await;
        let saved = self.redrives.save(self.id).await.map_err(|error| error.to_string());
        rested.and(saved)
    }

    async fn work(&mut self) -> Result<(), String> {
        loop {
            let Ok(job) = self.redrives.now(self.id) else { return Ok(()) };
            if job.state != State::Running || *self.redrives.stopping.borrow() {
                return Ok(());
            }
            let now_ms = self.redrives.env.wall_ms();
            let Some(next) = job.next() else {
                self.redrives.change(self.id, |job| job.finish(now_ms));
                return Ok(());
            };
            match self.step(next).await {
                Ok(()) => self.rest().await?,
                Err(Stuck::Failed(why)) => {
                    self.redrives.change(self.id, |job| job.fail(why, now_ms));
                    return Ok(());
                }
                Err(Stuck::NotNow(why)) => return Err(why),
            }
        }
    }

    /// Keeps to the rate, and stores the position from time to time.
    async fn rest(&mut self) -> Result<(), String> {
        let now = self.redrives.env.monotonic();
        if now.saturating_sub(self.saved_at) >= SAVE_EVERY {
            self.saved_at = now;
            self.redrives.save(self.id).await.map_err(|error| error.to_string())?;
        }
        let opens_at = self.bucket.opens_at(now);
        if opens_at > now {
            self.redrives.pause(self.id, opens_at - now).await;
        }
        Ok(())
    }

    async fn step(&mut self, next: &Progress) -> Result<(), Stuck> {
        let mut found = self.gather(next).await?;
        let letters = std::mem::take(&mut found.letters);
        let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
        let mut counts = Counts { copied: letters.len() as u64, ..found.counts };
        let mut owes = false;
        if !self.plan.dry_run {
            let owed = self.redrives.owe(self.id);
            counts.known = self.copy(next.partition, letters).await?;
            // Where something new was made, nothing was made behind it.
            owes = owed && counts.known == counts.copied;
            self.redrives.metrics.retry_redriven_records.add(counts.copied - counts.known);
        }
        let now = self.redrives.env.monotonic();
        self.bucket.take(counts.copied, now);
        self.hint = found.hint.map(|hint| (next.partition, hint));
        let redriven = if self.plan.dry_run { Vec::new() } else { offsets };
        self.redrives.advance(self.id, next.partition, found.position, counts, redriven);
        if !owes {
            self.redrives.quit(self.id);
        }
        Ok(())
    }

    async fn gather(&self, next: &Progress) -> Result<Gathered, Stuck> {
        let tp = TopicPartition::new(self.plan.source.id, next.partition);
        let Some(partition) = self.redrives.shards.registry().get(tp) else {
            return Err(Stuck::Failed(format!("topic {} is gone", self.plan.source.name)));
        };
        let per_step = match self.plan.rate {
            0 => STEP_RECORDS,
            rate => (rate.div_ceil(STEPS_PER_SECOND) as usize).min(STEP_RECORDS),
        };
        let inflated_bytes = self.redrives.most_inflated_bytes;
        let limits = Limits { records: per_step, inflated_bytes };
        let (plan, redriven) = (Arc::clone(&self.plan), Arc::clone(&self.redrives.redriven));
        let stretch = (next.position, next.end);
        let hint = self.hint.filter(|(of, _)| *of == next.partition).map(|(_, hint)| hint);
        let found = tokio::task::spawn_blocking(move || {
            let is_redriven = |offset| redriven.read().contains(tp, offset);
            gather(&partition.view, &plan, stretch, hint, limits, is_redriven)
        });
        match found.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error @ (Unreadable::Log(_) | Unreadable::Batch { .. }))) => {
                let name = &self.plan.source.name;
                Err(Stuck::Failed(format!("{name}-{}: {error}", next.partition)))
            }
            Err(panic) => Err(Stuck::NotNow(panic.to_string())),
        }
    }

    /// Whether a record without a key would be lost there.
    fn is_compacted(&self, tp: TopicPartition) -> bool {
        let served = self.redrives.shards.registry().get(tp);
        served.is_some_and(|partition| partition.rules.load().batch.compacted)
    }

    /// Copies letters; gives how many were there before.
    async fn copy(&mut self, own: i32, letters: Vec<Outgoing>) -> Result<u64, Stuck> {
        let source = TopicPartition::new(self.plan.source.id, own);
        let mut by_place: BTreeMap<TopicPartition, Vec<NewCopy>> = BTreeMap::new();
        let mut topics = BTreeSet::new();
        for letter in letters {
            let (topic, tp) = self.routes.of(self.redrives, &self.plan, &letter.from, own).await?;
            if letter.record.key.is_none() && self.is_compacted(tp) {
                let why = format!(
                    "topic {} is compacted, and the dead letter at {own}:{} has no key",
                    topic.name, letter.offset
                );
                return Err(Stuck::Failed(why));
            }
            if !topics.contains(&topic) {
                topics.insert(topic);
            }
            let maker = Maker::Redrive(self.id);
            let origin = Origin { maker, tp: source, offset: letter.offset };
            let copy = NewCopy { origin, due: Due::After(0), plain: true, record: letter.record };
            by_place.entry(tp).or_default().push(copy);
        }
        let heads_for = |job: &mut Job| topics.iter().filter(|topic| job.heads_for(topic)).count();
        if self.redrives.change(self.id, heads_for) > Some(0) {
            // Else nobody would know after a crash who is to forget the job.
            let saved = self.redrives.save(self.id).await;
            saved.map_err(|error| Stuck::NotNow(error.to_string()))?;
        }
        let sets = by_place.into_iter().flat_map(|(dest, copies)| sets(dest, copies));
        let sent: Vec<_> = sets.map(|set| self.redrives.shards.copy(set)).collect();
        let mut known = 0;
        for copied in sent {
            let copied = copied.await.map_err(|_| Stuck::NotNow("the broker stops".to_owned()))?;
            let copied = copied.map_err(|fault| Stuck::NotNow(fault.to_string()))?;
            known += u64::from(copied.known);
        }
        Ok(known)
    }
}

/// Copies to one place in sets of a bounded size, in their order.
fn sets(dest: TopicPartition, copies: Vec<NewCopy>) -> Vec<CopySet> {
    let mut sets: Vec<CopySet> = Vec::new();
    let mut room = 0;
    for copy in copies {
        let bytes = copy.record.size_bytes();
        match sets.last_mut() {
            Some(set) if bytes <= room => {
                room -= bytes;
                set.copies.push(copy);
            }
            _ => {
                room = SET_BYTES.saturating_sub(bytes);
                sets.push(CopySet { dest, also: None, copies: vec![copy] });
            }
        }
    }
    sets
}
