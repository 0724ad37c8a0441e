//! What is pending at the moment of a scrape, asked of every partition with delayed records.

use std::time::Duration;

use crate::base::metrics::{Family, Text, sampled};
use crate::delay::clock::Reading;
use crate::delay::query::{Answer, Ask, Summary};
use crate::shard::Shards;

/// A partition's numbers under its names.
struct Row {
    topic: String,
    partition: String,
    summary: Summary,
}

/// Writes the gauges; those of partitions only if all shards answer within `patience`.
pub async fn render(shards: &Shards, patience: Duration, text: &mut Text) {
    let Reading { offset_ms, is_stepped, .. } = shards.delay().clock();
    text.single(&sampled::DELAY_CLOCK_OFFSET, &[], offset_ms as f64 / 1e3);
    text.single(&sampled::DELAY_CLOCK_STEPPED, &[], u8::from(is_stepped));
    let Ok(mut rows) = tokio::time::timeout(patience, rows(shards)).await else { return };
    rows.sort_by(|a, b| (&a.topic, &a.partition).cmp(&(&b.topic, &b.partition)));
    let mut family = |family: &Family, value: &dyn Fn(&Summary) -> Option<f64>| {
        text.header(family);
        for Row { topic, partition, summary } in &rows {
            if let Some(value) = value(summary) {
                let labels = [("topic", &**topic), ("partition", &**partition)];
                text.sample(family.name, &labels, value);
            }
        }
    };
    family(&sampled::DELAY_PENDING_RECORDS, &|summary| Some(summary.pending.records as f64));
    family(&sampled::DELAY_PENDING_BYTES, &|summary| Some(summary.pending.bytes as f64));
    family(&sampled::DELAY_NEXT_DUE, &|summary| Some(summary.next_due_ms? as f64 / 1e3));
    family(&sampled::DELAY_MEMORY_BYTES, &|summary| Some(summary.memory_bytes as f64));
}

async fn rows(shards: &Shards) -> Vec<Row> {
    let partitions = shards.registry().all();
    let delayed = partitions.iter().filter(|partition| partition.journal.load().is_some());
    let asked: Vec<_> = delayed
        .map(|partition| (partition, shards.ask_delays(partition.tp, Ask::Summary)))
        .collect();
    let mut rows = Vec::with_capacity(asked.len());
    for (partition, reply) in asked {
        // What can't be read now, or is gone, has no numbers.
        if let Ok(Answer::Summary(summary)) = reply.await {
            let (topic, index) = (partition.topic_name.clone(), partition.tp.partition);
            rows.push(Row { topic, partition: index.to_string(), summary });
        }
    }
    rows
}
