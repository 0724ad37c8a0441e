//! Kafka's broker keys that Klamm does not have.
//!
//! An existing `server.properties` starts: keys of this list are left out with one warning.
//! Anything else unknown is a typo and refused. What an operator must not believe to be in
//! force, such as an authorizer, is refused too.

/// Whole families, by their beginning.
const FAMILIES: &[&str] = &[
    "config.providers",
    "controlled.shutdown.",
    "controller.",
    "delegation.token.",
    "group.share.",
    "group.streams.",
    "initial.broker.registration.",
    "inter.broker.",
    "kafka.metrics.",
    "leader.imbalance.",
    "listener.name.",
    "metadata.",
    "metric",
    "password.encoder.",
    "quota.",
    "remote.log.",
    "replica.",
    "replication.quota.",
    "rlmm.config.",
    "rsm.config.",
    "sasl.",
    "security.",
    "share.",
    "ssl.",
    "telemetry.",
    "transaction.",
    "transactional.",
    "zookeeper.",
];

const KEYS: &[&str] = &[
    "add.partitions.to.txn.retry.backoff.max.ms",
    "add.partitions.to.txn.retry.backoff.ms",
    "alter.config.policy.class.name",
    "alter.log.dirs.replication.quota.window.num",
    "alter.log.dirs.replication.quota.window.size.seconds",
    "auto.include.jmx.reporter",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.heartbeat.interval.ms",
    "broker.id.generation.enable",
    "broker.session.timeout.ms",
    "client.quota.callback.class",
    "connection.failed.authentication.delay.ms",
    "connections.max.reauth.ms",
    "cordoned.log.dirs",
    "create.topic.policy.class.name",
    "delete.records.purgatory.purge.interval.requests",
    "early.start.listeners",
    "fetch.purgatory.purge.interval.requests",
    "follower.fetch.last.tiered.offset.enable",
    "group.coordinator.append.linger.ms",
    "group.coordinator.background.threads",
    "group.coordinator.cached.buffer.max.bytes",
    "group.coordinator.threads",
    "log.cleaner.io.buffer.size",
    "log.dir.failure.timeout.ms",
    "log.flush.scheduler.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "max.connection.creation.rate",
    "max.connections.per.ip.overrides",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offsets.commit.timeout.ms",
    "offsets.load.buffer.size",
    "principal.builder.class",
    "process.roles",
    "producer.id.expiration.check.interval.ms",
    "producer.purgatory.purge.interval.requests",
    "queued.max.requests",
    "request.timeout.ms",
    "reserved.broker.max.id",
    "socket.connection.setup.timeout.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// Whether Kafka knows the key and Klamm has nothing for it to act on.
pub(super) fn is_foreign(name: &str) -> bool {
    KEYS.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Keys whose silent loss would leave the broker more open than its operator believes.
pub(super) fn is_protective(name: &str) -> bool {
    ["authorizer.class.name", "super.users", "allow.everyone.if.no.acl.found"].contains(&name)
}
