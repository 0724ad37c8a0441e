//! What the operator's endpoint can tell at any moment of the broker's life: it is up before the
//! data directory is open, and says so.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::dead_letters::Handles;
use super::storage::Storage;
use crate::api::groups::Groups;
use crate::base::ids::TopicPartition;
use crate::base::metrics::{CommitMetrics, CompactionMetrics, Metrics, Text, sampled};
use crate::catalog::is_internal;
use crate::delay::clock::Reading;
use crate::delay::query::Ask;
use crate::ops::delays::{Asked, Delays, Place};
use crate::ops::dlq::DeadLetters;
use crate::ops::http::Probes;
use crate::ops::process::Usage;
use crate::server::Gauges;
use crate::shard::Shards;
use crate::shard::delay::gauges;
use crate::shard::failed::Failed;
use crate::shard::metadata::Metadata;
use crate::shard::metrics as partitions;
use crate::shard::registry::Registry;

/// How long a scrape waits for the shards: they wait for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shared by the broker, which fills it in as it starts, and the endpoint, which reads it.
pub struct Status {
    pub metrics: Arc<Metrics>,
    serving: OnceLock<Serving>,
}

/// What exists once clients are served.
struct Serving {
    failed: Failed,
    registry: Arc<Registry>,
    commits: Arc<CommitMetrics>,
    compaction: Arc<CompactionMetrics>,
    /// Weak: the broker's stop waits until nobody holds these any more, and the endpoint's state
    /// outlives it.
    shards: Weak<Shards>,
    metadata: Weak<Metadata>,
    dead_letters: Handles,
    server: Gauges,
}

impl Serving {
    /// `None` once the broker stops.
    fn groups(&self) -> Option<Groups> {
        Some(Groups::new(self.shards.upgrade()?, self.metadata.upgrade()?))
    }
}

impl Status {
    #[must_use]
    pub fn starting() -> Arc<Self> {
        Arc::new(Self { metrics: Arc::default(), serving: OnceLock::new() })
    }

    /// Clients are served from now on.
    pub fn serving(&self, storage: &Storage, dead_letters: Handles, server: Gauges) {
        let serving = Serving {
            failed: storage.failed.clone(),
            registry: Arc::clone(storage.shards.registry()),
            commits: Arc::clone(storage.commits.stats()),
            compaction: Arc::clone(&storage.compaction),
            shards: Arc::downgrade(&storage.shards),
            metadata: Arc::downgrade(&storage.metadata),
            dead_letters,
            server,
        };
        assert!(self.serving.set(serving).is_ok(), "the broker starts once");
    }

    /// The endpoint's questions, answered from here.
    #[must_use]
    pub fn probes(self: &Arc<Self>) -> Probes {
        let (ready, metrics) = (Arc::clone(self), Arc::clone(self));
        Probes {
            ready: Box::new(move || ready.check()),
            metrics: Box::new(move || {
                let status = Arc::clone(&metrics);
                Box::pin(async move { status.render().await })
            }),
            delays: Arc::clone(self) as Arc<dyn Delays>,
            dead_letters: Arc::clone(self) as Arc<dyn DeadLetters>,
        }
    }

    /// What looks after dead letters, once it does.
    pub(super) fn dead_letters(&self) -> Option<&Handles> {
        self.serving.get().map(|serving| &serving.dead_letters)
    }

    /// The way to the group coordinators; `None` before clients are served and after.
    pub(super) fn groups(&self) -> Option<Groups> {
        self.serving.get().and_then(Serving::groups)
    }

    fn check(&self) -> Result<(), String> {
        match self.serving.get() {
            None => Err("the data directory is being opened".to_owned()),
            Some(serving) if serving.failed.is_set() => {
                Err("the data directory has failed".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    fn shards(&self) -> Option<Arc<Shards>> {
        self.serving.get()?.shards.upgrade()
    }

    async fn render(&self) -> Text {
        let mut text = Text::default();
        let out = &mut text;
        let serving = self.serving.get();
        let groups = serving.and_then(Serving::groups);
        let survey = match &groups {
            Some(groups) => tokio::time::timeout(PATIENCE, groups.survey()).await.ok(),
            None => None,
        };
        out.single(&sampled::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.metrics.render(out);
        if let Some(serving) = serving {
            serving.server.render(out);
            serving.commits.render(out);
            serving.compaction.render(out);
            partitions::render(&serving.registry, out);
            if let Some(shards) = serving.shards.upgrade() {
                gauges::render(&shards, PATIENCE, out).await;
            }
            serving.dead_letters.render(PATIENCE, out).await;
            if let (Some(groups), Some(survey)) = (groups, survey) {
                groups.render(&survey, out);
            }
        }
        Usage::now().render(out);
        text
    }
}

impl Delays for Status {
    fn places(&self, topic: Option<&str>) -> Vec<Place> {
        let served = self.serving.get().map(|serving| serving.registry.all()).unwrap_or_default();
        let wanted = served.iter().filter(|partition| {
            topic.map_or(!is_internal(&partition.topic_name), |topic| topic == partition.topic_name)
        });
        wanted.map(|p| Place { topic: p.topic_name.clone(), tp: p.tp }).collect()
    }

    fn ask(&self, tp: TopicPartition, ask: Ask) -> Asked {
        let reply = self.shards().map(|shards| shards.ask_delays(tp, ask));
        Box::pin(async move { reply?.await.ok() })
    }

    fn clock(&self) -> Option<Reading> {
        Some(self.shards()?.delay().clock())
    }

    fn adopt_clock(&self) -> Option<Reading> {
        Some(self.shards()?.delay().adopt_clock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_that_still_opens_its_data_is_alive_and_not_ready() {
        let probes = Status::starting().probes();
        let reason = (probes.ready)().expect_err("nothing is served yet");
        assert!(reason.contains("being opened"), "{reason}");
        let text = (probes.metrics)().await.finish();
        assert!(text.contains("klamm_build_info{version=\"") && text.contains("resident_bytes"));
    }
}
