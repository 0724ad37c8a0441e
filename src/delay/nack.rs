//! A nack: a record without a value that says that a group has failed on another of its partition.
//!
//! What it says of retries (`klamm.retry.schedule`, `klamm.retry.max`, `klamm.expires.at`) takes
//! the place of what that record says. Everything else has no place beside it.

use super::command::{decimal, flag, instant, refused, retry_max, retry_schedule, text};
use super::headers::Name;
use super::rules::DelayRules;
use super::value::{self, DURATION_FORMS};
use crate::wire::records::{Header, Record};

/// What a nack asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack<'a> {
    pub group: &'a str,
    /// Of the record that the group failed on, in the nack's own partition.
    pub offset: i64,
    /// For people.
    pub reason: Option<&'a str>,
    pub error: Option<&'a str>,
    /// Milliseconds until the next attempt, instead of what the policy says.
    pub delay_ms: Option<i64>,
    /// Not tried again.
    pub dead: bool,
    /// In the place of the record's own.
    pub rules: NackRules<'a>,
}

/// Headers that are as good on a nack as on the record it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NackRules<'a> {
    pub schedule: Option<Header<'a>>,
    pub max: Option<Header<'a>>,
    pub expires_at: Option<Header<'a>>,
}

impl<'a> NackRules<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> {
        [self.schedule, self.max, self.expires_at].into_iter().flatten()
    }
}

/// The headers of a record that are a nack's own.
#[derive(Clone, Copy, Default)]
pub(super) struct Given<'a> {
    group: Option<Header<'a>>,
    offset: Option<Header<'a>>,
    reason: Option<Header<'a>>,
    error: Option<Header<'a>>,
    delay: Option<Header<'a>>,
    dead: Option<Header<'a>>,
}

impl<'a> Given<'a> {
    /// Keeps a header; of duplicates the last.
    pub(super) fn take(&mut self, name: Name, header: Header<'a>) {
        let field = match name {
            Name::NackGroup => &mut self.group,
            Name::NackOffset => &mut self.offset,
            Name::NackReason => &mut self.reason,
            Name::NackError => &mut self.error,
            Name::NackDelay => &mut self.delay,
            Name::NackDead => &mut self.dead,
            _ => return,
        };
        *field = Some(header);
    }

    /// One of them, if there are any.
    pub(super) fn any(&self) -> Option<Header<'a>> {
        let all = [self.group, self.offset, self.reason, self.error, self.delay, self.dead];
        all.into_iter().flatten().next()
    }

    /// Reads the nack.
    pub(super) fn nack(
        &self,
        record: &Record<'_>,
        own: NackRules<'a>,
        limits: &DelayRules,
    ) -> Result<Nack<'a>, String> {
        let (group, offset) = match (self.group, self.offset) {
            (Some(group), Some(offset)) => (group, offset),
            (Some(group), None) => return Err(refused(group, "it needs klamm.nack.offset")),
            (None, _) => {
                let other = self.any().expect("the record has a header of a nack");
                return Err(refused(other, "it needs klamm.nack.group"));
            }
        };
        if record.value.is_some() {
            return Err(refused(group, "a nack must have a null value"));
        }
        if text(group)?.is_empty() {
            return Err(refused(group, "no group is called nothing"));
        }
        own.schedule.map_or(Ok(()), retry_schedule)?;
        own.max.map_or(Ok(()), retry_max)?;
        own.expires_at.map(instant).transpose()?;
        let dead = self.dead.map_or(Ok(false), flag)?;
        if let (true, Some(delay)) = (dead, self.delay) {
            return Err(refused(delay, "it has no place beside klamm.nack.dead: true"));
        }
        Ok(Nack {
            group: text(group)?,
            offset: decimal(text(offset)?)
                .ok_or_else(|| refused(offset, "an offset is a number from 0 on"))?,
            reason: self.reason.map(text).transpose()?,
            error: self.error.map(text).transpose()?,
            delay_ms: self.delay.map(|delay| delay_ms(delay, limits)).transpose()?,
            dead,
            rules: own,
        })
    }
}

fn delay_ms(header: Header<'_>, limits: &DelayRules) -> Result<i64, String> {
    let max_ms = limits.max_ms;
    match value::duration_ms(text(header)?) {
        None => Err(refused(header, format_args!("a delay is {DURATION_FORMS}"))),
        Some(..0) => Err(refused(header, "the next attempt is not before now")),
        Some(delay_ms) if delay_ms > max_ms => {
            let why = format_args!("delay.max.ms={max_ms} is the longest delay of this topic");
            Err(refused(header, why))
        }
        Some(delay_ms) => Ok(delay_ms),
    }
}
