//! What a record asks for by its headers.
//!
//! A record *commands* if it is delayed (`klamm.delay` or `klamm.deliver.at`), cancels
//! (`klamm.delay.cancel`) or is a nack (`klamm.nack.group`, `nack.rs`). Other headers of the family count only beside those: alone they are
//! stored as sent. Of duplicates the last counts. Every refusal names header, value and limit:
//! it is all that a producer gets to see.
//!
//! Due now or past is no command, unless the record replaces another: that other one must not be
//! delivered as well.

use std::fmt;

use super::headers::{self, Name};
use super::nack::{self, Nack, NackRules};
use super::rules::DelayRules;
use super::value::{self, DURATION_FORMS, EARLIEST_INSTANT_MS, INSTANT_FORMS};
use crate::base::settings::closest;
use crate::base::text::Escaped;
use crate::wire::records::{Header, Record};

/// Longest `klamm.delay.id`.
pub const MAX_ID_BYTES: usize = 255;

/// When a record is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Milliseconds after acceptance.
    After(i64),
    /// Epoch milliseconds.
    At(i64),
}

impl Due {
    /// Epoch milliseconds, for a record that was accepted at this moment.
    #[must_use]
    pub const fn at_ms(self, accepted_ms: i64) -> i64 {
        match self {
            Self::After(delay_ms) => accepted_ms.saturating_add(delay_ms),
            Self::At(due_ms) => due_ms,
        }
    }
}

/// A record that is not for the log, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Delivered when due.
    Put {
        due: Due,
        id: Option<&'a [u8]>,
        /// Takes the place of the pending record with that id.
        replace: bool,
        /// Not delivered after this instant, in epoch milliseconds.
        expires_at_ms: Option<i64>,
    },
    /// Never delivered itself.
    Cancel {
        target: Target<'a>,
        /// The batch is refused if nothing is cancelled.
        strict: bool,
    },
    /// Never delivered itself either.
    Nack(Nack<'a>),
}

/// Which pending record a cancel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Id(&'a [u8]),
    /// By the offset that its producer was told; without a partition, in the command's own.
    Ticket {
        partition: Option<i32>,
        offset: i64,
    },
}

/// Whether a record has a header of the family, which few have. Asked of every record that is
/// produced.
#[inline]
#[must_use]
pub fn may_command(record: &Record<'_>, rules: &DelayRules) -> bool {
    record.headers.count() > 0 && record.headers.iter().any(|header| rules.concerns(header.key))
}

/// Reads what a produced record commands; `None` if it is to be stored as sent.
///
/// # Errors
/// A header that commands wrongly: what the producer is told.
pub fn read<'a>(
    record: &Record<'a>,
    rules: &DelayRules,
    now_ms: i64,
) -> Result<Option<Command<'a>>, String> {
    let mut given = Given::default();
    for header in record.headers {
        if let Some(name) = rules.name(header.key) {
            given.take(name, header, rules)?;
        }
    }
    match given.commanding() {
        Some(header) if !rules.enabled => Err(refused(header, "the topic has delay.enable=false")),
        Some(_) => given.command(record, rules, now_ms),
        None => Ok(None),
    }
}

/// A header that was given: the last of its name, which may be an alias's.
type Field<'a> = Option<Header<'a>>;

/// The headers of one record that may command.
#[derive(Default)]
struct Given<'a> {
    delay: Field<'a>,
    deliver_at: Field<'a>,
    id: Field<'a>,
    replace: Field<'a>,
    cancel: Field<'a>,
    strict: Field<'a>,
    expires_at: Field<'a>,
    retry_schedule: Field<'a>,
    retry_max: Field<'a>,
    nack: nack::Given<'a>,
}

impl<'a> Given<'a> {
    fn take(&mut self, name: Name, header: Header<'a>, rules: &DelayRules) -> Result<(), String> {
        let field = match name {
            Name::Delay => &mut self.delay,
            Name::DeliverAt => &mut self.deliver_at,
            Name::Id => &mut self.id,
            Name::Replace => &mut self.replace,
            Name::Cancel => &mut self.cancel,
            Name::CancelStrict => &mut self.strict,
            Name::ExpiresAt => &mut self.expires_at,
            Name::RetrySchedule => &mut self.retry_schedule,
            Name::RetryMax => &mut self.retry_max,
            Name::Out => return Ok(()),
            Name::NackGroup
            | Name::NackOffset
            | Name::NackReason
            | Name::NackError
            | Name::NackDelay
            | Name::NackDead => {
                self.nack.take(name, header);
                return Ok(());
            }
            Name::Internal => return Err(refused(header, "the name is the broker's own")),
            Name::Unknown if rules.refuse_unknown => return Err(unknown(header)),
            Name::Unknown => return Ok(()),
        };
        *field = Some(header);
        Ok(())
    }

