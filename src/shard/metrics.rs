//! What the shards know at the moment of a scrape.

use super::registry::Registry;
use crate::base::metrics::{Family, Text, sampled};

/// Writes sizes and offsets of every partition.
pub fn render(registry: &Registry, text: &mut Text) {
    let mut partitions = registry.all();
    partitions
        .sort_by(|a, b| (&a.topic_name, a.tp.partition).cmp(&(&b.topic_name, b.tp.partition)));
    let mut family = |family: &Family, value: &dyn Fn(&super::registry::Partition) -> i64| {
        text.header(family);
        for partition in &partitions {
            let index = partition.tp.partition.to_string();
            let labels = [("topic", &*partition.topic_name), ("partition", &index)];
            text.sample(family.name, &labels, value(partition));
        }
    };
    family(&sampled::LOG_SIZE_BYTES, &|p| i64::try_from(p.view.size_bytes()).unwrap_or(i64::MAX));
    family(&sampled::LOG_END_OFFSET, &|p| p.view.high_watermark());
    family(&sampled::LOG_START_OFFSET, &|p| p.view.log_start());
}
