//! Everything the broker counts, in one declared list, and its Prometheus text.
//!
//! Names are `klamm_<area>_<what>_<unit>[_total]`. Labels are bounded by construction: an API, an
//! error code, a partition that exists. Counting is one relaxed atomic addition, by index where
//! there is a label: no lock, no hash, no registry of names at run time.
//! Rejected: a metrics crate's global recorder, which looks names up and hides what exists.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::fault::Code;

/// Declares the metrics kept by the broker: field, type, name, help.
macro_rules! declare {
    ($($field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// The values; the broker has one, shared by all its parts.
        pub struct Metrics { $(#[doc = $help] pub $field: $type,)* }

        impl Default for Metrics {
            fn default() -> Self {
                Self { $($field: $make,)* }
            }
        }

        impl Metrics {
            /// Every kept metric in the order of declaration.
            pub fn render(&self, text: &mut Text) {
                $(
                    text.header(&Family { name: $name, help: $help, kind: <$type>::KIND });
                    self.$field.render($name, text);
                )*
            }
        }
    };
}

declare! {
    connections_accepted: Counter = Counter::default(), "klamm_server_connections_accepted_total",
        "Client connections accepted.";
    connections_refused: Counter = Counter::default(), "klamm_server_connections_refused_total",
        "Client connections closed at once because their address has too many.";
    accepts_failed: Counter = Counter::default(), "klamm_server_accepts_failed_total",
        "Failed attempts to accept a connection; most often out of file descriptors.";
    connections_faulty: Counter = Counter::default(), "klamm_server_connections_faulty_total",
        "Client connections closed for malformed, stalled or refused traffic.";
    received_bytes: Counter = Counter::default(), "klamm_server_received_bytes_total",
        "Request bytes received from clients.";
    sent_bytes: Counter = Counter::default(), "klamm_server_sent_bytes_total",
        "Reply bytes sent to clients.";
    requests: PerApi = PerApi::default(), "klamm_api_requests_total",
        "Requests by API.";
    errors: PerCode = PerCode::default(), "klamm_api_errors_total",
        "Errors answered to clients, by Kafka's code.";
    produce_bytes: Counter = Counter::default(), "klamm_produce_bytes_total",
        "Record batch bytes appended for producers.";
    produce_records: Counter = Counter::default(), "klamm_produce_records_total",
        "Records appended for producers.";
    fetch_bytes: Counter = Counter::default(), "klamm_fetch_bytes_total",
        "Record batch bytes handed to consumers.";
    commits: Counter = Counter::default(), "klamm_commit_writes_total",
        "Group commits written to the commit log.";
    commit_seconds: Histogram = Histogram::of_time(), "klamm_commit_write_seconds",
        "Time of one commit, its wait for stable storage included.";
    commit_bytes: Histogram = Histogram::of_bytes(), "klamm_commit_write_bytes",
        "Bytes of one commit.";
    sync_seconds: Histogram = Histogram::of_time(), "klamm_log_sync_seconds",
        "Time of one sync of a segment file.";
}

/// What is read at the moment of a scrape, from whoever knows it.
pub mod sampled {
    use super::Family;

    pub const BUILD_INFO: Family = Family {
        name: "klamm_build_info",
        help: "Always 1; the version is the label.",
        kind: "gauge",
    };
    pub const CONNECTIONS_OPEN: Family = Family {
        name: "klamm_server_connections_open",
        help: "Client connections that are open now.",
        kind: "gauge",
    };
    pub const INFLIGHT_BYTES: Family = Family {
        name: "klamm_server_inflight_bytes",
        help: "Request bytes received and not yet answered.",
        kind: "gauge",
    };
    pub const LOG_SIZE_BYTES: Family = Family {
        name: "klamm_log_size_bytes",
        help: "Bytes of a partition's segments.",
        kind: "gauge",
    };
    pub const LOG_END_OFFSET: Family =
        Family { name: "klamm_log_end_offset", help: "Next offset of a partition.", kind: "gauge" };
    pub const LOG_START_OFFSET: Family = Family {
        name: "klamm_log_start_offset",
        help: "First readable offset of a partition.",
        kind: "gauge",
    };
    pub const PROCESS_RESIDENT_BYTES: Family = Family {
        name: "klamm_process_resident_bytes",
        help: "Resident memory of the broker.",
        kind: "gauge",
    };
    pub const PROCESS_CPU_SECONDS: Family = Family {
        name: "klamm_process_cpu_seconds_total",
        help: "Processor time used by the broker, user and system.",
        kind: "counter",
    };
    pub const PROCESS_OPEN_FILES: Family = Family {
        name: "klamm_process_open_files",
        help: "File descriptors the broker has open.",
        kind: "gauge",
    };
}

/// Only ever rises.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const KIND: &str = "counter";

    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn render(&self, name: &str, text: &mut Text) {
        text.sample(name, &[], self.get());
    }
}

/// A distribution over fixed buckets, in whole base units (microseconds, bytes).
pub struct Histogram {
    /// Upper bounds, inclusive, rising.
    bounds: &'static [u64],
    /// Base units in one unit of the exposition (a second has 1e6 microseconds).
    scale: f64,
    /// One more than bounds: the last counts what is above all of them.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

const TIME_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];
const SIZE_BOUNDS_BYTES: &[u64] =
    &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];

impl Histogram {
    const KIND: &str = "histogram";

    fn of_time() -> Self {
        Self::new(TIME_BOUNDS_US, 1e6)
    }

    fn of_bytes() -> Self {
        Self::new(SIZE_BOUNDS_BYTES, 1.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, scale, counts, sum: AtomicU64::new(0) }
    }

    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn render(&self, name: &str, text: &mut Text) {
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds.iter().map(Some).chain([None])) {
            total += count.load(Ordering::Relaxed);
            let bound =
                bound.map_or("+Inf".into(), |bound| (*bound as f64 / self.scale).to_string());
            text.sample(&bucket, &[("le", &bound)], total);
        }
        text.sample(
            &format!("{name}_sum"),
            &[],
            self.sum.load(Ordering::Relaxed) as f64 / self.scale,
        );
        text.sample(&format!("{name}_count"), &[], total);
    }
}

