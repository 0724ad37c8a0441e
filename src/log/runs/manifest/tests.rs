use proptest::prelude::*;

use super::*;
use crate::base::ids::{TopicPartition, Uuid};
use crate::delay::copies::{Maker, Origin};
use crate::store::memory::MemoryFiles;

fn any_key() -> impl Strategy<Value = Key> {
    any::<(i64, i64)>().prop_map(|(due_ms, ticket)| Key { due_ms, ticket })
}

fn any_slice() -> impl Strategy<Value = SliceMeta> {
    (any::<(u32, u32)>(), any::<(u64, u64)>(), any_key(), any_key()).prop_map(
        |((number, entries), (record_bytes, file_bytes), first, last)| SliceMeta {
            number,
            entries,
            record_bytes,
            file_bytes,
            first,
            last,
        },
    )
}

fn any_run() -> impl Strategy<Value = RunMeta> {
    let slices = prop::collection::vec(any_slice(), 0..4);
    (any::<(u64, u8, u64, u64)>(), any::<(i64, i64)>(), slices).prop_map(
        |((id, tier, ids, tickets), (first_ticket, last_ticket), slices)| RunMeta {
            id,
            tier,
            ids,
            tickets,
            first_ticket,
            last_ticket,
            slices,
        },
    )
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let cancelled = prop::collection::vec(any::<u64>(), 0..50);
    let runs = prop::collection::vec(any_run(), 0..5);
    let copied = prop::collection::vec((0..3_u128, 0..9_i64), 0..9);
    (any::<(i64, u64, u64, i64, u64)>(), any_key(), cancelled, copied, runs).prop_map(
        |(
            (sealed, pending_records, pending_bytes, clock_ms, next_run),
            released,
            cancelled,
            copied,
            runs,
        )| {
            let mut copies = Copies::default();
            for (topic, offset) in copied {
                let tp = TopicPartition::new(Uuid::from_u128(topic), 1);
                copies.insert(&Origin { maker: Maker::Expired, tp, offset });
            }
            Manifest {
                sealed,
                released,
                pending_records,
                pending_bytes,
                clock_ms,
                cancelled: cancelled.into_iter().collect(),
                copies: Arc::new(copies),
                next_run,
                runs,
            }
        },
    )
}

proptest! {
    #[test]
    fn manifests_round_trip(first in any_manifest(), second in any_manifest()) {
        let files = MemoryFiles::new();
        let dir = Path::new("/data/topic-0/delay");
        files.create_dir(dir).unwrap();
        prop_assert!(Manifest::read(&files, dir).unwrap().is_none());
        for manifest in [first, second] {
            manifest.write(&files, dir).unwrap();
            prop_assert_eq!(Manifest::read(&files, dir).unwrap().unwrap(), manifest);
        }
    }

    #[test]
    fn a_changed_or_cut_manifest_is_not_believed(
        manifest in any_manifest(),
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let whole = manifest.encode();
        let at = at.index(whole.len());
        let mut changed = whole.clone();
        changed[at] ^= mask;
        prop_assert!(Manifest::decode(&changed).is_err());
        prop_assert!(Manifest::decode(&whole[..at]).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_reserve(
        manifest in any_manifest(),
        at in any::<prop::sample::Index>(),
        changed in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut bytes = manifest.encode();
        let at = 12 + at.index(bytes.len() - 12);
        for (byte, change) in bytes[at..].iter_mut().zip(changed) {
            *byte = change;
        }
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        drop(Manifest::decode(&bytes));
    }
}

#[test]
fn a_manifest_from_before_there_were_copies_is_read() {
    let manifest = Manifest { sealed: 7, ..Manifest::default() };
    let mut bytes = manifest.encode();
    bytes.truncate(bytes.len() - Copies::default().encode().len());
    bytes[8] = VERSION_WITHOUT_COPIES as u8;
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
}
