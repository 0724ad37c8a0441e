//! What a copy of a failed record tells: the headers of a retry, and of a dead letter.
//!
//! Headers of the application stay byte for byte and in order, ours come behind them. What
//! commanded goes, so that a copy never commands again; what rules further retries stays
//! (`klamm.retry.schedule`, `klamm.retry.max`, `klamm.expires.at`). Values are UTF-8 text.
//!
//! A retry carries two headers of the dead letter that it may become, because only the first
//! failure knows them: the time of that failure and the record's own timestamp. They are believed
//! only on records of a retry topic, which is there for nothing else.

use super::policy::Reason;
use crate::base::headers::{self, Name};
use crate::wire::owned::OwnedHeader;

/// Source: KIP-1191, which has these six.
pub const TOPIC: &str = "__dlq.errors.topic";
pub const PARTITION: &str = "__dlq.errors.partition";
pub const OFFSET: &str = "__dlq.errors.offset";
pub const GROUP: &str = "__dlq.errors.group";
pub const DELIVERY_COUNT: &str = "__dlq.errors.delivery.count";
pub const MESSAGE: &str = "__dlq.errors.message";
/// Ours, in the same family: one of [`Reason`].
pub const REASON: &str = "__dlq.errors.reason";
/// Of the last failure, epoch ms.
pub const TIMESTAMP: &str = "__dlq.errors.timestamp";
/// Of the first failure, epoch ms.
pub const FIRST_TIMESTAMP: &str = "__dlq.errors.first.timestamp";
/// Of the record when it was first delivered, epoch ms.
pub const ORIGINAL_TIMESTAMP: &str = "__dlq.errors.original.timestamp";
pub const EXCEPTION_CLASS: &str = "__dlq.errors.exception.class";
/// How often the record was put back.
pub const REDRIVE_COUNT: &str = "__dlq.errors.redrive.count";

/// Every name of a dead letter's story begins like this.
const FAMILY: &str = "__dlq.errors.";

/// Longest text of a client's in a header of ours.
const MAX_TEXT_BYTES: usize = 4096;

/// A record's place when it was first delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

impl Place {
    /// Reads `<topic>:<partition>:<offset>`; no topic's name has a colon.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, offset) = text.rsplit_once(':')?;
        let (topic, partition) = rest.split_once(':')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (!topic.is_empty() && partition >= 0 && offset >= 0).then(|| Self {
            topic: topic.to_owned(),
            partition,
            offset,
        })
    }
}

/// What happened to a record before this failure, by its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Retries that it has behind it.
    pub attempts: u32,
    /// `None`: it is at its first place now.
    pub origin: Option<Place>,
    pub first_failed_ms: Option<i64>,
    pub original_timestamp_ms: Option<i64>,
    pub redrives: u32,
}

impl Story {
    /// Of a record of the group's retry topic.
    #[must_use]
    pub fn of_retry(headers: &[OwnedHeader]) -> Self {
        Self {
            attempts: number(headers, headers::RETRY_ATTEMPT).unwrap_or(0),
            origin: text(headers, headers::RETRY_ORIGIN).and_then(Place::parse),
            first_failed_ms: number(headers, FIRST_TIMESTAMP),
            original_timestamp_ms: number(headers, ORIGINAL_TIMESTAMP),
            redrives: redrives(headers),
        }
    }

    /// Of a record of any other topic, where a producer may have written what it likes. Only how
    /// often it was put back is believed: that can only end its way sooner.
    #[must_use]
    pub fn of_source(headers: &[OwnedHeader]) -> Self {
        Self { redrives: redrives(headers), ..Self::default() }
    }
}

/// How often a record was put back, by its headers.
#[must_use]
pub fn redrives(headers: &[OwnedHeader]) -> u32 {
    number(headers, REDRIVE_COUNT).unwrap_or(0)
}

/// The value of the last header of this name, if it is text.
#[must_use]
pub fn text<'a>(headers: &'a [OwnedHeader], name: &str) -> Option<&'a str> {
    let last = headers.iter().rev().find(|header| header.key == name.as_bytes())?;
    std::str::from_utf8(last.value.as_ref()?).ok()
}

fn number<T: std::str::FromStr>(headers: &[OwnedHeader], name: &str) -> Option<T> {
    text(headers, name)?.parse().ok()
}

/// The headers of a copy that is delivered again as a group's `attempt`th retry.
#[must_use]
pub fn retry(
    headers: &[OwnedHeader],
    attempt: u32,
    origin: &Place,
    first_failed_ms: i64,
    original_timestamp_ms: i64,
) -> Vec<OwnedHeader> {
    let mut copy = carried(headers);
    let redrives = redrives(headers);
    copy.push(told(headers::RETRY_ATTEMPT, attempt));
    copy.push(told(headers::RETRY_ORIGIN, origin));
    copy.push(told(FIRST_TIMESTAMP, first_failed_ms));
    copy.push(told(ORIGINAL_TIMESTAMP, original_timestamp_ms));
    if redrives > 0 {
        copy.push(told(REDRIVE_COUNT, redrives));
    }
    copy
}

