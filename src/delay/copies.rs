//! Copies that the broker makes of records (retries, dead letters, redriven ones), and what it
//! remembers of them: a copy is an entry of its destination's journal and names its origin, so that
//! copy and memory are one append. An origin that is remembered is not copied again.
//!
//! Value of the header `klamm.internal.copy`, the last of its record; integers are little-endian:
//!
//! ```text
//!  0 u8 version = 1   1 u8 1 plain, 0 not   2 u16 0   4 i32 source partition
//!  8 16 bytes source topic id   24 i64 source offset   32 i64 due, epoch ms
//! 40 maker: "n" and a group, "r" and 16 bytes of a redrive job's id, or "x"
//! ```
//!
//! All that is remembered, in manifests: `u32` makers of partitions, then for each
//! `u16` length and maker, 16 bytes topic id, `i32` partition, `u32` length and a 64-bit roaring
//! bitmap of source offsets in its portable form.
//!
//! Rejected: a record of the nack in a log of its own, which the copy would have to be committed
//! with, over two partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use roaring::RoaringTreemap;

use super::headers;
use crate::base::ids::{TopicPartition, Uuid};
use crate::wire::records::{Header, Record};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 40;

/// Who makes copies. Each has a memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Maker {
    /// A group that failed on the record.
    Nack(Arc<str>),
    /// A job that puts dead letters back.
    Redrive(Uuid),
    /// The release of a record that had expired.
    Expired,
}

impl Maker {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nack(group) => {
                out.push(b'n');
                out.extend_from_slice(group.as_bytes());
            }
            Self::Redrive(job) => {
                out.push(b'r');
                out.extend_from_slice(job.as_bytes());
            }
            Self::Expired => out.push(b'x'),
        }
    }

    /// The inverse of [`Maker::encode`].
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'n', group) => Some(Self::Nack(std::str::from_utf8(group).ok()?.into())),
            (b'r', job) => Some(Self::Redrive(Uuid::from_slice(job).ok()?)),
            (b'x', []) => Some(Self::Expired),
            _ => None,
        }
    }
}

/// What a copy is a copy of, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub maker: Maker,
    /// Where the record is, or was.
    pub tp: TopicPartition,
    pub offset: i64,
}

/// What a journaled copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyMark {
    pub origin: Origin,
    /// Epoch ms.
    pub due_ms: i64,
    /// It is delivered as it is, whatever its headers say: it neither expires nor is told apart.
    pub plain: bool,
}

impl CopyMark {
    /// The header's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Origin { maker, tp, offset } = &self.origin;
        let mut value = Vec::with_capacity(HEAD_BYTES + 32);
        value.extend_from_slice(&[VERSION, u8::from(self.plain), 0, 0]);
        put_tp(&mut value, *tp);
        value.put_i64_le(*offset);
        value.put_i64_le(self.due_ms);
        maker.encode(&mut value);
        value
    }

    /// The inverse of [`CopyMark::encode`]; `None` for anything that it does not write.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (mut head, maker) = value.split_at_checked(HEAD_BYTES)?;
        let plain = match head.get_u32_le().to_le_bytes() {
            [VERSION, 0, 0, 0] => false,
            [VERSION, 1, 0, 0] => true,
            _ => return None,
        };
        let tp = get_tp(&mut head);
        let (offset, due_ms) = (head.get_i64_le(), head.get_i64_le());
        let origin = Origin { maker: Maker::decode(maker)?, tp, offset };
        Some(Self { origin, due_ms, plain })
    }

    /// Of a journaled record; `None` if it is no copy.
    #[must_use]
    pub fn of(record: &Record<'_>) -> Option<Self> {
        value_of(record).and_then(Self::decode)
    }
}

/// Whether a journaled record is a copy. No client can name the header.
#[must_use]
pub fn is_copy(record: &Record<'_>) -> bool {
    value_of(record).is_some()
}

/// Whether a journaled record is a copy that is delivered as it is.
#[must_use]
pub fn is_plain(record: &Record<'_>) -> bool {
    value_of(record).is_some_and(|value| value.get(1) == Some(&1))
}

