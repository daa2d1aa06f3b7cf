//! ISO 8601 times to milliseconds since 1970, and back.

use super::notation::write_integer;

/// The last millisecond of the last year that has four digits.
pub(super) const LAST_MILLIS_OF_9999: i64 = 253_402_300_799_999;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Appends the time as Java's `ISO_OFFSET_DATE_TIME` has it: in UTC, always with seconds, zeros at the end of the
/// fraction cut, years before 0 and after 9999 with a sign. Reads back as the same millisecond.
pub(super) fn write_iso_millis(millis: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(millis.div_euclid(MILLIS_PER_DAY));
    let of_day = millis.rem_euclid(MILLIS_PER_DAY);
    write_year(year, out);
    for (mark, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', of_day / 3_600_000),
        (b':', of_day / 60_000 % 60),
        (b':', of_day / 1000 % 60),
    ] {
        out.extend_from_slice(&[mark, digit(number / 10), digit(number)]);
    }
    let fraction = of_day % 1000;
    if fraction > 0 {
        let digits = [b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)];
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        out.extend_from_slice(&digits[..digits.len() - zeros]);
    }
    out.push(b'Z');
}

fn write_year(year: i64, out: &mut Vec<u8>) {
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    let magnitude = year.unsigned_abs();
    out.extend([1000, 100, 10].iter().filter(|least| magnitude < **least).map(|_| b'0'));
    write_integer(magnitude, out);
}

/// The last digit of a number that is not negative.
fn digit(number: i64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Year, month and day of a day counted from 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_400_YEARS: i64 = 146_097;
    // Years are counted from March here, so that the leap day is the last of its year; day 0 is 0000-03-01.
    let day = days + 719_468;
    let of_era = day.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (year_of_era * 365 + year_of_era / 4 - year_of_era / 100);
    // Five months from March (and again from August) have 153 days.
    let month_from_march = (of_year * 5 + 2) / 153;
    let day_of_month = of_year - (month_from_march * 153 + 2) / 5 + 1;
    let is_next_year = month_from_march >= 10;
    let month = if is_next_year { month_from_march - 9 } else { month_from_march + 3 };
    let year = day.div_euclid(DAYS_PER_400_YEARS) * 400 + year_of_era + i64::from(is_next_year);
    (year, month, day_of_month)
}

/// Reads `YYYY-MM-DDTHH:MM[:SS[.fraction]]` with `Z` or an offset; years may be signed and longer. Digits beyond the
/// millisecond are cut, as BSON has no room for them. `None` if it is no such time or lies out of range.
pub(super) fn parse_iso_millis(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor { rest: text };
    let days = cursor.date()?;
    cursor.eat(b"Tt")?;
    let millis = cursor.time_of_day()?;
    let offset_minutes = cursor.offset()?;
    if !cursor.rest.is_empty() {
        return None;
    }
    // The first day that i64 reaches begins before its first millisecond.
    let since_1970 =
        i128::from(days) * i128::from(MILLIS_PER_DAY) + i128::from(millis - offset_minutes * 60_000);
    i64::try_from(since_1970).ok()
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let sign = self.eat(b"+-");
        let magnitude = self.digits(4, if sign.is_some() { 9 } else { 4 })?;
        let year = if sign == Some(b'-') { -magnitude } else { magnitude };
        self.eat(b"-")?;
        let month = self.digits(2, 2)?;
        self.eat(b"-")?;
        let day = self.digits(2, 2)?;
        days_since_1970(year, month, day)
    }

    /// Milliseconds since midnight.
    fn time_of_day(&mut self) -> Option<i64> {
        let hour = self.digits(2, 2).filter(|hour| *hour < 24)?;
        self.eat(b":")?;
        let minute = self.digits(2, 2).filter(|minute| *minute < 60)?;
        let mut millis = (hour * 60 + minute) * 60_000;
        if self.eat(b":").is_some() {
            millis += self.digits(2, 2).filter(|second| *second < 60)? * 1000;
            if self.eat(b".").is_some() {
                millis += self.fraction_millis()?;
            }
        }
        Some(millis)
    }

    fn fraction_millis(&mut self) -> Option<i64> {
        let length = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        if digits.is_empty() {
            return None;
        }
        let padded = digits.iter().chain(b"00").take(3);
        Some(padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// Minutes east of Greenwich: `Z`, `+02:00`, `+0200` or `+02`.
    fn offset(&mut self) -> Option<i64> {
        let sign = self.eat(b"Zz+-")?;
        if matches!(sign, b'Z' | b'z') {
            return Some(0);
        }
        let hours = self.digits(2, 2).filter(|hours| *hours < 24)?;
        let has_minutes = self.eat(b":").is_some() || !self.rest.is_empty();
        let minutes = if has_minutes { self.digits(2, 2).filter(|minutes| *minutes < 60)? } else { 0 };
        let offset = hours * 60 + minutes;
        Some(if sign == b'-' { -offset } else { offset })
    }

    fn eat(&mut self, choices: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        let chosen = choices.contains(first).then_some(*first);
        self.rest = if chosen.is_some() { rest } else { self.rest };
        chosen
    }

    /// From `least` to `most` digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let length = self.rest.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let value = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        (length >= least).then_some(value)
    }
}