    /// The others count only beside one of these. That replacing, strictness or something of a
    /// nack are asked for without a command is a mistake, as it would pass for having worked.
    fn commanding(&self) -> Field<'a> {
        let own = [self.delay, self.deliver_at, self.cancel, self.replace, self.strict];
        own.into_iter().flatten().next().or_else(|| self.nack.any())
    }

    fn command(
        &self,
        record: &Record<'_>,
        rules: &DelayRules,
        now_ms: i64,
    ) -> Result<Option<Command<'a>>, String> {
        if self.nack.any().is_some() {
            return self.nack(record, rules).map(|nack| Some(Command::Nack(nack)));
        }
        match self.cancel {
            Some(cancel) => self.cancel(cancel, record).map(Some),
            None => self.put(rules, now_ms),
        }
    }

    fn nack(&self, record: &Record<'_>, rules: &DelayRules) -> Result<Nack<'a>, String> {
        let others = [self.delay, self.deliver_at, self.id, self.replace, self.cancel, self.strict];
        if let Some(other) = others.into_iter().flatten().next() {
            return Err(refused(other, "it has no place beside klamm.nack.group"));
        }
        let (schedule, max) = (self.retry_schedule, self.retry_max);
        let own = NackRules { schedule, max, expires_at: self.expires_at };
        self.nack.nack(record, own, rules)
    }

    fn cancel(&self, cancel: Header<'a>, record: &Record<'_>) -> Result<Command<'a>, String> {
        let others = [self.delay, self.deliver_at, self.id, self.replace];
        if let Some(other) = others.into_iter().flatten().next() {
            return Err(refused(other, "it has no place beside klamm.delay.cancel"));
        }
        if record.value.is_some() {
            return Err(refused(cancel, "a record that cancels must have a null value"));
        }
        let strict = self.strict.map_or(Ok(false), flag)?;
        Ok(Command::Cancel { target: target(cancel)?, strict })
    }

    fn put(&self, rules: &DelayRules, now_ms: i64) -> Result<Option<Command<'a>>, String> {
        if let Some(strict) = self.strict {
            return Err(refused(strict, "it needs klamm.delay.cancel"));
        }
        let replace = self.replace.map_or(Ok(false), flag)?;
        let due = match (self.delay, self.deliver_at, self.replace) {
            (Some(delay), None, _) => after(delay, rules)?,
            (None, Some(at), _) => deliver_at(at, rules, now_ms)?,
            (Some(_), Some(at), _) => {
                return Err(refused(at, "it has no place beside klamm.delay: give one of the two"));
            }
            (None, None, Some(replace)) => {
                return Err(refused(replace, "it needs klamm.delay or klamm.deliver.at"));
            }
            (None, None, None) => return Ok(None),
        };
        let id = self.id.map(id).transpose()?;
        if let (true, Some(header), None) = (replace, self.replace, id) {
            return Err(refused(header, "it needs klamm.delay.id"));
        }
        let due_ms = due.at_ms(now_ms);
        let expires_at_ms =
            self.expires_at.map(|at| expires_at(at, due_ms.max(now_ms))).transpose()?;
        self.retry_schedule.map_or(Ok(()), retry_schedule)?;
        self.retry_max.map_or(Ok(()), retry_max)?;
        let waits = due_ms > now_ms || replace;
        Ok(waits.then_some(Command::Put { due, id, replace, expires_at_ms }))
    }
}

fn after(header: Header<'_>, rules: &DelayRules) -> Result<Due, String> {
    let Some(delay_ms) = value::duration_ms(text(header)?) else {
        return Err(refused(header, format_args!("a delay is {DURATION_FORMS}")));
    };
    if delay_ms > rules.max_ms {
        return Err(too_far(header, rules));
    }
    Ok(Due::After(delay_ms))
}

fn deliver_at(header: Header<'_>, rules: &DelayRules, now_ms: i64) -> Result<Due, String> {
    let due_ms = instant(header)?;
    if due_ms.saturating_sub(now_ms) > rules.max_ms {
        return Err(too_far(header, rules));
    }
    Ok(Due::At(due_ms))
}