fn value_of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let is_mark = |header: &Header<'_>| header.key == headers::COPY.as_bytes();
    record.headers.iter().filter(is_mark).last()?.value
}

pub(super) fn put_tp(out: &mut Vec<u8>, tp: TopicPartition) {
    out.put_i32_le(tp.partition);
    out.extend_from_slice(tp.topic_id.as_bytes());
}

/// There are 20 bytes at least.
pub(super) fn get_tp(bytes: &mut &[u8]) -> TopicPartition {
    let partition = bytes.get_i32_le();
    let mut id = [0; 16];
    bytes.copy_to_slice(&mut id);
    TopicPartition::new(Uuid::from_bytes(id), partition)
}

/// The origins of the copies that a partition has, or had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies {
    offsets: BTreeMap<(Maker, TopicPartition), RoaringTreemap>,
}

impl Copies {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    #[must_use]
    pub fn contains(&self, origin: &Origin) -> bool {
        let Ok(offset) = u64::try_from(origin.offset) else { return false };
        // A map keyed by two owned values can't be asked with borrowed ones.
        let key = (origin.maker.clone(), origin.tp);
        self.offsets.get(&key).is_some_and(|offsets| offsets.contains(offset))
    }

    pub fn insert(&mut self, origin: &Origin) {
        if let Ok(offset) = u64::try_from(origin.offset) {
            self.offsets.entry((origin.maker.clone(), origin.tp)).or_default().insert(offset);
        }
    }

    /// Whether there is anything of this maker from that offset on.
    #[must_use]
    pub fn has_from(&self, maker: &Maker, tp: TopicPartition, from: i64) -> bool {
        let last = self.offsets.get(&(maker.clone(), tp)).and_then(RoaringTreemap::max);
        last.is_some_and(|last| last >= u64::try_from(from).unwrap_or(0))
    }

    /// Whether there is anything of this maker.
    #[must_use]
    pub fn has(&self, maker: &Maker) -> bool {
        self.offsets.keys().any(|(known, _)| known == maker)
    }

    /// Records from this offset on may be copied again.
    pub fn clear_from(&mut self, maker: &Maker, tp: TopicPartition, from: i64) {
        let from = u64::try_from(from).unwrap_or(0);
        if let Some(offsets) = self.offsets.get_mut(&(maker.clone(), tp)) {
            offsets.remove_range(from..);
        }
        self.offsets.retain(|_, offsets| !offsets.is_empty());
    }

    /// The maker makes no more copies.
    pub fn forget(&mut self, maker: &Maker) {
        self.offsets.retain(|(known, _), _| known != maker);
    }

    /// Forgets what lies below the offset at which the source begins now. `None`: it isn't known.
    pub fn trim(&mut self, begins_at: impl Fn(&Maker, TopicPartition) -> Option<i64>) {
        for ((maker, tp), offsets) in &mut self.offsets {
            if let Some(below) = begins_at(maker, *tp).and_then(|at| u64::try_from(at).ok()) {
                offsets.remove_range(..below);
            }
            offsets.optimize();
        }
        self.offsets.retain(|_, offsets| !offsets.is_empty());
    }

