//! The cleaner's settings as typed data. Those that may change at run time are read anew for
//! every round.

use std::time::Duration;

use super::layers::{BrokerConfig, Reader};

/// What is in force for compaction as a whole. Field names are the keys', less `log.cleaner`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerSettings {
    pub enable: bool,
    pub threads: u32,
    /// Memory for the maps of all threads together.
    pub dedupe_buffer_bytes: usize,
    /// Share of that memory which keys may take.
    pub io_buffer_load_factor: f64,
    /// Bytes read and written per second, by all threads together.
    pub io_max_bytes_per_second: f64,
    /// Wait of a thread that found nothing to do.
    pub backoff: Duration,
}

impl CleanerSettings {
    #[must_use]
    pub fn resolve(config: &BrokerConfig) -> Self {
        let read = Reader::broker(config);
        let size = |name| u64::try_from(read.long(name)).unwrap_or(0);
        Self {
            enable: read.boolean("log.cleaner.enable"),
            threads: read.count("log.cleaner.threads"),
            dedupe_buffer_bytes: usize::try_from(size("log.cleaner.dedupe.buffer.size"))
                .unwrap_or(usize::MAX),
            io_buffer_load_factor: read.double("log.cleaner.io.buffer.load.factor"),
            io_max_bytes_per_second: read.double("log.cleaner.io.max.bytes.per.second"),
            backoff: Duration::from_millis(size("log.cleaner.backoff.ms")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_kafkas_and_what_is_set_at_run_time_wins() {
        let mut config = BrokerConfig::default();
        let settings = CleanerSettings::resolve(&config);
        assert!(settings.enable && settings.threads == 1);
        assert_eq!(settings.dedupe_buffer_bytes, 128 << 20);
        assert_eq!(settings.backoff, Duration::from_secs(15));
        assert_eq!(settings.io_max_bytes_per_second, f64::MAX);
        config.statics.insert("log.cleaner.backoff.ms".into(), "5".into());
        config.dynamic_default.insert("log.cleaner.backoff.ms".into(), "7".into());
        assert_eq!(CleanerSettings::resolve(&config).backoff, Duration::from_millis(7));
    }
}
