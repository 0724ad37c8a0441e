//! What a dead letter says of itself: the `__dlq.errors.*` headers (KIP-1191 and ours), read in
//! place. A header that repeats counts by its last value; one that can't be read, not at all.

use crate::wire::records::Header;

/// The start of all their names.
pub const PREFIX: &str = "__dlq.errors.";

/// See the module's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// Where the record was delivered first.
    pub topic: Option<&'a str>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    /// The group that failed; none for what expired before its delivery.
    pub group: Option<&'a str>,
    pub delivery_count: Option<u32>,
    pub reason: Option<&'a str>,
    /// What the consumer said.
    pub message: Option<&'a str>,
    pub exception_class: Option<&'a str>,
    /// When it became a dead letter, epoch milliseconds.
    pub timestamp_ms: Option<i64>,
    /// How often it was redriven before.
    pub redrive_count: u32,
}

impl<'a> Provenance<'a> {
    #[must_use]
    pub fn of(headers: impl Iterator<Item = Header<'a>>) -> Self {
        let mut found = Self::default();
        for header in headers {
            let Some(name) = header.key.strip_prefix(PREFIX.as_bytes()) else { continue };
            let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
            found.take(name, text);
        }
        found
    }

    fn take(&mut self, name: &[u8], text: Option<&'a str>) {
        match name {
            b"topic" => self.topic = text,
            b"partition" => self.partition = number(text),
            b"offset" => self.offset = number(text),
            b"group" => self.group = text,
            b"delivery.count" => self.delivery_count = number(text),
            b"reason" => self.reason = text,
            b"message" => self.message = text,
            b"exception.class" => self.exception_class = text,
            b"timestamp" => self.timestamp_ms = number(text),
            b"redrive.count" => self.redrive_count = number(text).unwrap_or(0),
            _ => {}
        }
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}
