//! Names of Klamm's headers. All are lower-case; a name of the family in another case is unknown.
//!
//! *In* headers command, on the record that a client produces. *Out* headers tell, on the record
//! that is delivered; on a produced record they say nothing and are stored as sent, because
//! Streams and MirrorMaker forward headers.

pub mod value;

/// Every name of the family begins like this, in any case.
pub const FAMILY: &[u8] = b"klamm.";

pub const DELAY: &str = "klamm.delay";
pub const DELIVER_AT: &str = "klamm.deliver.at";
pub const ID: &str = "klamm.delay.id";
pub const REPLACE: &str = "klamm.delay.replace";
pub const CANCEL: &str = "klamm.delay.cancel";
pub const CANCEL_STRICT: &str = "klamm.delay.cancel.strict";
pub const EXPIRES_AT: &str = "klamm.expires.at";
pub const RETRY_SCHEDULE: &str = "klamm.retry.schedule";
pub const RETRY_MAX: &str = "klamm.retry.max";

pub const NACK_GROUP: &str = "klamm.nack.group";
pub const NACK_OFFSET: &str = "klamm.nack.offset";
pub const NACK_REASON: &str = "klamm.nack.reason";
pub const NACK_ERROR: &str = "klamm.nack.error";
pub const NACK_DELAY: &str = "klamm.nack.delay";
pub const NACK_DEAD: &str = "klamm.nack.dead";

pub const DUE: &str = "klamm.due";
pub const ACCEPTED: &str = "klamm.accepted";
pub const TICKET: &str = "klamm.ticket";
pub const RETRY_ATTEMPT: &str = "klamm.retry.attempt";
pub const RETRY_ORIGIN: &str = "klamm.retry.origin";

/// Written by the broker into its journal, never accepted from a client.
pub const VICTIM: &str = "klamm.internal.victim";
/// As [`VICTIM`]: says what the record is a copy of (`copies.rs`).
pub const COPY: &str = "klamm.internal.copy";
const INTERNAL: &[u8] = b"klamm.internal.";

/// What a header of the family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Delay,
    DeliverAt,
    Id,
    Replace,
    Cancel,
    CancelStrict,
    ExpiresAt,
    RetrySchedule,
    RetryMax,
    NackGroup,
    NackOffset,
    NackReason,
    NackError,
    NackDelay,
    NackDead,
    /// Any that the broker writes on delivered records.
    Out,
    /// `klamm.internal.`, in any case.
    Internal,
    /// Of the family, and none of the above.
    Unknown,
}

/// Every name that a client or a consumer may meet.
pub const KNOWN: [(&str, Name); 20] = [
    (DELAY, Name::Delay),
    (DELIVER_AT, Name::DeliverAt),
    (ID, Name::Id),
    (REPLACE, Name::Replace),
    (CANCEL, Name::Cancel),
    (CANCEL_STRICT, Name::CancelStrict),
    (EXPIRES_AT, Name::ExpiresAt),
    (RETRY_SCHEDULE, Name::RetrySchedule),
    (RETRY_MAX, Name::RetryMax),
    (NACK_GROUP, Name::NackGroup),
    (NACK_OFFSET, Name::NackOffset),
    (NACK_REASON, Name::NackReason),
    (NACK_ERROR, Name::NackError),
    (NACK_DELAY, Name::NackDelay),
    (NACK_DEAD, Name::NackDead),
    (DUE, Name::Out),
    (ACCEPTED, Name::Out),
    (TICKET, Name::Out),
    (RETRY_ATTEMPT, Name::Out),
    (RETRY_ORIGIN, Name::Out),
];

/// Whether a header's key is of the family. Asked of every header that is produced.
#[inline]
#[must_use]
pub fn is_member(key: &[u8]) -> bool {
    match key.first_chunk::<{ FAMILY.len() }>() {
        Some(start) => start[0] | 0x20 == FAMILY[0] && start.eq_ignore_ascii_case(FAMILY),
        None => false,
    }
}

/// What a header's key is, or nothing if it is not of the family.
#[must_use]
pub fn name(key: &[u8]) -> Option<Name> {
    is_member(key).then(|| member(key))
}

fn member(key: &[u8]) -> Name {
    if let Some((_, name)) = KNOWN.iter().find(|(known, _)| known.as_bytes() == key) {
        return *name;
    }
    match key.get(..INTERNAL.len()) {
        Some(start) if start.eq_ignore_ascii_case(INTERNAL) => Name::Internal,
        _ => Name::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_the_family_is_not() {
        for (known, expected) in KNOWN {
            assert!(known.as_bytes().starts_with(FAMILY) && known.to_lowercase() == known);
            assert_eq!(name(known.as_bytes()), Some(expected));
            assert_eq!(name(known.to_uppercase().as_bytes()), Some(Name::Unknown));
        }
        for other in ["", "klamm", "klam.delay", "x-delay", "klamm-delay", "traceparent"] {
            assert_eq!(name(other.as_bytes()), None, "{other}");
        }
        assert_eq!(name(b"klamm."), Some(Name::Unknown));
        assert_eq!(name(b"Klamm.Internal.victim"), Some(Name::Internal));
        assert_eq!(name(VICTIM.as_bytes()), Some(Name::Internal));
        assert_eq!(name(COPY.as_bytes()), Some(Name::Internal));
    }
}
