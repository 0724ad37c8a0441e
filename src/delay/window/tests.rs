use super::*;
use crate::delay::ids::hash64;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn slot(due_ms: i64, ticket: i64) -> Slot {
    Slot {
        key: Key::new(due_ms, ticket),
        asked_due_ms: due_ms - due_ms % 3,
        accepted_ms: due_ms / 2,
        base_timestamp_ms: if ticket % 7 == 0 { i64::MIN } else { due_ms / 2 - 40 },
        expires_at_ms: if ticket % 5 == 0 { due_ms + 1_000 } else { i64::MAX },
        position: ticket.unsigned_abs() as u32 * 10,
        bytes: 100 + (ticket % 50) as u32,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { due_ms: i64, skip: i64, count: i64 },
    Remove(prop::sample::Index),
    Pass(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let push = (0..1_000_i64, 0..3_i64, prop_oneof![3 => 1..20_i64, 1 => 500..1_500_i64])
        .prop_map(|(due_ms, skip, count)| Step::Push { due_ms, skip, count });
    prop_oneof![
        4 => push,
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => any::<prop::sample::Index>().prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn a_window_is_a_sorted_map(steps in prop::collection::vec(step(), 1..60), base in 0..1_000_i64) {
        let mut window = Window::new(base);
        let mut model: BTreeMap<Key, Slot> = BTreeMap::new();
        let mut gone = Vec::new();
        let (mut next, mut w) = (base, Key::MIN);
        for step in steps {
            match step {
                Step::Push { due_ms, skip, count } => {
                    next += skip;
                    for n in 0..count {
                        let slot = slot((due_ms + n % 3 * 100).max(w.due_ms), next);
                        window.push(&slot, Some(hash64(&next.to_be_bytes())));
                        model.insert(slot.key, slot);
                        next += 1;
                    }
                }
                Step::Remove(at) if !model.is_empty() => {
                    let key = *model.keys().nth(at.index(model.len())).unwrap();
                    prop_assert_eq!(window.remove(key.ticket), model.remove(&key));
                    prop_assert_eq!(window.remove(key.ticket), None);
                    gone.push(key);
                }
                Step::Pass(at) if !model.is_empty() => {
                    w = *model.keys().nth(at.index(model.len())).unwrap();
                    window.pass(w);
                    let rest = model.split_off(&Key::new(w.due_ms, w.ticket + 1));
                    gone.extend(model.keys());
                    model = rest;
                }
                Step::Remove(_) | Step::Pass(_) => {}
            }
            prop_assert_eq!(window.first(), model.keys().next().copied());
        }
        let all: Vec<Slot> = model.values().copied().collect();
        prop_assert_eq!(window.after(Key::MIN).collect::<Vec<_>>(), all.clone());
        prop_assert_eq!(window.snapshot().sorted().collect::<Vec<_>>(), all.clone());
        let middle = Key::new(500, base + 100);
        let behind: Vec<Slot> = all.iter().filter(|slot| slot.key > middle).copied().collect();
        prop_assert_eq!(window.after(middle).collect::<Vec<_>>(), behind);
        let live = Totals {
            records: all.len() as u64,
            bytes: all.iter().map(|slot| u64::from(slot.bytes)).sum(),
        };
        prop_assert_eq!(window.live(), live);
        for slot in &all {
            let hash = hash64(&slot.key.ticket.to_be_bytes());
            prop_assert_eq!(window.find(slot.key.ticket), Some(Found::Pending(*slot)));
            prop_assert!(window.candidates(hash).any(|found| found == Found::Pending(*slot)));
        }
        for key in gone {
            let found = window.find(key.ticket);
            prop_assert!(matches!(found, Some(Found::Out(slot)) if slot.is_none_or(|slot| slot.key == key)));
        }
        prop_assert_eq!(window.find(base - 1), None);
        prop_assert_eq!(window.find(next), None);
    }
}

#[test]
fn a_snapshot_keeps_what_was_pending_then() {
    let mut window = Window::new(0);
    (0..3_000).for_each(|ticket| window.push(&slot(3_000 - ticket, ticket), None));
    window.remove(5);
    let snapshot = window.snapshot();
    window.remove(6);
    window.pass(Key::new(2_000, 5_000));
    assert_eq!(snapshot.sorted().len(), 2_999);
    assert!(snapshot.sorted().map(|slot| slot.key).is_sorted());
    assert_eq!(snapshot.live().records, 2_999);
    assert_eq!(window.live().records, 998);
}

#[test]
fn an_entry_takes_48_bytes_and_its_block_is_freed() {
    const ENTRIES: i64 = 1 << 20;
    let mut window = Window::new(0);
    (0..ENTRIES).for_each(|ticket| window.push(&plain(5_000, ticket), None));
    let bytes = window.memory_bytes() as i64;
    assert!(bytes <= 49 * ENTRIES, "{bytes}");
    window.pass(Key::new(5_000, ENTRIES));
    assert!(window.memory_bytes() < 300 << 10, "{}", window.memory_bytes());

    let mut window = Window::new(0);
    for ticket in 0..ENTRIES {
        let scattered = ticket.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF;
        window.push(&plain(scattered, ticket), Some(hash64(&ticket.to_be_bytes())));
    }
    window.first();
    let bytes = window.memory_bytes() as i64;
    assert!(bytes <= 72 * ENTRIES, "{bytes}");
}

fn plain(due_ms: i64, ticket: i64) -> Slot {
    Slot {
        key: Key::new(due_ms, ticket),
        asked_due_ms: due_ms,
        accepted_ms: 7,
        base_timestamp_ms: 7,
        expires_at_ms: i64::MAX,
        position: 0,
        bytes: 100,
    }
}
