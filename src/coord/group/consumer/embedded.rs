//! What consumers of the classic protocol put into its opaque fields (`ConsumerProtocolSubscription`
//! and `ConsumerProtocolAssignment`), as far as a group that changes over must read and write it.
//!
//! ```text
//! subscription  version i16 · topics [text] · user data bytes|null
//!               v1 owned [topic text · partitions [i32]] · v2 generation i32 · v3 rack text|null
//! assignment    version i16 · [topic text · partitions [i32]] · user data bytes|null
//! ```
//! Lengths of text are i16, other lengths i32; below zero is null. What a newer version adds stands
//! behind what is read here.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::cursor::{Cursor, Short};

/// The newest version that is written.
const NEWEST: i16 = 3;

/// Partitions by a topic's name.
pub(super) type Named = Vec<(Arc<str>, Vec<i32>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) version: i16,
    pub(super) topics: Vec<Arc<str>>,
    pub(super) owned: Named,
    pub(super) rack_id: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) partitions: Named,
    /// The client's own assignor left a note, which only it understands.
    pub(super) has_user_data: bool,
}

/// Reads a subscription; `None` for what is none.
pub(super) fn subscription(bytes: &[u8]) -> Option<Subscription> {
    read_subscription(&mut Cursor::new(bytes)).ok()
}

/// Reads an assignment; `None` for what is none. No bytes are no partitions.
pub(super) fn assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment { partitions: Vec::new(), has_user_data: false });
    }
    read_assignment(&mut Cursor::new(bytes)).ok()
}

/// Writes an assignment for a member with a subscription of this version.
pub(super) fn encode_assignment(version: i16, partitions: &Named) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version.clamp(0, NEWEST));
    put_count(&mut out, partitions.len());
    for (topic, of) in partitions {
        out.put_i16(i16::try_from(topic.len()).expect("names are at most 249 bytes"));
        out.put_slice(topic.as_bytes());
        put_count(&mut out, of.len());
        of.iter().for_each(|partition| out.put_i32(*partition));
    }
    out.put_i32(-1);
    out.freeze()
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).expect("a topic has at most i32::MAX partitions"));
}

fn read_subscription(cursor: &mut Cursor<'_>) -> Result<Subscription, Short> {
    let version = cursor.i16()?;
    if version < 0 {
        return Err(Short);
    }
    let topics = list(cursor, |cursor| text(cursor)?.ok_or(Short))?;
    bytes(cursor)?;
    let owned = if version >= 1 { named(cursor)? } else { Vec::new() };
    if version >= 2 {
        cursor.i32()?;
    }
    // librdkafka writes an empty text for no rack.
    let rack_id = if version >= 3 { text(cursor)?.filter(|rack| !rack.is_empty()) } else { None };
    Ok(Subscription { version, topics, owned, rack_id })
}

fn read_assignment(cursor: &mut Cursor<'_>) -> Result<Assignment, Short> {
    if cursor.i16()? < 0 {
        return Err(Short);
    }
    let partitions = named(cursor)?;
    let has_user_data = bytes(cursor)?.is_some_and(|data| !data.is_empty());
    Ok(Assignment { partitions, has_user_data })
}

fn named(cursor: &mut Cursor<'_>) -> Result<Named, Short> {
    list(cursor, |cursor| Ok((text(cursor)?.ok_or(Short)?, list(cursor, Cursor::i32)?)))
}

/// Nothing is reserved for a count from outside: each element takes bytes that must be there.
fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    mut one: impl FnMut(&mut Cursor<'a>) -> Result<T, Short>,
) -> Result<Vec<T>, Short> {
    let mut out = Vec::new();
    for _ in 0..cursor.i32()? {
        out.push(one(cursor)?);
    }
    Ok(out)
}

fn text(cursor: &mut Cursor<'_>) -> Result<Option<Arc<str>>, Short> {
    let Ok(length) = usize::try_from(cursor.i16()?) else { return Ok(None) };
    let text = std::str::from_utf8(cursor.take(length)?).map_err(|_| Short)?;
    Ok(Some(Arc::from(text)))
}

fn bytes<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Short> {
    let Ok(length) = usize::try_from(cursor.i32()?) else { return Ok(None) };
    cursor.take(length).map(Some)
}

/// A subscription as a client writes it.
#[cfg(test)]
pub(super) fn encode_subscription(version: i16, topics: &[&str], owned: &Named) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    put_count(&mut out, topics.len());
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).unwrap());
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    if version >= 1 {
        let assignment = encode_assignment(0, owned);
        out.put_slice(&assignment[2..assignment.len() - 4]);
    }
    if version >= 2 {
        out.put_i32(-1);
    }
    if version >= 3 {
        out.put_i16(-1);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named() -> impl Strategy<Value = Named> {
        let topic = ("[a-z.]{1,9}", prop::collection::vec(any::<i32>(), 0..5));
        prop::collection::vec(topic.prop_map(|(name, of)| (Arc::from(name), of)), 0..4)
    }

    proptest! {
        #[test]
        fn assignments_survive_writing(version in 0_i16..6, partitions in named()) {
            let bytes = encode_assignment(version, &partitions);
            let expected = Assignment { partitions, has_user_data: false };
            prop_assert_eq!(assignment(&bytes), Some(expected));
        }

        #[test]
        fn subscriptions_survive_writing(version in 0_i16..4, owned in named()) {
            let bytes = encode_subscription(version, &["a", "b"], &owned);
            let read = subscription(&bytes).unwrap();
            prop_assert_eq!(read.version, version);
            prop_assert_eq!(read.topics, [Arc::from("a"), Arc::from("b")]);
            prop_assert_eq!(read.owned, if version >= 1 { owned } else { Vec::new() });
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (subscription(&bytes), assignment(&bytes));
        }
    }

    #[test]
    fn a_note_of_the_clients_assignor_is_seen() {
        let mut bytes = BytesMut::from(&encode_assignment(0, &Vec::new())[..6]);
        bytes.put_i32(1);
        bytes.put_u8(7);
        assert!(assignment(&bytes).unwrap().has_user_data);
        assert!(!assignment(&[]).unwrap().has_user_data);
        assert_eq!(assignment(&bytes[..9]), None);
    }
}
