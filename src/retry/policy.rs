//! Whether a record that a group failed on is tried again, and when.
//!
//! Attempts are counted from 1: the first retry is attempt 1, the first delivery is none. What a
//! nack asks for wins over what the record carries, and that over the group's configs. Waits that
//! somebody has named are kept to the millisecond; only the group's own growing wait has jitter.

use crate::base::headers::value::duration_ms;
use crate::base::settings::RetrySettings;

/// No wait is longer, whoever asks: 10 years of 366 days, as for delays.
const LONGEST_WAIT_MS: i64 = 3_660 * 86_400_000;

/// Why a record became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A share group's member rejected it.
    Rejected,
    /// The attempts of the group's policy or of `klamm.retry.max` are used up.
    DeliveryLimit,
    /// Not delivered by its `klamm.expires.at`.
    Expired,
    /// `klamm.retry.schedule` is used up.
    ScheduleExhausted,
    /// `klamm.nack.dead: true`
    NackDead,
    /// The record is no longer in its log: only the story is kept.
    SourceGone,
    /// The record with its story fits no batch: only the story is kept.
    Oversize,
    /// An operator's command.
    Admin,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::Rejected,
        Self::DeliveryLimit,
        Self::Expired,
        Self::ScheduleExhausted,
        Self::NackDead,
        Self::SourceGone,
        Self::Oversize,
        Self::Admin,
    ];

    /// As `__dlq.errors.reason` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::DeliveryLimit => "delivery-limit",
            Self::Expired => "expired",
            Self::ScheduleExhausted => "schedule-exhausted",
            Self::NackDead => "nack-dead",
            Self::SourceGone => "source-gone",
            Self::Oversize => "oversize",
            Self::Admin => "admin",
        }
    }
}

/// What becomes of a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered again after so long, for the `attempt`th time.
    Retry {
        after_ms: i64,
        attempt: u32,
    },
    Dead(Reason),
}

/// What a record's own headers say of its retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRules {
    /// `klamm.retry.schedule`: the wait before each attempt.
    pub schedule_ms: Option<Vec<i64>>,
    /// `klamm.retry.max`
    pub max_attempts: Option<u32>,
}

impl OwnRules {
    /// Reads the headers' values. On a record that was not delayed nobody has checked them: what
    /// cannot be read counts as not given.
    #[must_use]
    pub fn read(schedule: Option<&[u8]>, max: Option<&[u8]>) -> Self {
        let text = |value| std::str::from_utf8(value).ok();
        Self {
            schedule_ms: schedule.and_then(text).and_then(schedule_ms),
            max_attempts: max.and_then(text).and_then(decimal),
        }
    }
}

/// `10s,30s,1m`; `None` if it is no list of waits.
#[must_use]
pub fn schedule_ms(text: &str) -> Option<Vec<i64>> {
    text.split(',').map(|wait| duration_ms(wait).filter(|wait_ms| *wait_ms >= 0)).collect()
}

fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a nack asks for beyond "this one failed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `klamm.nack.delay`: instead of the back-off of this attempt.
    pub delay_ms: Option<i64>,
    /// `klamm.nack.dead: true`: no retry any more.
    pub dead: bool,
}

/// Judges a failure. `made` is how many retries the record has behind it; `dice` is from -1 to 1,
/// evenly spread.
#[must_use]
pub fn verdict(
    settings: &RetrySettings,
    own: &OwnRules,
    wish: Wish,
    made: u32,
    dice: f64,
) -> Verdict {
    if wish.dead {
        return Verdict::Dead(Reason::NackDead);
    }
    let attempt = made.saturating_add(1);
    let scheduled = own.schedule_ms.as_ref().map(|waits| waits.get(made as usize).copied());
    if scheduled == Some(None) {
        return Verdict::Dead(Reason::ScheduleExhausted);
    }
    // A schedule ends by itself, so the group's limit is not for it.
    let group_limit = scheduled.is_none().then_some(settings.max_attempts);
    if own.max_attempts.or(group_limit).is_some_and(|limit| attempt > limit) {
        return Verdict::Dead(Reason::DeliveryLimit);
    }
    let named = wish.delay_ms.or(scheduled.flatten());
    let after_ms = named.unwrap_or_else(|| backoff_ms(settings, attempt, dice));
    Verdict::Retry { after_ms: after_ms.clamp(0, LONGEST_WAIT_MS), attempt }
}

