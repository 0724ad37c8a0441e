//! What a fetch would answer now: one look at every partition it names.
//!
//! A look costs no disk access unless it must find a position that is not in memory; such a look
//! is made again on the blocking pool ([`Depth::MayBlock`]).

use std::sync::Arc;

use super::session::{Key, TopicRef, Wanted};
use crate::api::Services;
use crate::api::reply::Chunk;
use crate::api::topics;
use crate::base::fault::{Code, Fault};
use crate::log::error::ReadError;
use crate::log::read::{self, ReadHint, Slice};
use crate::shard::registry::Partition;

/// One partition of a fetch.
pub struct Item {
    pub key: Key,
    pub wanted: Wanted,
    pub hint: Option<ReadHint>,
    pub target: Result<Arc<Partition>, Fault>,
}

impl Item {
    #[must_use]
    pub fn new(services: &Services, key: Key, wanted: Wanted, hint: Option<ReadHint>) -> Self {
        let target = match &key.0 {
            TopicRef::Name(name) => topics::by_name(services, name, key.1),
            TopicRef::Id(id) => topics::by_id(services, *id, key.1),
        };
        Self { key, wanted, hint, target }
    }
}

/// What a look found in one partition.
pub struct Look {
    pub error: Option<Code>,
    /// High watermark, last stable offset, log start offset; -1 with an error, as in Kafka.
    pub watermarks: (i64, i64, i64),
    pub diverging: Option<(i32, i64)>,
    pub slice: Option<Slice>,
}

impl Look {
    const fn failed(error: Code) -> Self {
        Self { error: Some(error), watermarks: (-1, -1, -1), diverging: None, slice: None }
    }

    /// Whether a fetch that waits must answer at once.
    fn urgent(&self) -> bool {
        self.error.is_some() || self.diverging.is_some()
    }

    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.slice.as_ref().map_or(0, |s| s.len)
    }

    #[must_use]
    pub fn records(&mut self) -> Option<Chunk> {
        let Slice { file, position, len, .. } = self.slice.take()?;
        Some(Chunk::File { file: file?, position, len })
    }
}

/// How far a look may go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Memory only.
    Memory,
    /// The disk too.
    MayBlock,
}

/// All looks of one fetch, in the order of its items.
pub struct Looks {
    pub looks: Vec<Look>,
    pub bytes: u64,
    pub urgent: bool,
}

/// Looks at every item, sharing out `max_bytes`; the first batch of the first partition that has
/// one is given whole even if it is larger (KIP-74). `None`: a position must be looked up on
/// disk.
#[must_use]
pub fn look(items: &[Item], max_bytes: u64, depth: Depth) -> Option<Looks> {
    let mut found = Looks { looks: Vec::with_capacity(items.len()), bytes: 0, urgent: false };
    for item in items {
        let look = look_at(item, max_bytes.saturating_sub(found.bytes), found.bytes == 0, depth)?;
        found.bytes += look.len_bytes();
        found.urgent |= look.urgent();
        found.looks.push(look);
    }
    Some(found)
}

fn look_at(item: &Item, room: u64, first: bool, depth: Depth) -> Option<Look> {
    let partition = match &item.target {
        Ok(partition) => partition,
        Err(fault) => return Some(Look::failed(fault.kind())),
    };
    let view = &partition.view;
    // Other than elsewhere, any negative epoch claims nothing.
    let claimed_epoch = item.wanted.current_leader_epoch.max(-1);
    let watermarks = (view.high_watermark(), view.last_stable(), view.log_start());
    if let Err(error) = topics::check_epoch(claimed_epoch, view.leader_epoch()) {
        return Some(Look::failed(error));
    }
    let wanted = &item.wanted;
    if wanted.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = view.end_offset_for_epoch(wanted.last_fetched_epoch);
        if epoch < 0 || end_offset < 0 {
            return Some(Look::failed(Code::OffsetOutOfRange));
        }
        if epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset {
            let diverging = Some((epoch, end_offset));
            return Some(Look { error: None, watermarks, diverging, slice: None });
        }
    }
    let limit = room.min(u64::try_from(wanted.max_bytes).unwrap_or(0));
    let wanted = read::Wanted {
        offset: wanted.fetch_offset,
        max_bytes: limit,
        whole_first_batch: first,
        hint: item.hint,
    };
    let read = match depth {
        Depth::Memory => view.read_hot(wanted)?,
        Depth::MayBlock => view.read(wanted),
    };
    Some(match read {
        Ok(slice) => Look { error: None, watermarks, diverging: None, slice: Some(slice) },
        Err(error) => {
            report_damage(partition, &error);
            Look::failed(Fault::from(error).kind())
        }
    })
}

fn report_damage(partition: &Partition, error: &ReadError) {
    let is_damage = !matches!(error, ReadError::OutOfRange { .. });
    if is_damage && partition.view.is_first_damage() {
        let (topic, index) = (&partition.topic_name, partition.tp.partition);
        tracing::error!("{topic}-{index}: {error}; what else is in it is served");
    }
}
