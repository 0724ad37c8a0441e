//! Texts of command headers: durations, instants, and the broker's own notes.
//!
//! Reading is strict, because what is misread is delivered at the wrong time: no blanks, no
//! fractions of a unit, no local times. What is finer than a millisecond is rounded up, so that
//! nothing is early.

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What a duration may look like, for people.
pub const DURATION_FORMS: &str = "milliseconds (250) or a whole number of s, m, h or d (10s, 30m)";

/// What an instant may look like, for people.
pub const INSTANT_FORMS: &str =
    "milliseconds since 1970 or RFC 3339 with a zone (2030-01-31T12:00:00Z)";

/// Instants in milliseconds before this one (in 1973) are more likely seconds.
pub const EARLIEST_INSTANT_MS: i64 = 100_000_000_000;

/// Reads `250` and `250ms` (milliseconds), `10s`, `5m`, `2h`, `7d`, each also with a minus sign: a
/// client that computes "until then" may be late.
#[must_use]
pub fn duration_ms(text: &str) -> Option<i64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let digits = magnitude.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = magnitude.split_at(digits);
    let unit_ms = match unit {
        "" | "ms" => 1,
        "s" => SECOND_MS,
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let duration_ms = number.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    Some(if negative { -duration_ms } else { duration_ms })
}

/// Reads epoch milliseconds or RFC 3339, as epoch milliseconds.
#[must_use]
pub fn instant_ms(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    rfc3339_ms(text)
}

/// `2030-01-31T12:00:00.5+01:00`. A leap second counts as the next minute's first.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let input = &mut rest;
    let year = digits(input, 4)?;
    expect(input, b"-")?;
    let month = digits(input, 2)?;
    expect(input, b"-")?;
    let day = digits(input, 2)?;
    expect(input, b"Tt ")?;
    let hour = digits(input, 2)?;
    expect(input, b":")?;
    let minute = digits(input, 2)?;
    expect(input, b":")?;
    let second = digits(input, 2)?;
    let fraction_ms = fraction_ms(input)?;
    let offset_ms = offset_ms(input)?;
    let exists = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let local_ms = days_since_1970(year, month, day) * DAY_MS
        + hour * HOUR_MS
        + minute * MINUTE_MS
        + second * SECOND_MS
        + fraction_ms;
    (exists && input.is_empty()).then_some(local_ms - offset_ms)
}

fn expect(input: &mut &[u8], one_of: &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    one_of.contains(first).then_some(*first)
}

fn digits(input: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, rest) = input.split_at_checked(count)?;
    *input = rest;
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// `.5`, of any length, rounded up; zero if there is none.
fn fraction_ms(input: &mut &[u8]) -> Option<i64> {
    let Some(fraction) = input.strip_prefix(b".") else { return Some(0) };
    let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction.split_at(count);
    *input = rest;
    let digit = |at: usize| i64::from(digits.get(at).map_or(0, |digit| digit - b'0'));
    let finer = digits.iter().skip(3).any(|digit| *digit != b'0');
    (count > 0).then(|| digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(finer))
}

/// `Z`, `+01:00`, `-08:30`.
fn offset_ms(input: &mut &[u8]) -> Option<i64> {
    let sign = match expect(input, b"Zz+-")? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let hours = digits(input, 2)?;
    expect(input, b":")?;
    let minutes = digits(input, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * HOUR_MS + minutes * MINUTE_MS))
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Of the proleptic Gregorian calendar. Years are counted from March, so that the leap day is a
/// year's last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    const FROM_YEAR_0_TO_1970: i64 = 719_468;
    365 * year + leap_days + day_of_year - FROM_YEAR_0_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_one_whole_number_and_one_unit() {
        for (text, ms) in [
            ("0", 0),
            ("250", 250),
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("007", 7),
            ("-1", -1),
            ("-2s", -2_000),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "-",
            "s",
            "-s",
            "+5",
            " 5",
            "5 ",
            "5 s",
            "5S",
            "5M",
            "1.5s",
            "1h30m",
            "PT5M",
            "5w",
            "0x5",
            "٣",
            "5\n",
            "--5",
            "null",
            "9223372036854775808",
            "9223372036854775807s",
            "106751991168d",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn instants_are_milliseconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000000", 1_700_000_000_000),
            ("-5", -5),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14t22:13:20z", 1_700_000_000_000),
            ("2023-11-14 22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
            ("2023-11-14T13:43:20-08:30", 1_700_000_000_000),
            ("2023-11-14T22:13:20-00:00", 1_700_000_000_000),
            ("2023-11-14T22:13:20.25Z", 1_700_000_000_250),
            ("2023-11-14T22:13:20.2500Z", 1_700_000_000_250),
            ("2023-11-14T22:13:20.250000001Z", 1_700_000_000_251),
            ("2023-11-14T22:13:20.9999Z", 1_700_000_001_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(instant_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "-",
            "now",
            "1e12",
            " 1700000000000",
            "99999999999999999999",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20,5Z",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20+01",
            "2023-11-14T22:13:20+24:00",
            "2023-11-14T22:13:20ZZ",
            "2023-11-14T22:13:20 Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-04-31T00:00:00Z",
            "2023-04-00T00:00:00Z",
            "2023-04-01T24:00:00Z",
            "2023-04-01T00:60:00Z",
            "2023-04-01T00:00:61Z",
            "+2023-04-01T00:00:00Z",
            "20230401T000000Z",
        ] {
            assert_eq!(instant_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_durations_read_back(number in 0..100_000_000_i64, unit in 0..5_usize) {
            let (suffix, unit_ms) =
                [("", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)][unit];
            prop_assert_eq!(duration_ms(&format!("{number}{suffix}")), Some(number * unit_ms));
            prop_assert_eq!(duration_ms(&format!("-{number}{suffix}")), Some(-number * unit_ms));
        }

        /// Against a calendar that counts day by day.
        #[test]
        fn every_day_follows_the_one_before(day in 0..60_000_i64, ms in 0..DAY_MS) {
            let (mut year, mut month, mut left) = (1970, 1, day);
            while left >= days_of(year, month) {
                left -= days_of(year, month);
                (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            }
            let (hour, minute) = (ms / HOUR_MS, ms / MINUTE_MS % 60);
            let (second, fraction) = (ms / SECOND_MS % 60, ms % SECOND_MS);
            let text = format!(
                "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z",
                left + 1
            );
            prop_assert_eq!(instant_ms(&text), Some(day * DAY_MS + ms), "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[0-9TZtz:.+ -]{0,40}") {
            let _ = (duration_ms(&text), instant_ms(&text));
        }
    }
}
