//! The settings of delayed delivery as typed data: of one topic, and of the broker.

use super::layers::{BrokerConfig, Overrides, Reader};

/// Headers that an alias may stand for: those by which clients command.
pub(super) const ALIAS_TARGETS: &[&str] = &[
    "klamm.delay",
    "klamm.deliver.at",
    "klamm.delay.id",
    "klamm.delay.replace",
    "klamm.delay.cancel",
    "klamm.delay.cancel.strict",
    "klamm.expires.at",
    "klamm.retry.schedule",
    "klamm.retry.max",
];

/// Most that may be released in a second; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseRate {
    pub records: Option<u64>,
    pub bytes: Option<u64>,
}

/// What is in force for one topic. Field names are the keys', less `delay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelaySettings {
    pub enable: bool,
    pub max_ms: i64,
    /// Of one partition; `None`: no limit.
    pub max_pending_records: Option<u64>,
    /// Of one partition; `None`: no limit.
    pub max_pending_bytes: Option<u64>,
    /// Foreign header names and the names they stand for.
    pub header_aliases: Vec<(String, String)>,
    /// `delay.unknown.headers=ignore`
    pub ignore_unknown_headers: bool,
    /// `delay.release.max.*`: of all the topic's partitions together.
    pub release_max: ReleaseRate,
    /// `delay.expired.policy=deadletter`
    pub bury_expired: bool,
}

impl DelaySettings {
    /// Resolves a topic's configs, as [`super::TopicSettings::resolve`] does.
    #[must_use]
    pub fn resolve(overrides: &Overrides, broker: &BrokerConfig) -> Self {
        let read = Reader::topic(broker, overrides);
        Self {
            enable: read.boolean("delay.enable"),
            max_ms: read.long("delay.max.ms"),
            max_pending_records: limit(&read, "delay.max.pending.records"),
            max_pending_bytes: limit(&read, "delay.max.pending.bytes"),
            header_aliases: read
                .list("delay.header.aliases")
                .iter()
                .filter_map(|entry| alias(entry))
                .collect(),
            ignore_unknown_headers: read.text("delay.unknown.headers") == "ignore",
            release_max: release_max(&read),
            bury_expired: read.text("delay.expired.policy") == "deadletter",
        }
    }
}

/// What is in force for the broker as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayStoreSettings {
    /// `delay.journal.segment.bytes`
    pub journal_segment_bytes: u32,
    /// `delay.journal.window.bytes`: memory for what is pending and not in a run, of all shards
    /// together.
    pub journal_window_bytes: u64,
    /// `delay.clock.max.step.ms`
    pub clock_max_step_ms: i64,
    /// `delay.release.max.*` of the broker: of all topics together.
    pub release_max: ReleaseRate,
}

impl DelayStoreSettings {
    #[must_use]
    pub fn resolve(config: &BrokerConfig) -> Self {
        let read = Reader::broker(config);
        Self {
            journal_segment_bytes: read.count("delay.journal.segment.bytes"),
            journal_window_bytes: read.long("delay.journal.window.bytes").unsigned_abs(),
            clock_max_step_ms: read.long("delay.clock.max.step.ms"),
            release_max: release_max(&read),
        }
    }
}

fn release_max(read: &Reader) -> ReleaseRate {
    ReleaseRate {
        records: limit(read, "delay.release.max.records.per.second"),
        bytes: limit(read, "delay.release.max.bytes.per.second"),
    }
}

/// -1 is no limit.
fn limit(read: &Reader, name: &str) -> Option<u64> {
    u64::try_from(read.long(name)).ok()
}

/// `foreign=canonical`, or nothing if the entry is not an alias. Foreign names are an
/// application's: nobody renames what is of Klamm's own family.
fn alias(entry: &str) -> Option<(String, String)> {
    let (foreign, canonical) = entry.split_once('=')?;
    let (foreign, canonical) = (foreign.trim(), canonical.trim());
    let own = foreign.to_ascii_lowercase().starts_with("klamm.");
    (!foreign.is_empty() && !own && ALIAS_TARGETS.contains(&canonical))
        .then(|| (foreign.to_owned(), canonical.to_owned()))
}

/// Whether a list's entries are aliases, and none of them has two meanings.
pub(super) fn are_aliases(entries: &[String]) -> bool {
    let aliases: Vec<_> = entries.iter().filter_map(|entry| alias(entry)).collect();
    let twice = |at: usize| aliases[..at].iter().any(|(foreign, _)| *foreign == aliases[at].0);
    aliases.len() == entries.len() && !(0..aliases.len()).any(twice)
}
