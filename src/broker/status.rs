//! What the operator's endpoint can tell at any moment of the broker's life: it is up before the
//! data directory is open, and says so.

use std::sync::{Arc, OnceLock};

use super::storage::Storage;
use crate::base::metrics::{CommitMetrics, CompactionMetrics, Metrics, Text, sampled};
use crate::ops::http::Probes;
use crate::ops::process::Usage;
use crate::server::Gauges;
use crate::shard::failed::Failed;
use crate::shard::metrics as partitions;
use crate::shard::registry::Registry;

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
    server: Gauges,
}

impl Status {
    #[must_use]
    pub fn starting() -> Arc<Self> {
        Arc::new(Self { metrics: Arc::default(), serving: OnceLock::new() })
    }

    /// Clients are served from now on.
    pub fn serving(&self, storage: &Storage, server: Gauges) {
        let serving = Serving {
            failed: storage.failed.clone(),
            registry: Arc::clone(storage.shards.registry()),
            commits: Arc::clone(storage.commits.stats()),
            compaction: Arc::clone(&storage.compaction),
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
            metrics: Box::new(move |text| metrics.render(text)),
        }
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

    fn render(&self, text: &mut Text) {
        text.single(&sampled::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.metrics.render(text);
        if let Some(serving) = self.serving.get() {
            serving.server.render(text);
            serving.commits.render(text);
            serving.compaction.render(text);
            partitions::render(&serving.registry, text);
        }
        Usage::now().render(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_still_opens_its_data_is_alive_and_not_ready() {
        let probes = Status::starting().probes();
        let reason = (probes.ready)().expect_err("nothing is served yet");
        assert!(reason.contains("being opened"), "{reason}");
        let mut text = Text::default();
        (probes.metrics)(&mut text);
        let text = text.finish();
        assert!(text.contains("klamm_build_info{version=\"") && text.contains("resident_bytes"));
    }
}
