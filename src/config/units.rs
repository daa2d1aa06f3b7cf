//! Sizes, durations and points in time, as users write them.

use std::time::Duration;

use toml_edit::{Datetime, Offset};

use super::{ClusterTime, Invalid, Start};

/// A duration: a whole number with `ms`, `s`, `m` or `h`.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let invalid =
        || Invalid("is not a duration; write a whole number with ms, s, m or h, like \"1s\"".into());
    let (number, unit) = split_unit(text).ok_or_else(invalid)?;
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(invalid()),
    };
    // A year is more than any setting needs, and keeps later arithmetic on instants from overflowing.
    const MOST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let duration = number.checked_mul(milliseconds_each).map(Duration::from_millis);
    duration.filter(|d| *d <= MOST).ok_or_else(|| Invalid("is longer than a year".into()))
}

/// A size in bytes: a whole number, alone or with `B`, `kB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB` or `GiB` (of 1024).
pub fn parse_size(text: &str) -> Result<usize, Invalid> {
    let invalid = || {
        Invalid(
            "is not a size; write a whole number of bytes, or one with kB, MB, GB, KiB, MiB or GiB".into(),
        )
    };
    let (number, unit) = split_unit(text).ok_or_else(invalid)?;
    let bytes_each = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(invalid()),
    };
    let bytes = number.checked_mul(bytes_each).and_then(|bytes| usize::try_from(bytes).ok());
    // Half of the address space, so that sums of a few sizes cannot overflow.
    bytes
        .filter(|&b| b <= usize::MAX / 2)
        .ok_or_else(|| Invalid("is more than this machine can address".into()))
}

/// Where a source starts: `latest`, a time with its offset, a cluster time `seconds:increment`, or `token:` and the
/// `_data` of a resume token.
pub(crate) fn parse_start(text: &str) -> Result<Start, Invalid> {
    if text == "latest" {
        return Ok(Start::Latest);
    }
    if let Some(data) = text.strip_prefix("token:") {
        return match data {
            data if !data.is_empty() && data.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Start::After(data.to_owned()))
            }
            _ => Err(Invalid(
                "is no resume token; write its _data, hexadecimal digits, after \"token:\"".into(),
            )),
        };
    }
    let cluster_time = parse_cluster_time(text).or_else(|| time_to_cluster_time(text));
    cluster_time.map(Start::At).ok_or_else(|| {
        Invalid(
            "is no start; write \"latest\", a time with its offset like \"2026-11-23T03:00:00Z\", \
             a cluster time like \"1795398199:31\", or \"token:\" and a resume token's _data"
                .into(),
        )
    })
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    // More than twenty digits cannot be meant; `parse` refuses what does not fit.
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

fn parse_cluster_time(text: &str) -> Option<ClusterTime> {
    let (seconds, increment) = text.split_once(':')?;
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    let time = ClusterTime { seconds: number(seconds)?, increment: number(increment)? };
    (time.seconds > 0).then_some(time)
}

/// The first cluster time of the second in which `text` lies: an earlier start repeats, a later one would lose.
fn time_to_cluster_time(text: &str) -> Option<ClusterTime> {
    let Datetime { date: Some(date), time: Some(time), offset: Some(offset) } = text.parse().ok()? else {
        return None;
    };
    let offset_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_epoch(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let of_day = (i64::from(time.hour) * 60 + i64::from(time.minute)) * 60 + i64::from(time.second);
    let seconds = u32::try_from(days * 86_400 + of_day - offset_minutes * 60).ok()?;
    (seconds > 0).then_some(ClusterTime { seconds, increment: 1 })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that a leap day is the last day of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    let days_before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    days_before_year + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_fit_a_year() {
        for (text, milliseconds) in
            [("0ms", 0), ("50ms", 50), ("1s", 1000), ("5 m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "-1s", "1.5s", "1d", "1 s x", "+1s", "9000h", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_know_decimal_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("123", 123),
            ("5B", 5),
            ("2kB", 2000),
            ("64MB", 64_000_000),
            ("8MiB", 8 << 20),
            ("1 GiB", 1 << 30),
            ("1gb", 1_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "-1", "1.5MB", "1TB", "1M", "18446744073709551615", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn starts_are_latest_a_time_or_a_cluster_time() {
        let at = |seconds, increment| Ok(Start::At(ClusterTime { seconds, increment }));
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        assert_eq!(parse_start("1795398199:31"), at(1_795_398_199, 31));
        assert_eq!(parse_start("1970-01-01T00:00:01Z"), at(1, 1));
        assert_eq!(parse_start("2000-02-29T12:00:00Z"), at(951_825_600, 1));
        assert_eq!(parse_start("2000-03-01T00:00:00Z"), at(951_868_800, 1));
        assert_eq!(parse_start("2026-11-23T03:00:00Z"), at(1_795_402_800, 1));
        assert_eq!(parse_start("2026-11-23T04:30:00.999+01:30"), at(1_795_402_800, 1));
        assert_eq!(parse_start("token:826B"), Ok(Start::After("826B".into())));
        for text in [
            "",
            "token:",
            "token:{}",
            "now",
            "2026-11-23",
            "2026-11-23T03:00:00",
            "0:1",
            "1:",
            ":1",
            "+1:1",
            "1960-01-01T00:00:00Z",
            "2200-01-01T00:00:00Z",
        ] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }
}
