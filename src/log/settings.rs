//! What a partition log is told about sizes, times and clean-up. Plain data, handed down by value;
//! the keys in brackets are Kafka's topic or broker configs.

/// Kafka's positions and relative offsets are 31-bit; a segment never grows past them.
pub const MAX_SEGMENT_BYTES: u32 = i32::MAX as u32;

/// The widest hole within a segment: room stays for a batch behind it, in 31-bit offsets.
pub(crate) const MAX_HOLE: i64 = 1 << 30;

#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// A segment is rolled before it would grow past this (`segment.bytes`).
    pub segment_bytes: u32,
    /// A segment is rolled once its batches span this much time (`segment.ms`).
    pub segment_ms: i64,
    /// A segment is rolled when an index reaches this size (`segment.index.bytes`).
    pub segment_index_bytes: u32,
    /// One index entry per this many log bytes (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// Age at which a segment goes, by its largest timestamp; -1: never (`retention.ms`).
    pub retention_ms: i64,
    /// Size above which the oldest segments go; -1: never (`retention.bytes`).
    pub retention_bytes: i64,
    /// Wait between the renaming of a deleted file and its removal (`file.delete.delay.ms`).
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy` contains `delete`. Without it time and size delete nothing.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub cleanup_compact: bool,
    /// How long compaction keeps tombstones (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// Records younger than this are not compacted (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// Records older than this are, whatever else says no (`max.compaction.lag.ms`).
    pub max_compaction_lag_ms: i64,
    /// Share of a log that must be dirty before it is compacted (`min.cleanable.dirty.ratio`).
    pub min_cleanable_dirty_ratio: f64,
    /// Batches are stamped with the append time (`message.timestamp.type=LogAppendTime`).
    pub log_append_time: bool,
    /// Disk blocks reserved ahead of the writer of a busy segment; 0: never. Measured at
    /// 0.16-0.18 s/GB against 0.18-0.26 for a file that grows write by write.
    pub reserve_bytes: u32,
    /// A producer unheard of for this long is forgotten (`producer.id.expiration.ms`).
    pub producer_expiry_ms: i64,
    /// Most producers remembered per partition; past it the longest silent are forgotten.
    pub max_producers: usize,
}

impl Default for LogSettings {
    /// Kafka's defaults, where Kafka has the key.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            cleanup_delete: true,
            cleanup_compact: false,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            log_append_time: false,
            reserve_bytes: 16 << 20,
            producer_expiry_ms: 24 * 3_600_000,
            max_producers: 100_000,
        }
    }
}
