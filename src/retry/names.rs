//! What a group's retry and dead-letter topics are called, and what such a name may mean.
//!
//! A name is for people. It says nothing for sure: `retry.a.b.c` may be group `a` and topic `b.c`,
//! or group `a.b` and topic `c`. Identity is the role that the catalog keeps with the topic.
//! Rejected: escaping, which would make every name unambiguous and most of them unreadable.

use sha2::{Digest, Sha256};

use crate::base::role::RoleKind;
use crate::base::topic_name::{MAX_NAME_BYTES, is_legal};

const RETRY: &str = "retry.";
const DEAD: &str = "dlq.";

/// Hex digits of the hash that sets apart names which had to be cut or mended.
const HASH_DIGITS: usize = 8;

const fn prefix(kind: RoleKind) -> &'static str {
    match kind {
        RoleKind::Retry => RETRY,
        RoleKind::Dlq => DEAD,
    }
}

/// Names for the topic of a group, the best first: the readable one if it is legal, and the one
/// that is always legal and hardly ever taken. Without a group: for the dead letters of records
/// that expired before any group saw them.
#[must_use]
pub fn candidates(kind: RoleKind, group: Option<&str>, topic: &str) -> Vec<String> {
    let readable = readable(kind, group, topic);
    let hashed = hashed(&readable, group, topic);
    if is_legal(&readable) { vec![readable, hashed] } else { vec![hashed] }
}

fn readable(kind: RoleKind, group: Option<&str>, topic: &str) -> String {
    let prefix = prefix(kind);
    group.map_or_else(|| format!("{prefix}{topic}"), |group| format!("{prefix}{group}.{topic}"))
}

/// The readable name with what is illegal replaced, cut, and digits of SHA-256(group, 0, topic)
/// behind it.
fn hashed(readable: &str, group: Option<&str>, topic: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mended = readable.chars().map(|c| if legal(c) { c } else { '_' });
    let room = MAX_NAME_BYTES - 1 - HASH_DIGITS;
    let mut name: String = mended.take(room).collect();
    let mut hash = Sha256::new();
    hash.update(group.unwrap_or_default());
    hash.update([0]);
    hash.update(topic);
    let digest = hash.finalize();
    name.push('-');
    for byte in &digest[..HASH_DIGITS / 2] {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// A way to read a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// `None`: the whole rest of the name is the topic.
    pub group: Option<&'a str>,
    pub topic: &'a str,
}

/// Every way to read a name as a retry or dead-letter topic's; `None` if it is neither's.
#[must_use]
pub fn splits(name: &str) -> Option<(RoleKind, impl Iterator<Item = Split<'_>>)> {
    let read = |kind: RoleKind| Some((kind, name.strip_prefix(prefix(kind))?));
    let (kind, rest) = read(RoleKind::Retry).or_else(|| read(RoleKind::Dlq))?;
    let ungrouped =
        (kind == RoleKind::Dlq && !rest.is_empty()).then_some(Split { group: None, topic: rest });
    let grouped = rest.match_indices('.').filter_map(move |(at, _)| {
        let (group, topic) = (&rest[..at], &rest[at + 1..]);
        (!group.is_empty() && !topic.is_empty()).then_some(Split { group: Some(group), topic })
    });
    Some((kind, ungrouped.into_iter().chain(grouped)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The best name for a group's retries.
    fn retry(group: &str, topic: &str) -> String {
        candidates(RoleKind::Retry, Some(group), topic).swap_remove(0)
    }

    fn dead(group: &str, topic: &str) -> String {
        candidates(RoleKind::Dlq, Some(group), topic).swap_remove(0)
    }

    fn all(name: &str) -> Vec<(Option<&str>, &str)> {
        let splits = splits(name).map(|(_, splits)| splits.map(|s| (s.group, s.topic)));
        splits.into_iter().flatten().collect()
    }

    #[test]
    fn names_are_readable_where_they_can_be() {
        assert_eq!(retry("billing", "orders"), "retry.billing.orders");
        assert_eq!(dead("billing", "orders"), "dlq.billing.orders");
        let ungrouped = candidates(RoleKind::Dlq, None, "orders");
        assert_eq!(ungrouped[0], "dlq.orders");
    }

    #[test]
    fn what_is_illegal_or_taken_gets_a_hash() {
        // printf 'pay/ments\0orders' | sha256sum
        assert_eq!(retry("pay/ments", "orders"), "retry.pay_ments.orders-22952a7b");
        // printf 'billing\0orders' | sha256sum
        let second = &candidates(RoleKind::Retry, Some("billing"), "orders")[1];
        assert_eq!(second, "retry.billing.orders-3e1dbebe");
        let long = "x".repeat(240);
        let name = dead("group", &long);
        assert_eq!(name.len(), MAX_NAME_BYTES);
        assert!(name.starts_with("dlq.group.xxx") && is_legal(&name), "{name}");
        assert_ne!(dead("grünp", "t"), dead("gränp", "t"), "mended names are set apart");
    }

    #[test]
    fn a_name_has_as_many_readings_as_dots() {
        assert_eq!(all("retry.g.orders"), [(Some("g"), "orders")]);
        assert_eq!(all("retry.a.b.c"), [(Some("a"), "b.c"), (Some("a.b"), "c")]);
        assert_eq!(all("dlq.a.b"), [(None, "a.b"), (Some("a"), "b")]);
        assert_eq!(all("dlq.orders"), [(None, "orders")]);
        for neither in ["orders", "retry", "retry.", "retry.orders", "dlq.", "Retry.a.b", "xdlq.a"]
        {
            assert_eq!(all(neither), [], "{neither}");
        }
        assert_eq!(all("retry..t"), [], "no group is called nothing");
    }

    proptest! {
        #[test]
        fn whatever_the_group_all_candidates_are_legal(group in "\\PC{1,300}", topic in "[a-zA-Z0-9._-]{1,249}") {
            for kind in [RoleKind::Retry, RoleKind::Dlq] {
                let names = candidates(kind, Some(&group), &topic);
                prop_assert!(!names.is_empty() && names.iter().all(|name| is_legal(name)));
            }
        }

        #[test]
        fn a_readable_name_can_be_read_back(group in "[a-zA-Z0-9._-]{1,100}", topic in "[a-zA-Z0-9._-]{1,100}") {
            for (name, kind) in [(retry(&group, &topic), RoleKind::Retry), (dead(&group, &topic), RoleKind::Dlq)] {
                let (read, mut splits) = splits(&name).expect("it has a prefix");
                prop_assert_eq!(read, kind);
                let own = Split { group: Some(&group), topic: &topic };
                prop_assert!(splits.any(|split| split == own));
            }
        }

        #[test]
        fn any_text_is_split_or_not(name in "(retry|dlq)?\\PC{0,30}") {
            let _ = all(&name);
        }
    }
}