/// A record's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death<'a> {
    pub reason: Reason,
    /// Where the record was first delivered.
    pub origin: &'a Place,
    /// `None`: no group has seen it.
    pub group: Option<&'a str>,
    /// Deliveries to that group.
    pub deliveries: u32,
    /// `klamm.nack.reason`
    pub message: Option<&'a str>,
    /// `klamm.nack.error`
    pub exception_class: Option<&'a str>,
    pub now_ms: i64,
    pub first_failed_ms: i64,
    /// `None`: the record is gone.
    pub original_timestamp_ms: Option<i64>,
    pub redrives: u32,
}

/// The headers of a dead letter.
#[must_use]
pub fn dead(headers: &[OwnedHeader], death: &Death<'_>) -> Vec<OwnedHeader> {
    let mut letter = carried(headers);
    let origin = death.origin;
    letter.push(told(TOPIC, &origin.topic));
    letter.push(told(PARTITION, origin.partition));
    letter.push(told(OFFSET, origin.offset));
    letter.extend(death.group.map(|group| told(GROUP, group)));
    letter.push(told(DELIVERY_COUNT, death.deliveries));
    let message = death.message.unwrap_or(death.reason.name());
    letter.push(told(MESSAGE, cut(message)));
    letter.push(told(REASON, death.reason.name()));
    letter.push(told(TIMESTAMP, death.now_ms));
    letter.push(told(FIRST_TIMESTAMP, death.first_failed_ms));
    letter.extend(death.original_timestamp_ms.map(|ms| told(ORIGINAL_TIMESTAMP, ms)));
    letter.extend(death.exception_class.map(|class| told(EXCEPTION_CLASS, cut(class))));
    letter.push(told(REDRIVE_COUNT, death.redrives));
    letter
}

/// The headers of a dead letter that is put back: those of the record, and how often it was.
/// Attempts count from zero again.
#[must_use]
pub fn redriven(headers: &[OwnedHeader]) -> Vec<OwnedHeader> {
    let mut copy = carried(headers);
    copy.push(told(REDRIVE_COUNT, redrives(headers).saturating_add(1)));
    copy
}

/// As [`redriven`], for the retry topic of the group that failed: the copy tells of its first
/// delivery and failure as a retry does, so that the next dead letter tells of them too.
#[must_use]
pub fn redriven_to_retry(headers: &[OwnedHeader]) -> Vec<OwnedHeader> {
    let mut copy = redriven(headers);
    let origin = text(headers, TOPIC).zip(number(headers, PARTITION)).zip(number(headers, OFFSET));
    copy.extend(origin.map(|((topic, partition), offset)| {
        told(headers::RETRY_ORIGIN, Place { topic: topic.to_owned(), partition, offset })
    }));
    for name in [FIRST_TIMESTAMP, ORIGINAL_TIMESTAMP] {
        copy.extend(number::<i64>(headers, name).map(|ms| told(name, ms)));
    }
    copy
}

/// What of a record's headers a copy has too.
fn carried(headers: &[OwnedHeader]) -> Vec<OwnedHeader> {
    headers.iter().filter(|header| is_carried(&header.key)).cloned().collect()
}

fn is_carried(key: &[u8]) -> bool {
    match headers::name(key) {
        Some(Name::RetrySchedule | Name::RetryMax | Name::ExpiresAt | Name::Unknown) => true,
        Some(_) => false,
        None => !key.starts_with(FAMILY.as_bytes()),
    }
}

fn told(name: &'static str, value: impl std::fmt::Display) -> OwnedHeader {
    OwnedHeader::new(name, value.to_string())
}