/// The growing wait before an attempt. Jitter never takes it past `retry.backoff.max.ms`.
fn backoff_ms(settings: &RetrySettings, attempt: u32, dice: f64) -> i64 {
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let max_ms = settings.backoff_max_ms as f64;
    let grown_ms = settings.backoff_initial_ms as f64 * settings.backoff_multiplier.powi(exponent);
    let wait_ms = grown_ms.min(max_ms) * (1.0 + settings.backoff_jitter * dice.clamp(-1.0, 1.0));
    // Of what is not a number a cast makes zero, and of what is too large the largest.
    wait_ms.min(max_ms).round() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::settings::{BrokerConfig, Overrides};

    fn settings(own: &[(&str, &str)]) -> RetrySettings {
        let own: Overrides = own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        RetrySettings::resolve(&own, &BrokerConfig::default())
    }

    fn own(schedule: Option<&str>, max: Option<&str>) -> OwnRules {
        OwnRules::read(schedule.map(str::as_bytes), max.map(str::as_bytes))
    }

    fn waits(settings: &RetrySettings, own: &OwnRules) -> (Vec<i64>, Reason) {
        let mut waits = Vec::new();
        loop {
            let made = u32::try_from(waits.len()).expect("few");
            match verdict(settings, own, Wish::default(), made, 0.0) {
                Verdict::Retry { after_ms, attempt } => {
                    assert_eq!(attempt, made + 1);
                    waits.push(after_ms);
                }
                Verdict::Dead(reason) => return (waits, reason),
            }
        }
    }

    #[test]
    fn waits_grow_to_their_limit_and_end_with_the_attempts() {
        let group = settings(&[("retry.max.attempts", "6"), ("retry.backoff.max.ms", "60000")]);
        let (waited, reason) = waits(&group, &OwnRules::default());
        assert_eq!(waited, [10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
        assert_eq!(reason, Reason::DeliveryLimit);
        let (waited, _) = waits(&settings(&[]), &OwnRules::default());
        assert_eq!((waited.len(), waited[15]), (16, 7_200_000));
        let (waited, _) = waits(&settings(&[("retry.max.attempts", "0")]), &OwnRules::default());
        assert!(waited.is_empty());
    }

    #[test]
    fn a_records_own_schedule_and_limit_win() {
        let group = settings(&[("retry.max.attempts", "2")]);
        let schedule = own(Some("10s,30s,1m,5m"), None);
        let expected = vec![10_000, 30_000, 60_000, 300_000];
        assert_eq!(waits(&group, &schedule), (expected, Reason::ScheduleExhausted));
        let limited = own(Some("1s,1s,1s"), Some("2"));
        assert_eq!(waits(&group, &limited), (vec![1000, 1000], Reason::DeliveryLimit));
        let more = own(None, Some("3"));
        assert_eq!(waits(&group, &more), (vec![10_000, 20_000, 40_000], Reason::DeliveryLimit));
        assert_eq!(waits(&group, &own(None, Some("0"))), (vec![], Reason::DeliveryLimit));
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_given() {
        for (schedule, max) in [("", ""), ("10s,", "-1"), ("10s,-1s", "1e3"), ("soon", "+2")] {
            assert_eq!(own(Some(schedule), Some(max)).schedule_ms, None, "{schedule}");
            assert_eq!(
                own(Some(schedule), Some(max)).max_attempts.filter(|_| !max.is_empty()),
                None
            );
        }
        assert_eq!(OwnRules::read(Some(b"\xFF"), Some(b"\xFF")), OwnRules::default());
    }

    #[test]
    fn a_nack_has_the_last_word_but_for_the_limit() {
        let group = settings(&[("retry.max.attempts", "1")]);
        let later = Wish { delay_ms: Some(77), dead: false };
        let judge = |wish, made| verdict(&group, &OwnRules::default(), wish, made, 1.0);
        assert_eq!(judge(later, 0), Verdict::Retry { after_ms: 77, attempt: 1 });
        assert_eq!(judge(later, 1), Verdict::Dead(Reason::DeliveryLimit));
        let dead = Wish { delay_ms: None, dead: true };
        assert_eq!(judge(dead, 0), Verdict::Dead(Reason::NackDead));
        let never = Wish { delay_ms: Some(i64::MAX), dead: false };
        assert_eq!(judge(never, 0), Verdict::Retry { after_ms: LONGEST_WAIT_MS, attempt: 1 });
    }

    proptest! {
        #[test]
        fn jitter_keeps_to_its_share_and_to_the_limit(
            initial in 0..100_000_i64, multiplier in 1.0..10.0_f64, max in 0..10_000_000_i64,
            jitter in 0.0..1.0_f64, made in 0..1000_u32, dice in -1.0..1.0_f64,
        ) {
            let base = RetrySettings {
                max_attempts: u32::MAX,
                backoff_initial_ms: initial,
                backoff_multiplier: multiplier,
                backoff_max_ms: max,
                backoff_jitter: 0.0,
                dead_letter_topic: None,
                dead_letter_has_record: true,
            };
            let after = |settings: &RetrySettings, dice| {
                match verdict(settings, &OwnRules::default(), Wish::default(), made, dice) {
                    Verdict::Retry { after_ms, .. } => after_ms,
                    Verdict::Dead(reason) => panic!("{reason:?}"),
                }
            };
            let plain = after(&base, dice);
            let shaken = after(&RetrySettings { backoff_jitter: jitter, ..base }, dice);
            prop_assert!((0..=max).contains(&plain) && (0..=max).contains(&shaken));
            let share = (plain as f64 * jitter).ceil() as i64 + 1;
            prop_assert!((plain - shaken).abs() <= share, "{plain} {shaken} {jitter}");
        }
    }
}
