//! Groups in `/metrics`: the coordinators are asked at the moment of a scrape, and never count
//! anything per topic or partition on the way of a request.

use super::Groups;
use crate::base::ids::TopicPartition;
use crate::base::metrics::{Text, sampled};
use crate::coord::group::survey::{CommittedOffset, Survey};
use crate::coord::group::{Command, Reply};

/// Series of lag in one scrape. What is beyond is counted, by `klamm_group_lag_left_out`.
const MOST_LAGS: usize = 10_000;

impl Groups {
    /// What all coordinators of this node know now, those that are ready.
    pub async fn survey(&self) -> Survey {
        let asked = self.ask_all(|| Command::Survey { most_offsets: MOST_LAGS });
        let mut all = Survey::default();
        for answer in asked.await {
            if let Ok(Reply::Survey(one)) = answer {
                all.merge(one);
            }
        }
        all.offsets.sort_unstable_by(|a, b| {
            (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition))
        });
        all.left_out += all.offsets.len().saturating_sub(MOST_LAGS) as u64;
        all.offsets.truncate(MOST_LAGS);
        all
    }

    /// Writes a survey.
    pub fn render(&self, survey: &Survey, text: &mut Text) {
        text.header(&sampled::GROUP_COUNT);
        for ((kind, state), count) in &survey.groups {
            let labels = [("type", *kind), ("state", *state)];
            text.sample(sampled::GROUP_COUNT.name, &labels, count);
        }
        text.single(&sampled::GROUP_MEMBERS, &[], survey.members);
        text.single(&sampled::GROUP_COMMITS, &[], survey.counts.commits);
        text.single(&sampled::GROUP_REBALANCES, &[], survey.counts.rebalances);
        text.single(&sampled::GROUP_STUCK, &[], survey.stuck.len());
        text.single(&sampled::GROUP_LAG_LEFT_OUT, &[], survey.left_out);
        text.header(&sampled::GROUP_LAG);
        for committed in &survey.offsets {
            if let Some(lag) = self.lag(committed) {
                let CommittedOffset { group, topic, partition, .. } = committed;
                let partition = partition.to_string();
                let labels = [("group", &**group), ("topic", topic), ("partition", &partition)];
                text.sample(sampled::GROUP_LAG.name, &labels, lag);
            }
        }
    }

    /// Records between a committed offset and the end that consumers see; `None` if the partition
    /// is not served here.
    fn lag(&self, committed: &CommittedOffset) -> Option<i64> {
        let catalog = self.metadata.catalog();
        let topic = catalog.topic(&committed.topic)?;
        let tp = TopicPartition::new(topic.id, committed.partition);
        let end = self.shards.registry().get(tp)?.view.high_watermark();
        Some(end.saturating_sub(committed.offset).max(0))
    }
}
