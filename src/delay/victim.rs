//! What became of the entry that a record in the journal was aimed at, as the value of the
//! record's header `klamm.internal.victim`.
//!
//! ```text
//! <effective due ms>:<ticket>:<bytes>   taken out by this cancel or replace
//! same                                  a second record with a pending id and the same content:
//!                                       nothing became pending
//! late                                  a cancel whose target had been released
//! none                                  a cancel without a target
//! ```
//!
//! A replay reads the outcome here and decides nothing again, so it needs no record but those
//! of the journal above its starting point.

use super::key::Key;

/// Longest value.
const MOST_BYTES: usize = 20 + 1 + 20 + 1 + 10;

/// The outcome of a record that named another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This entry is no longer pending.
    Entry(Taken),
    Same,
    Late,
    None,
}

/// An entry that was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub key: Key,
    /// What it counted for in the pending bytes.
    pub bytes: u32,
}

impl Victim {
    /// The header's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Entry(Taken { key, bytes }) => {
                format!("{}:{}:{bytes}", key.due_ms, key.ticket).into_bytes()
            }
            Self::Same => b"same".to_vec(),
            Self::Late => b"late".to_vec(),
            Self::None => b"none".to_vec(),
        }
    }

    /// The inverse of [`Victim::encode`]; `None` for anything that it does not write.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"same" => return Some(Self::Same),
            b"late" => return Some(Self::Late),
            b"none" => return Some(Self::None),
            _ if value.len() > MOST_BYTES => return None,
            _ => {}
        }
        let mut fields = std::str::from_utf8(value).ok()?.split(':');
        let key = Key::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let victim = Self::Entry(Taken { key, bytes: fields.next()?.parse().ok()? });
        // Also refuses forms such as `+1`, which parse too.
        (fields.next().is_none() && victim.encode() == value).then_some(victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outcomes_survive_the_header(due_ms: i64, ticket: i64, bytes: u32) {
            let victim = Victim::Entry(Taken { key: Key::new(due_ms, ticket), bytes });
            prop_assert_eq!(Victim::parse(&victim.encode()), Some(victim));
            prop_assert!(victim.encode().len() <= MOST_BYTES);
        }

        #[test]
        fn any_bytes_are_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(victim) = Victim::parse(&value) {
                prop_assert_eq!(victim.encode(), value);
            }
        }
    }

    #[test]
    fn words_and_near_misses() {
        for victim in [Victim::Same, Victim::Late, Victim::None] {
            assert_eq!(Victim::parse(&victim.encode()), Some(victim));
        }
        for wrong in ["", "nope", "1:2", "1:2:3:4", "1:2:-3", "+1:2:3", "1: 2:3", "01:2:3"] {
            assert_eq!(Victim::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
