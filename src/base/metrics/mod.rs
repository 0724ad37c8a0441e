//! Everything the broker counts, in one declared list, and its Prometheus text.
//!
//! Names are `klamm_<area>_<what>_<unit>[_total]`. Labels are bounded by construction: an API, an
//! error code, a partition that exists. Counting is one relaxed atomic addition, by index where
//! there is a label: no lock, no hash, no registry of names at run time.
//! Rejected: a metrics crate's global recorder, which looks names up and hides what exists.

mod text;
mod values;

pub use text::{Family, Text};
pub use values::{Counter, Gauge, Histogram, PerApi, PerAttempt, PerCode, PerReason, REASONS};

/// Declares metrics that are kept while the broker runs: field, type, name, help.
macro_rules! declare {
    (
        $(#[$about:meta])* $group:ident
        $($field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)*
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $group { $(#[doc = $help] pub $field: $type,)* }

        impl Default for $group {
            fn default() -> Self {
                Self { $($field: $make,)* }
            }
        }

        impl $group {
            /// Writes all of them in the order of declaration.
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
    /// What connections and requests count.
    Metrics
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
    transactional_refused: Counter = Counter::default(), "klamm_api_transactional_ids_refused_total",
        "Requests for a transactional id, which is not served yet.";
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
    delay_accepted_records: Counter = Counter::default(), "klamm_delay_accepted_records_total",
        "Delayed records taken in.";
    delay_cancelled_records: Counter = Counter::default(), "klamm_delay_cancelled_records_total",
        "Delayed records taken out by a cancel.";
    delay_replaced_records: Counter = Counter::default(), "klamm_delay_replaced_records_total",
        "Delayed records taken out by one that replaces them.";
    delay_repeated_records: Counter = Counter::default(), "klamm_delay_repeated_records_total",
        "Delayed records not taken in, as the same was pending under the same id.";
    delay_cancels_too_late: Counter = Counter::default(), "klamm_delay_cancels_too_late_total",
        "Produced cancels whose target had been released.";
    delay_cancels_unknown: Counter = Counter::default(), "klamm_delay_cancels_unknown_total",
        "Produced cancels without a pending target.";
    delay_released_records: Counter = Counter::default(), "klamm_delay_released_records_total",
        "Delayed records appended to their partition's log when due.";
    delay_released_bytes: Counter = Counter::default(), "klamm_delay_released_bytes_total",
        "Bytes of the records that were released, as they were accepted.";
    delay_expired_records: Counter = Counter::default(), "klamm_delay_expired_records_total",
        "Delayed records that expired before they were released, or were lost to damage.";
    delay_late_seconds: Histogram = Histogram::of_time(), "klamm_delay_late_seconds",
        "How long after its due time a delayed record was appended to the log.";
    retry_nacks: Counter = Counter::default(), "klamm_retry_nacks_total",
        "Nacks taken, those of failures that were known included.";
    retry_retries: PerAttempt = PerAttempt::default(), "klamm_retry_retries_total",
        "Records put into a retry topic, by attempt.";
    retry_dead_letters: PerReason = PerReason::default(), "klamm_retry_dead_letters_total",
        "Records put into a dead-letter topic, by reason.";
    retry_redriven_records: Counter = Counter::default(), "klamm_retry_redriven_records_total",
        "Dead letters put back by redrive jobs.";
    coordinator_load_seconds: Histogram = Histogram::of_time(), "klamm_coordinator_load_seconds",
        "Time to build one coordinator from its partition's log.";
}

declare! {
    /// What the committer of a data directory counts.
    CommitMetrics
    submissions: Counter = Counter::default(), "klamm_commit_submissions_total",
        "Units committed together or not at all.";
    batches: Counter = Counter::default(), "klamm_commit_batches_total",
        "Record batches committed.";
    bulk_batches: Counter = Counter::default(), "klamm_commit_bulk_batches_total",
        "Record batches made durable in their segment instead of in the commit log.";
    write_seconds: Histogram = Histogram::of_time(), "klamm_commit_write_seconds",
        "Time of one commit, its wait for stable storage included.";
    write_batches: Histogram = Histogram::of_counts(), "klamm_commit_write_batches",
        "Record batches in one commit.";
    write_bytes: Histogram = Histogram::of_bytes(), "klamm_commit_write_bytes",
        "Bytes of the batches in one commit.";
    sync_seconds: Histogram = Histogram::of_time(), "klamm_commit_segment_sync_seconds",
        "Time of one sync of a segment in a commit.";
}

declare! {
    /// What compaction counts.
    CompactionMetrics
    rounds: Counter = Counter::default(), "klamm_compaction_rounds_total",
        "Rounds of compaction that came to their end.";
    read_bytes: Counter = Counter::default(), "klamm_compaction_read_bytes_total",
        "Record batch bytes read by compaction.";
    written_bytes: Counter = Counter::default(), "klamm_compaction_written_bytes_total",
        "Record batch bytes written by compaction.";
    removed_records: Counter = Counter::default(), "klamm_compaction_removed_records_total",
        "Records removed by compaction.";
    max_dirty_percent: Gauge = Gauge::default(), "klamm_compaction_max_dirty_percent",
        "Dirty share of the dirtiest log that waits for compaction.";
    last_round_seconds: Gauge = Gauge::default(), "klamm_compaction_last_round_timestamp_seconds",
        "Unix time at which a round of compaction ended last; 0: none yet.";
    uncleanable_partitions: Gauge = Gauge::default(), "klamm_compaction_uncleanable_partitions",
        "Partitions left out of compaction until the next start, as their log is damaged.";
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
    pub const DELAY_PENDING_RECORDS: Family = Family {
        name: "klamm_delay_pending_records",
        help: "Delayed records of a partition that wait.",
        kind: "gauge",
    };
    pub const DELAY_PENDING_BYTES: Family = Family {
        name: "klamm_delay_pending_bytes",
        help: "Bytes of a partition's delayed records that wait.",
        kind: "gauge",
    };
    pub const DELAY_NEXT_DUE: Family = Family {
        name: "klamm_delay_next_due_timestamp_seconds",
        help: "Unix time at which the first of a partition's delayed records is due.",
        kind: "gauge",
    };
    pub const DELAY_MEMORY_BYTES: Family = Family {
        name: "klamm_delay_memory_bytes",
        help: "Memory of a partition's index of delayed records.",
        kind: "gauge",
    };
    pub const DELAY_CLOCK_OFFSET: Family = Family {
        name: "klamm_delay_clock_offset_seconds",
        help: "Wall time less the clock by which delayed records are released.",
        kind: "gauge",
    };
    pub const DELAY_CLOCK_STEPPED: Family = Family {
        name: "klamm_delay_clock_stepped",
        help: "1 while wall time is so far off that the release clock does not follow it.",
        kind: "gauge",
    };
    pub const DEAD_LETTER_RECORDS: Family = Family {
        name: "klamm_retry_dead_letter_records",
        help: "Records of a dead-letter topic that no redrive has put back.",
        kind: "gauge",
    };
    pub const DEAD_LETTER_OLDEST: Family = Family {
        name: "klamm_retry_oldest_dead_letter_timestamp_seconds",
        help: "Unix time of the first record of a dead-letter topic that no redrive has put back.",
        kind: "gauge",
    };
    pub const REDRIVE_JOBS: Family = Family {
        name: "klamm_retry_redrive_jobs",
        help: "Redrive jobs by state; of those that are over, the last ones.",
        kind: "gauge",
    };
    pub const GROUP_STUCK: Family = Family {
        name: "klamm_group_stuck_partitions",
        help: "Committed offsets that three or more generations of their group began with.",
        kind: "gauge",
    };
    pub const GROUP_COUNT: Family =
        Family { name: "klamm_group_count", help: "Groups by type and state.", kind: "gauge" };
    pub const GROUP_MEMBERS: Family =
        Family { name: "klamm_group_members", help: "Members of all groups.", kind: "gauge" };
    pub const GROUP_COMMITS: Family = Family {
        name: "klamm_group_commits_total",
        help: "Offsets committed since the coordinators were built.",
        kind: "counter",
    };
    pub const GROUP_REBALANCES: Family = Family {
        name: "klamm_group_rebalances_total",
        help: "Rebalances of groups since the coordinators were built.",
        kind: "counter",
    };
    pub const GROUP_LAG: Family = Family {
        name: "klamm_group_lag_records",
        help: "Records that a group has not committed yet in a partition.",
        kind: "gauge",
    };
    pub const GROUP_LAG_LEFT_OUT: Family = Family {
        name: "klamm_group_lag_left_out",
        help: "Committed offsets whose lag is not shown because there are too many.",
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rendered(render: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::default();
        render(&mut text);
        text.finish()
    }

    #[test]
    fn names_follow_the_convention_and_are_declared_once() {
        let text = rendered(|text| {
            Metrics::default().render(text);
            CommitMetrics::default().render(text);
            CompactionMetrics::default().render(text);
        });
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
        let text = rendered(|text| metrics.render(text));
        assert!(text.contains("klamm_api_requests_total{api=\"Produce\"} 2\n"), "{text}");
        assert!(text.contains("klamm_api_requests_total{api=\"unknown\"} 2\n"), "{text}");
        assert!(text.contains("code=\"UnknownTopicOrPartition\"} 5\n"), "{text}");
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_in_seconds() {
        let metrics = CommitMetrics::default();
        for ms in [1, 2, 9_000] {
            metrics.write_seconds.record_time(Duration::from_millis(ms));
        }
        let text = rendered(|text| metrics.render(text));
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
