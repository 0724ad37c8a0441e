//! Dead letters at the operator's endpoint: what looks after them, from the start of serving to
//! its end.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::status::Status;
use super::storage::Storage;
use crate::base::env::Env;
use crate::base::ids::Uuid;
use crate::base::metrics::{Metrics, Text, sampled};
use crate::ops::dlq::{self, Answered};
use crate::retry::redrive::{Command, Job};
use crate::retry::view::{DeadTopic, Page, PageAsk, RedriveAsk, Refusal, Skipped, Stuck};
use crate::shard::retry::dead_letters::DeadLetters;
use crate::shard::retry::poison::{SkipDeps, Skips};
use crate::shard::retry::redrive::{RedriveDeps, Redrives};
use crate::shard::retry::steward::Steward;

/// What looks after dead letters while clients are served.
pub struct Caretakers {
    redrives: Arc<Redrives>,
    skips: Arc<Skips>,
    letters: Arc<DeadLetters>,
}

impl Caretakers {
    /// Starts them, and with them the jobs that ran when the broker ended.
    ///
    /// # Errors
    /// The metadata store's own.
    pub async fn start(
        env: &Env,
        metrics: &Arc<Metrics>,
        steward: Arc<Steward>,
        storage: &Storage,
    ) -> io::Result<Self> {
        let most_inflated_bytes = storage.defaults.max_decompressed_bytes;
        let (shards, metadata) = (Arc::clone(&storage.shards), Arc::clone(&storage.metadata));
        let (topics, served) = (Arc::clone(&metadata), Arc::clone(shards.registry()));
        let of_jobs = RedriveDeps {
            env: env.clone(),
            metrics: Arc::clone(metrics),
            shards: Arc::clone(&shards),
            metadata: Arc::clone(&metadata),
            steward: Arc::clone(&steward),
            meta: Arc::clone(&storage.meta),
            failed: storage.failed.clone(),
            most_inflated_bytes,
        };
        let of_skips = SkipDeps {
            env: env.clone(),
            shards,
            metadata,
            steward,
            meta: Arc::clone(&storage.meta),
            defaults: storage.defaults.clone(),
        };
        let defaults = storage.defaults.clone();
        let start = move || {
            let redrives = Redrives::start(of_jobs)?;
            let skips = Skips::start(of_skips)?;
            let redriven = redrives.redriven();
            let letters = DeadLetters::new(topics, served, redriven, defaults);
            Ok(Self { redrives, skips, letters })
        };
        tokio::task::spawn_blocking(start).await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    /// Nothing is copied or moved once this has returned.
    pub async fn stop(self) {
        self.redrives.stop().await;
        self.skips.stop().await;
    }

    /// For the endpoint, whose state outlives the broker's stop.
    pub fn handles(&self) -> Handles {
        Handles {
            redrives: Arc::downgrade(&self.redrives),
            skips: Arc::downgrade(&self.skips),
            letters: Arc::downgrade(&self.letters),
        }
    }
}

/// See [`Caretakers::handles`].
pub struct Handles {
    redrives: Weak<Redrives>,
    skips: Weak<Skips>,
    letters: Weak<DeadLetters>,
}

impl Handles {
    /// Writes what a scrape tells of dead letters and jobs.
    pub async fn render(&self, patience: Duration, text: &mut Text) {
        if let Some(letters) = self.letters.upgrade() {
            let look = tokio::task::spawn_blocking(move || letters.list());
            if let Ok(Ok(topics)) = tokio::time::timeout(patience, look).await {
                render_topics(&topics, text);
            }
        }
        if let Some(redrives) = self.redrives.upgrade() {
            text.header(&sampled::REDRIVE_JOBS);
            let jobs = redrives.all();
            for state in ["running", "paused", "cancelled", "done", "failed"] {
                let count = jobs.iter().filter(|job| job.state.name() == state).count();
                text.sample(sampled::REDRIVE_JOBS.name, &[("state", state)], count);
            }
        }
    }
}

fn render_topics(topics: &[DeadTopic], text: &mut Text) {
    text.header(&sampled::DEAD_LETTER_RECORDS);
    for topic in topics {
        if let Some(waiting) = topic.waiting {
            text.sample(sampled::DEAD_LETTER_RECORDS.name, &[("topic", &*topic.topic)], waiting);
        }
    }
    text.header(&sampled::DEAD_LETTER_OLDEST);
    for topic in topics {
        if let Some(oldest_ms) = topic.oldest_ms {
            let seconds = oldest_ms as f64 / 1e3;
            text.sample(sampled::DEAD_LETTER_OLDEST.name, &[("topic", &*topic.topic)], seconds);
        }
    }
}

/// An answer that is there already.
fn at_once<T: Send + 'static>(answer: Result<T, Refusal>) -> Answered<T> {
    Box::pin(async { answer })
}