/// In the Gregorian calendar, also before its time; the year 0 is 1 BC.
pub(crate) fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    const DAYS_BEFORE_1970: i64 = 719_162;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month.checked_sub(1)?).ok()?;
    if day < 1 || day > *month_lengths.get(month)? {
        return None;
    }
    let past = year - 1;
    let leap_days = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    Some(past * 365 + leap_days - DAYS_BEFORE_1970 + month_lengths[..month].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::Random;

    #[test]
    fn times_are_milliseconds_since_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00Z", 0),
            ("2020-01-01T00:00:00.123Z", 1_577_836_800_123),
            ("2020-01-01T00:00:00.1Z", 1_577_836_800_100),
            ("2020-01-01T00:00:00.1239999Z", 1_577_836_800_123),
            ("2024-02-29T12:34:56.789Z", 1_709_210_096_789),
            ("2024-02-29t13:34:56.789+01:00", 1_709_210_096_789),
            ("2024-02-29T07:04:56.789-0530", 1_709_210_096_789),
            ("2024-02-29T14:34:56.789+02", 1_709_210_096_789),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("+10000-01-01T00:00:00Z", 253_402_300_800_000),
            ("-0001-12-31T00:00:00Z", -62_167_305_600_000),
            ("+292278994-08-17T07:12:55.807Z", i64::MAX),
            ("-292275055-05-16T16:47:04.192Z", i64::MIN),
        ] {
            assert_eq!(parse_iso_millis(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_java_prints_them() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (10, "1970-01-01T00:00:00.01Z"),
            (100, "1970-01-01T00:00:00.1Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (60_000, "1970-01-01T00:01:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-1000, "1969-12-31T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_210_096_120, "2024-02-29T12:34:56.12Z"),
            (LAST_MILLIS_OF_9999, "9999-12-31T23:59:59.999Z"),
            (LAST_MILLIS_OF_9999 + 1, "+10000-01-01T00:00:00Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00Z"),
            (-62_135_596_800_001, "0000-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00Z"),
            (-62_167_219_200_001, "-0001-12-31T23:59:59.999Z"),
            (-377_705_116_800_000, "-9999-01-01T00:00:00Z"),
            (-377_705_116_800_001, "-10000-12-31T23:59:59.999Z"),
            (-4_611_686_018_427_387_904, "-146136543-09-08T08:23:32.096Z"),
            (i64::MIN, "-292275055-05-16T16:47:04.192Z"),
            (i64::MAX, "+292278994-08-17T07:12:55.807Z"),
        ] {
            assert_eq!(written(millis), expected);
        }
    }

    #[test]
    fn every_time_reads_back_as_itself() {
        let mut random = Random::new(0x1970);
        let around_years = (-10_001..10_001).map(|year| year * 31_556_952_000 - 62_167_219_200_000);
        let anywhere = (0..50_000_u32).map(|round| random.next() as i64 >> (round % 40));
        for millis in around_years.chain(anywhere) {
            let text = written(millis);
            assert_eq!(parse_iso_millis(text.as_bytes()), Some(millis), "{text}");
        }
    }

    fn written(millis: i64) -> String {
        let mut out = Vec::new();
        write_iso_millis(millis, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "2020-01-01",
            "2020-01-01T00:00:00",
            "2020-13-01T00:00:00Z",
            "2020-00-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2020-01-32T00:00:00Z",
            "2020-01-00T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:60:00Z",
            "2020-01-01T00:00:60Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01 00:00:00Z",
            "2020-01-01T00:00:00Zx",
            "2020-01-01T00:00:00+1:00",
            "20200-01-01T00:00:00Z",
            "+292278994-08-17T07:12:55.808Z",
            "+999999999-01-01T00:00:00Z",
            "yesterday",
        ] {
            assert_eq!(parse_iso_millis(text.as_bytes()), None, "{text}");
        }
    }
}