#[cold]
fn too_far(header: Header<'_>, rules: &DelayRules) -> String {
    let max_ms = rules.max_ms;
    refused(header, format_args!("delay.max.ms={max_ms} is the longest delay of this topic"))
}

fn expires_at(header: Header<'_>, delivered_ms: i64) -> Result<i64, String> {
    let expires_at_ms = instant(header)?;
    if expires_at_ms < delivered_ms {
        let why = format_args!("the record is not due before {delivered_ms}, when it has expired");
        return Err(refused(header, why));
    }
    Ok(expires_at_ms)
}

/// An instant in epoch milliseconds that is none in seconds.
pub(super) fn instant(header: Header<'_>) -> Result<i64, String> {
    match value::instant_ms(text(header)?) {
        Some(instant_ms) if instant_ms < EARLIEST_INSTANT_MS => {
            Err(refused(header, "it lies before 1973-03-03: are these seconds, not milliseconds?"))
        }
        Some(instant_ms) => Ok(instant_ms),
        None => Err(refused(header, format_args!("an instant is {INSTANT_FORMS}"))),
    }
}

fn id(header: Header<'_>) -> Result<&[u8], String> {
    let id = text(header)?.as_bytes();
    match id {
        [] => Err(refused(header, "an id is not empty")),
        [b'@', ..] => Err(refused(header, "an id does not begin with '@', as tickets do")),
        _ if id.len() > MAX_ID_BYTES => {
            let bytes = id.len();
            Err(refused(
                header,
                format_args!("{bytes} bytes are above the limit of {MAX_ID_BYTES}"),
            ))
        }
        _ => Ok(id),
    }
}

/// An id, `@<offset>`, or `@<partition>:<offset>`.
fn target(header: Header<'_>) -> Result<Target<'_>, String> {
    let Some(ticket) = text(header)?.strip_prefix('@') else { return id(header).map(Target::Id) };
    let (partition, offset) = match ticket.split_once(':') {
        Some((partition, offset)) => (Some(partition), offset),
        None => (None, ticket),
    };
    let partition = partition.map(decimal::<i32>);
    match (partition, decimal(offset)) {
        (None, Some(offset)) => Ok(Target::Ticket { partition: None, offset }),
        (Some(Some(partition)), Some(offset)) => {
            Ok(Target::Ticket { partition: Some(partition), offset })
        }
        _ => Err(refused(header, "a ticket is @<offset> or @<partition>:<offset>")),
    }
}

/// Digits and nothing else.
pub(super) fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn flag(header: Header<'_>) -> Result<bool, String> {
    match text(header)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(refused(header, "it is true or false")),
    }
}

pub(super) fn retry_schedule(header: Header<'_>) -> Result<(), String> {
    let is_wait = |wait: &str| value::duration_ms(wait).is_some_and(|wait_ms| wait_ms >= 0);
    if text(header)?.split(',').all(is_wait) {
        return Ok(());
    }
    let why =
        format_args!("a schedule is a list of waits with commas between, each {DURATION_FORMS}");
    Err(refused(header, why))
}

pub(super) fn retry_max(header: Header<'_>) -> Result<(), String> {
    match decimal::<u32>(text(header)?) {
        Some(_) => Ok(()),
        None => Err(refused(header, "it is a number of attempts")),
    }
}

pub(super) fn text(header: Header<'_>) -> Result<&str, String> {
    let Some(value) = header.value else { return Err(refused(header, "it needs a value")) };
    std::str::from_utf8(value).map_err(|_| {
        let bytes = value.len();
        refused(header, format_args!("the value's {bytes} bytes are no UTF-8; values are text"))
    })
}

#[cold]
fn unknown(header: Header<'_>) -> String {
    let key = String::from_utf8_lossy(header.key);
    let closest = closest(&key, headers::KNOWN.iter().map(|(known, _)| *known));
    refused(header, format_args!("no such header is known, the closest one is {closest}"))
}

/// What the producer is told: `klamm.delay='1 h': ...`.
#[cold]
#[must_use]
pub fn refused(header: Header<'_>, why: impl fmt::Display) -> String {
    let key = String::from_utf8_lossy(header.key);
    let value = header.value.map(String::from_utf8_lossy);
    match value {
        Some(value) => format!("header {}='{}': {why}", Escaped(&key), Escaped(&value)),
        None => format!("header {} without a value: {why}", Escaped(&key)),
    }
}

#[cfg(test)]
mod tests;
