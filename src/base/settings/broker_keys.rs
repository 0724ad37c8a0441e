//! The broker keys of the settings table but for the log's: identity, listeners, limits, and
//! what is Klamm's own (`durability`, `http.listeners`, `shards`, `commit.log.*`, `logging.*`).
//!
//! Defaults are Kafka's except where Kafka's would be unsafe or useless on a fresh machine:
//! listeners bind to loopback, connections and request bytes are capped, the listen backlog
//! takes a burst.

use super::spec::Spec;

pub(super) const DURABILITIES: &[&str] = &["fsync", "page-cache"];
pub(super) const LOG_FORMATS: &[&str] = &["text", "json"];
pub(super) const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

pub(super) const BROKER_KEYS: &[Spec] = &[
    Spec::list(
        "advertised.listeners",
        "",
        "Addresses that clients are told to connect to, `NAME://HOST:PORT` for each listener; \
         unset: the listeners themselves.",
    )
    .unset()
    .high(),
    Spec::boolean(
        "auto.create.topics.enable",
        "true",
        "Create a topic when a client asks for one that does not exist.",
    )
    .high(),
    Spec::int("broker.id", 0, "", "Older name of `node.id`.").unset().or(-1).high(),
    Spec::string("broker.rack", "", "Rack of this broker, as clients are told it.").unset(),
    Spec::long(
        "commit.log.file.bytes",
        1 << 20,
        "16777216",
        "Length of one file of the commit log, in bytes.",
    )
    .at_most(1 << 32)
    .low(),
    Spec::long(
        "commit.log.max.bytes",
        4 << 20,
        "536870912",
        "Length of all files of the commit log together, in bytes. A larger one means fewer \
         checkpoints and a longer start after a crash.",
    )
    .at_most(1 << 40),
    Spec::long(
        "connections.max.idle.ms",
        1,
        "600000",
        "Milliseconds after which a silent connection is closed.",
    ),
    Spec::list(
        "controller.listener.names",
        "",
        "Names among `listeners` that belong to a Kafka controller. Klamm has none and leaves \
         these out.",
    )
    .low(),
    Spec::int(
        "default.replication.factor",
        1,
        "1",
        "Replication factor of topics created without one.",
    ),
    Spec::boolean("delete.topic.enable", "true", "Whether topics may be deleted.").high(),
    Spec::words(
        "durability",
        DURABILITIES,
        "fsync",
        "What acks=all means: `fsync` is stable storage, `page-cache` survives the end of the \
         process but not of the machine.",
    )
    .high(),
    Spec::int(
        "fetch.max.bytes",
        1024,
        "57671680",
        "Most bytes returned to one Fetch, whatever it asks for.",
    ),
    Spec::list(
        "http.listeners",
        "127.0.0.1:8092",
        "Addresses of the HTTP server (health, metrics, administration), `HOST:PORT`; empty: \
         none.",
    )
    .high(),
    Spec::string(
        "inter.broker.listener.name",
        "",
        "Name of the listener between brokers. One broker talks to nobody; accepted for files \
         written for Kafka.",
    )
    .unset()
    .low(),
    Spec::string(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT",
        "Protocol of each listener name, `NAME:PROTOCOL`. Only PLAINTEXT is served.",
    )
    .low(),
    Spec::list(
        "listeners",
        "PLAINTEXT://127.0.0.1:9092",
        "Addresses that Kafka's protocol is served on, `NAME://HOST:PORT`. An empty host or \
         0.0.0.0 is every interface, port 0 a free one.",
    )
    .high(),
    Spec::list("log.dir", "./klamm-data", "Data directory, where `log.dirs` is not set.").high(),
    Spec::list("log.dirs", "", "Data directory. One for now.").unset().high(),
    Spec::words("logging.format", LOG_FORMATS, "text", "Log lines for people or as JSON.").low(),
    Spec::words("logging.level", LOG_LEVELS, "info", "Least severity of log lines.").low(),
    Spec::int(
        "max.connections",
        0,
        "2147483647",
        "Most connections at a time. Never more than the limit of open files leaves room for.",
    )
    .dynamic(),
    Spec::int(
        "max.connections.per.ip",
        0,
        "2147483647",
        "Most connections at a time from one address.",
    )
    .dynamic(),
    Spec::long(
        "max.decompressed.message.bytes",
        1024,
        "67108864",
        "Most bytes that one compressed batch may unfold to; larger ones are refused.",
    ),
    Spec::int(
        "max.incremental.fetch.session.cache.slots",
        0,
        "1000",
        "Most incremental fetch sessions kept.",
    ),
    Spec::int(
        "max.partitions",
        1,
        "200000",
        "Most partitions of all topics together; creating more is refused.",
    ),
    Spec::int(
        "max.partitions.per.topic",
        1,
        "10000",
        "Most partitions of one topic; creating more is refused.",
    ),
    Spec::int(
        "max.request.partition.size.limit",
        1,
        "2000",
        "Most partitions in one answer to DescribeTopicPartitions.",
    ),
    Spec::int("node.id", 0, "1", "Identity of this broker in the cluster.").high(),
    Spec::int("num.partitions", 1, "1", "Partitions of topics created without a count."),
    Spec::long(
        "queued.max.request.bytes",
        1 << 20,
        "268435456",
        "Most bytes of requests that are being received or worked on. Past it the broker \
         reads no further.",
    )
    .or(-1),
    Spec::int("shards", 0, "0", "Threads that own partitions; 0: as many as processors.")
        .at_most(1024),
    Spec::int("socket.listen.backlog.size", 1, "4096", "Connections that may wait to be accepted."),
    Spec::int(
        "socket.request.max.bytes",
        1024,
        "104857600",
        "Largest request, in bytes. A connection that announces a larger one is closed.",
    )
    .high(),
];