/// At most [`MAX_TEXT_BYTES`], whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: &'static str, value: &'static str) -> OwnedHeader {
        OwnedHeader::new(key, value)
    }

    fn shown(headers: &[OwnedHeader]) -> Vec<(&str, &str)> {
        fn text(bytes: &[u8]) -> &str {
            std::str::from_utf8(bytes).expect("text")
        }
        headers.iter().map(|h| (text(&h.key), text(h.value.as_ref().expect("a value")))).collect()
    }

    fn origin() -> Place {
        Place { topic: "orders".to_owned(), partition: 3, offset: 42 }
    }

    fn death<'a>(reason: Reason, origin: &'a Place) -> Death<'a> {
        Death {
            reason,
            origin,
            group: Some("billing"),
            deliveries: 4,
            message: None,
            exception_class: None,
            now_ms: 2000,
            first_failed_ms: 1000,
            original_timestamp_ms: Some(500),
            redrives: 0,
        }
    }

    #[test]
    fn a_retry_carries_what_the_next_judge_needs() {
        let first = [
            header("trace", "1"),
            header("klamm.delay", "5s"),
            header("klamm.delay.id", "x"),
            header("klamm.retry.schedule", "1s,2s"),
            header("klamm.retry.attempt", "9"),
            header("trace", "2"),
            header("klamm.due", "1"),
            header("klamm.expires.at", "1700000000000"),
            header("__dlq.errors.topic", "a forwarded one"),
        ];
        let second = retry(&first, 1, &origin(), 1000, 500);
        let expected = [
            ("trace", "1"),
            ("klamm.retry.schedule", "1s,2s"),
            ("trace", "2"),
            ("klamm.expires.at", "1700000000000"),
            ("klamm.retry.attempt", "1"),
            ("klamm.retry.origin", "orders:3:42"),
            ("__dlq.errors.first.timestamp", "1000"),
            ("__dlq.errors.original.timestamp", "500"),
        ];
        assert_eq!(shown(&second), expected);
        let story = Story {
            attempts: 1,
            origin: Some(origin()),
            first_failed_ms: Some(1000),
            original_timestamp_ms: Some(500),
            redrives: 0,
        };
        assert_eq!(Story::of_retry(&second), story);
        let third = retry(&second, 2, &origin(), 1000, 500);
        assert_eq!(third.len(), second.len(), "nothing gathers from retry to retry");
        assert_eq!(Story::of_retry(&third), Story { attempts: 2, ..story });
    }

    #[test]
    fn what_a_producer_claims_is_not_believed() {
        let forged = retry(&[header(REDRIVE_COUNT, "2")], 5, &origin(), 1, 2);
        assert_eq!(Story::of_source(&forged), Story { redrives: 2, ..Story::default() });
    }

    #[test]
    fn a_dead_letter_tells_where_when_why_and_how_often() {
        let retried = retry(&[header("trace", "1")], 3, &origin(), 1000, 500);
        let origin = origin();
        let letter = dead(
            &retried,
            &Death {
                message: Some("no such account"),
                exception_class: Some("com.example.NoAccount"),
                ..death(Reason::DeliveryLimit, &origin)
            },
        );
        let expected = [
            ("trace", "1"),
            ("__dlq.errors.topic", "orders"),
            ("__dlq.errors.partition", "3"),
            ("__dlq.errors.offset", "42"),
            ("__dlq.errors.group", "billing"),
            ("__dlq.errors.delivery.count", "4"),
            ("__dlq.errors.message", "no such account"),
            ("__dlq.errors.reason", "delivery-limit"),
            ("__dlq.errors.timestamp", "2000"),
            ("__dlq.errors.first.timestamp", "1000"),
            ("__dlq.errors.original.timestamp", "500"),
            ("__dlq.errors.exception.class", "com.example.NoAccount"),
            ("__dlq.errors.redrive.count", "0"),
        ];
        assert_eq!(shown(&letter), expected);
    }

    #[test]
    fn without_a_group_or_a_record_the_letter_says_less() {
        let origin = origin();
        let letter = dead(
            &[],
            &Death {
                group: None,
                original_timestamp_ms: None,
                ..death(Reason::SourceGone, &origin)
            },
        );
        assert_eq!(text(&letter, GROUP), None);
        assert_eq!(text(&letter, ORIGINAL_TIMESTAMP), None);
        assert_eq!(text(&letter, MESSAGE), Some("source-gone"));
    }

    #[test]
    fn a_clients_text_is_cut_between_characters() {
        let origin = origin();
        let long = "ä".repeat(MAX_TEXT_BYTES);
        let told = Death { message: Some(&long), ..death(Reason::NackDead, &origin) };
        let letter = dead(&[], &told);
        assert_eq!(text(&letter, MESSAGE).map(str::len), Some(MAX_TEXT_BYTES));
    }

    #[test]
    fn a_redriven_record_is_as_it_was_and_counts_its_way_back() {
        let origin = origin();
        let letter = dead(&[header("trace", "1")], &death(Reason::NackDead, &origin));
        let back = redriven(&letter);
        assert_eq!(shown(&back), [("trace", "1"), ("__dlq.errors.redrive.count", "1")]);
        assert_eq!(Story::of_retry(&back), Story { redrives: 1, ..Story::default() });
        let again = dead(&back, &Death { redrives: 1, ..death(Reason::NackDead, &origin) });
        assert_eq!(redrives(&redriven(&again)), 2);
    }

    #[test]
    fn a_group_that_gets_its_dead_letter_back_knows_its_story_but_for_the_attempts() {
        let origin = origin();
        let letter = dead(&[header("trace", "1")], &death(Reason::DeliveryLimit, &origin));
        let story = Story {
            attempts: 0,
            origin: Some(origin),
            first_failed_ms: Some(1000),
            original_timestamp_ms: Some(500),
            redrives: 1,
        };
        assert_eq!(Story::of_retry(&redriven_to_retry(&letter)), story);
        let strange = [header(TOPIC, "orders"), header(PARTITION, "x")];
        assert_eq!(redriven_to_retry(&strange), redriven(&strange));
    }

    #[test]
    fn places_are_read_back() {
        assert_eq!(Place::parse(&origin().to_string()), Some(origin()));
        for no in ["", "orders", "orders:1", ":1:2", "orders:-1:2", "orders:1:-2", "orders:1:2:3"] {
            assert_eq!(Place::parse(no), None, "{no}");
        }
    }
}