/// API keys counted on their own; what lies above shares the last cell.
const APIS: usize = 128;

/// A counter for each API.
pub struct PerApi([Counter; APIS]);

impl Default for PerApi {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerApi {
    const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, api_key: i16) -> &Counter {
        let cell = usize::try_from(api_key).unwrap_or(APIS);
        &self.0[cell.min(APIS - 1)]
    }

    fn render(&self, name: &str, text: &mut Text) {
        for (key, counter) in (0_i16..).zip(&self.0) {
            if counter.get() > 0 {
                let api = ApiKey::try_from(key);
                let api = api.map_or("unknown".into(), |api| format!("{api:?}"));
                text.sample(name, &[("api", &api)], counter.get());
            }
        }
    }
}

/// Error codes counted on their own, from -1 on; what lies above shares the last cell.
const CODES: usize = 160;

/// A counter for each of Kafka's error codes.
pub struct PerCode([Counter; CODES]);

impl Default for PerCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerCode {
    const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, code: i16) -> &Counter {
        let cell = usize::try_from(i32::from(code) + 1).unwrap_or(CODES);
        &self.0[cell.min(CODES - 1)]
    }

    fn render(&self, name: &str, text: &mut Text) {
        for (code, counter) in (-1_i16..).zip(&self.0) {
            if counter.get() > 0 {
                let kind = Code::try_from_code(code);
                let kind = kind.map_or("none".into(), |kind| format!("{kind:?}"));
                text.sample(name, &[("code", &kind)], counter.get());
            }
        }
    }
}

/// Name, help and type of a metric.
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: &'static str,
}

/// Prometheus' text format 0.0.4, as it is being written.
#[derive(Default)]
pub struct Text(String);

impl Text {
    pub fn header(&mut self, family: &Family) {
        let Family { name, help, kind } = family;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    /// A family with a single sample.
    pub fn single(
        &mut self,
        family: &Family,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.header(family);
        self.sample(family.name, labels, value);
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(metrics: &Metrics) -> String {
        let mut text = Text::default();
        metrics.render(&mut text);
        text.finish()
    }

    #[test]
    fn names_follow_the_convention_and_are_declared_once() {
        let text = rendered(&Metrics::default());
        let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let mut names = std::collections::BTreeSet::new();
        for (name, kind) in types.iter().filter_map(|line| line.split_once(' ')) {
            assert!(name.starts_with("klamm_") && names.insert(name), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        }
        assert!(names.len() > 10);
    }

    #[test]
    fn labelled_counters_appear_by_name_and_never_out_of_bounds() {
        let metrics = Metrics::default();
        metrics.requests.of(0).add(2);
        metrics.requests.of(-7).add(1);
        metrics.requests.of(i16::MAX).add(1);
        metrics.errors.of(3).add(5);
        metrics.errors.of(i16::MIN).add(1);
        let text = rendered(&metrics);
        assert!(text.contains("klamm_api_requests_total{api=\"Produce\"} 2\n"), "{text}");
        assert!(text.contains("klamm_api_requests_total{api=\"unknown\"} 2\n"), "{text}");
        assert!(text.contains("code=\"UnknownTopicOrPartition\"} 5\n"), "{text}");
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_in_seconds() {
        let metrics = Metrics::default();
        for ms in [1, 2, 9_000] {
            metrics.commit_seconds.record_time(Duration::from_millis(ms));
        }
        let text = rendered(&metrics);
        for line in [
            "_bucket{le=\"0.001\"} 1",
            "_bucket{le=\"0.0025\"} 2",
            "_bucket{le=\"+Inf\"} 3",
            "_sum 9.003",
            "_count 3",
        ] {
            assert!(
                text.contains(&format!("klamm_commit_write_seconds{line}\n")),
                "{line}: {text}"
            );
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = Text::default();
        text.sample("m", &[("topic", "a\"b\\c\nd"), ("partition", "0")], 1);
        assert_eq!(text.finish(), "m{topic=\"a\\\"b\\\\c\\nd\",partition=\"0\"} 1\n");
    }
}