/// Goes on though nobody waits for it any more.
fn by_itself<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Answered<T> {
    let work = tokio::spawn(work);
    Box::pin(async { work.await.unwrap_or_else(|error| Err(unavailable(error.to_string()))) })
}

fn on_disk<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Answered<T> {
    let look = tokio::task::spawn_blocking(look);
    Box::pin(async { look.await.unwrap_or_else(|error| Err(unavailable(error.to_string()))) })
}

fn unavailable(message: impl Into<String>) -> Refusal {
    Refusal::Unavailable(message.into())
}

impl Status {
    fn caretaker<T>(
        &self,
        which: impl FnOnce(&Handles) -> Option<Arc<T>>,
    ) -> Result<Arc<T>, Refusal> {
        self.dead_letters()
            .and_then(which)
            .ok_or_else(|| unavailable("the broker does not serve now"))
    }
}

impl dlq::DeadLetters for Status {
    fn topics(&self) -> Answered<Vec<DeadTopic>> {
        match self.caretaker(|handles| handles.letters.upgrade()) {
            Ok(letters) => on_disk(move || Ok(letters.list())),
            Err(refusal) => at_once(Err(refusal)),
        }
    }

    fn page(&self, topic: String, ask: PageAsk) -> Answered<Page> {
        match self.caretaker(|handles| handles.letters.upgrade()) {
            Ok(letters) => on_disk(move || letters.page(&topic, &ask)),
            Err(refusal) => at_once(Err(refusal)),
        }
    }

    fn begin(&self, ask: RedriveAsk) -> Answered<Job> {
        match self.caretaker(|handles| handles.redrives.upgrade()) {
            Ok(redrives) => by_itself(async move { redrives.begin(ask).await }),
            Err(refusal) => at_once(Err(refusal)),
        }
    }

    fn jobs(&self) -> Answered<Vec<Job>> {
        at_once(self.caretaker(|handles| handles.redrives.upgrade()).map(|jobs| jobs.all()))
    }

    fn job(&self, id: Uuid, patience: Duration) -> Answered<Job> {
        match self.caretaker(|handles| handles.redrives.upgrade()) {
            Ok(redrives) => Box::pin(async move { redrives.job(id, patience).await }),
            Err(refusal) => at_once(Err(refusal)),
        }
    }

    fn command(&self, id: Uuid, command: Command, by: String) -> Answered<Job> {
        match self.caretaker(|handles| handles.redrives.upgrade()) {
            Ok(redrives) => by_itself(async move { redrives.command(id, command, &by).await }),
            Err(refusal) => at_once(Err(refusal)),
        }
    }

    fn stuck(&self) -> Answered<Vec<Stuck>> {
        let Some(groups) = self.groups() else {
            return at_once(Err(unavailable("the broker does not serve now")));
        };
        Box::pin(async move {
            let stuck = groups.survey().await.stuck.into_iter().map(|stuck| Stuck {
                group: stuck.at.group.to_string(),
                topic: stuck.at.topic.to_string(),
                partition: stuck.at.partition,
                offset: stuck.at.offset,
                generations: stuck.generations,
                since_ms: stuck.since_ms,
            });
            Ok(stuck.collect())
        })
    }

    fn skip(&self, group: String, topic: String, partition: i32) -> Answered<Skipped> {
        match self.caretaker(|handles| handles.skips.upgrade()) {
            Ok(skips) => by_itself(async move { skips.skip(&group, &topic, partition).await }),
            Err(refusal) => at_once(Err(refusal)),
        }
    }
}