    /// See the module's head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32_le(count(self.offsets.len()));
        for ((maker, tp), offsets) in &self.offsets {
            let mut name = Vec::new();
            maker.encode(&mut name);
            // Group ids are 16-bit strings on the wire, and "n" is one byte more.
            out.put_u16_le(u16::try_from(name.len()).expect("a group id is below 32 KiB"));
            out.extend_from_slice(&name);
            put_tp(&mut out, *tp);
            out.put_u32_le(count(offsets.serialized_size()));
            offsets.serialize_into(&mut out).expect("memory takes what is written");
        }
        out
    }

    /// The inverse of [`Copies::encode`].
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut copies = Self::default();
        let makers = bytes.try_get_u32_le().ok()?;
        for _ in 0..makers {
            let length = usize::from(bytes.try_get_u16_le().ok()?);
            let maker = Maker::decode(take(&mut bytes, length)?)?;
            if bytes.len() < 24 {
                return None;
            }
            let tp = get_tp(&mut bytes);
            let length = usize::try_from(bytes.get_u32_le()).ok()?;
            let mut offsets = take(&mut bytes, length)?;
            let read = RoaringTreemap::deserialize_from(&mut offsets).ok()?;
            if !offsets.is_empty() {
                return None;
            }
            copies.offsets.insert((maker, tp), read);
        }
        bytes.is_empty().then_some(copies)
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("what is remembered of a partition is below 4 GiB")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn maker() -> impl Strategy<Value = Maker> {
        prop_oneof![
            "[a-zA-Zäß .]{1,20}".prop_map(|group| Maker::Nack(group.into())),
            any::<u128>().prop_map(|job| Maker::Redrive(Uuid::from_u128(job))),
            Just(Maker::Expired),
        ]
    }

    fn origin() -> impl Strategy<Value = Origin> {
        (maker(), any::<u128>(), 0..i32::MAX, 0..i64::MAX).prop_map(
            |(maker, topic, partition, offset)| {
                let tp = TopicPartition::new(Uuid::from_u128(topic), partition);
                Origin { maker, tp, offset }
            },
        )
    }

    proptest! {
        #[test]
        fn marks_survive_their_header(origin in origin(), due_ms: i64, plain: bool) {
            let mark = CopyMark { origin, due_ms, plain };
            prop_assert_eq!(CopyMark::decode(&mark.encode()), Some(mark));
        }

        #[test]
        fn any_bytes_are_a_mark_or_none(value in prop::collection::vec(0_u8..3, 0..60)) {
            if let Some(mark) = CopyMark::decode(&value) {
                prop_assert_eq!(mark.encode(), value);
            }
        }

        #[test]
        fn what_is_remembered_survives_the_manifest(
            origins in prop::collection::vec(origin(), 0..20),
        ) {
            let mut copies = Copies::default();
            origins.iter().for_each(|origin| copies.insert(origin));
            let read = Copies::decode(&copies.encode()).unwrap();
            prop_assert!(origins.iter().all(|origin| read.contains(origin)));
            prop_assert_eq!(read, copies);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Copies::decode(&bytes);
        }
    }

    fn tp(topic: u128) -> TopicPartition {
        TopicPartition::new(Uuid::from_u128(topic), 3)
    }

    fn of(group: &str, topic: u128, offset: i64) -> Origin {
        Origin { maker: Maker::Nack(group.into()), tp: tp(topic), offset }
    }

    #[test]
    fn makers_and_partitions_are_told_apart_and_cleared_alone() {
        let mut copies = Copies::default();
        for offset in 0..10 {
            copies.insert(&of("a", 1, offset));
            copies.insert(&of("b", 1, offset));
            copies.insert(&of("a", 2, offset));
        }
        let maker = Maker::Nack("a".into());
        assert!(copies.has_from(&maker, tp(1), 9) && !copies.has_from(&maker, tp(1), 10));
        copies.clear_from(&maker, tp(1), 4);
        assert!(copies.contains(&of("a", 1, 3)) && !copies.contains(&of("a", 1, 4)));
        assert!(copies.contains(&of("b", 1, 4)) && copies.contains(&of("a", 2, 4)));
        copies.clear_from(&maker, tp(1), -1);
        assert!(!copies.has_from(&maker, tp(1), 0));
        copies.forget(&maker);
        assert!(!copies.has(&maker) && copies.contains(&of("b", 1, 9)));
    }

    #[test]
    fn what_lies_below_the_log_start_is_forgotten() {
        let mut copies = Copies::default();
        (0..10).for_each(|offset| copies.insert(&of("a", 1, offset)));
        copies.insert(&of("a", 2, 5));
        copies.trim(|_, source| (source == tp(1)).then_some(7));
        assert!(!copies.contains(&of("a", 1, 6)) && copies.contains(&of("a", 1, 7)));
        assert!(copies.contains(&of("a", 2, 5)));
        copies.trim(|_, _| Some(100));
        assert!(copies.is_empty());
    }
}
