//! Times and spans as people type them, in UTC, and back.
//!
//! Dates are counted by the civil calendar's own arithmetic (Howard Hinnant's days algorithm):
//! a date library would be a dependency for two functions.

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds since 1970 of `YYYY-MM-DDThh:mm[:ss[.sss]]`, followed by `Z`, `+hh:mm`, `-hh:mm`
/// or nothing, which is UTC as for Kafka's tools; or of a date alone, which is its beginning.
pub fn parse_time(text: &str) -> Result<i64, String> {
    time_of(text).ok_or_else(|| format!("'{text}' is not a time as in 2026-01-31T08:00:00Z"))
}

fn time_of(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let (clock, offset_ms) = split_offset(time)?;
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let seconds = parts.next().unwrap_or("00");
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = digits(second, 2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS + thousandths(fraction)?;
    Some(days_from_civil(year, month, day) * DAY_MS + of_day - offset_ms)
}

fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (clock, offset) = time.split_at(at);
    let (hour, minute) = offset[1..].split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let offset_ms = hour * HOUR_MS + minute * MINUTE_MS;
    (hour <= 18 && minute <= 59)
        .then_some((clock, if time[at..].starts_with('-') { -offset_ms } else { offset_ms }))
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Milliseconds of a decimal fraction of a second; finer digits are left out.
fn thousandths(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    fraction.bytes().chain(*b"00").take(3).try_fold(0, |ms, b| Some(ms * 10 + i64::from(b - b'0')))
}

/// A time for people, in UTC.
pub fn shown(ms: i64) -> String {
    let (day, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, date) = civil_from_days(day);
    let (hour, minute) = (of_day / HOUR_MS, of_day / MINUTE_MS % 60);
    let (second, thousandth) = (of_day / SECOND_MS % 60, of_day % SECOND_MS);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{thousandth:03}Z")
}

/// Milliseconds of a span: `90s`, `15m`, `12h`, `7d`, several of them from the largest to the
/// smallest (`1h30m`), or as Kafka's tools want it (`P1DT12H`, `PT15M`).
pub fn parse_span(text: &str) -> Result<i64, String> {
    span_of(text).ok_or_else(|| format!("'{text}' is not a span as in 90s, 1h30m or PT1H30M"))
}

fn span_of(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let units = match lower.strip_prefix('p') {
        // Before the T stand days alone: an M there would be months, whose length is not known.
        Some(iso) => {
            let (days, rest) = iso.split_once('t').unwrap_or((iso, ""));
            if !(days.is_empty() || days.ends_with('d')) {
                return None;
            }
            format!("{days}{rest}")
        }
        None => lower,
    };
    let mut rest = &*units;
    let mut total: i64 = 0;
    let mut last_unit = i64::MAX;
    while !rest.is_empty() {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(length);
        let mut tail = tail.chars();
        let unit = match tail.next()? {
            'd' => DAY_MS,
            'h' => HOUR_MS,
            'm' => MINUTE_MS,
            's' => SECOND_MS,
            _ => return None,
        };
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = tail.as_str();
    }
    (last_unit != i64::MAX).then_some(total)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day ends one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01", 1000),
            ("2000-02-29T12:30Z", 951_827_400_000),
            ("2026-01-31T08:00:00.25Z", 1_769_846_400_250),
            ("2026-01-31T09:30:00+01:30", 1_769_846_400_000),
            ("2026-01-31T03:00:00.0000009-05:00", 1_769_846_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "x",
            "2026",
            "2026-1-31",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-01-31T",
            "2026-01-31T8:00",
            "2026-01-31T24:00",
            "2026-01-31T08:60",
            "2026-01-31T08:00:60",
            "2026-01-31T08:00:00.",
            "2026-01-31T08:00:00+1:00",
            "2026-01-31T08:00:00+19:00",
            "2026-01-31T08:00:00z",
            "2026-01-31 08:00",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_counted_from_the_largest_unit_down() {
        for (text, ms) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("PT1H30M", 5_400_000),
            ("P1DT12H", 129_600_000),
            ("PT0S", 0),
        ] {
            assert_eq!(parse_span(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "5",
            "s",
            "-5s",
            "30m1h",
            "1w",
            "9999999999999999d",
            "1h1h",
            "P1M",
            "t5s",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            prop_assert_eq!(parse_time(&shown(ms)), Ok(ms));
        }

        #[test]
        fn any_text_is_a_time_or_a_span_or_refused(text in "\\PC{0,30}") {
            let _ = (parse_time(&text), parse_span(&text));
        }
    }
}
