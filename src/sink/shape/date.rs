//! Texts and numbers → dates, for the time field of a time series. Pure.
//!
//! Patterns are those of Java's `DateTimeFormatter`, as far as they are numbers: `yyyy MM dd HH mm ss SSS`, quoted text,
//! `[…]` for what may be missing, and `X`, `Z` or `VV` for an offset, `Z`, `UTC` or `GMT`. A text without an offset is in
//! UTC, one without a time is midnight.

use crate::{
    config::Invalid,
    json::days_since_1970,
    raw::{Document, Element, Error as RawError, kind},
};

use super::rewritten;

/// How a text is read as a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatePattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A number with so many digits.
    Number(Field, usize, usize),
    Offset,
    Text(String),
    /// What is there as a whole or not at all.
    Optional(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    /// Of this century.
    ShortYear,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
}

/// A date and a time of day, with numbers that may be out of range yet.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
    offset_seconds: i64,
}

impl Default for DatePattern {
    /// ISO 8601, with a space for the T too, and with or without time, seconds, fraction and offset.
    fn default() -> Self {
        let text = "yyyy-MM-dd[['T'][ ]HH:mm[:ss[.S]][ ][X]]";
        Self { parts: parts(&mut text.chars().peekable(), false, true).expect("the pattern is sound") }
    }
}

impl DatePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a letter is none of those that are known, or a bracket or quote lacks its partner.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parts = parts(&mut text.chars().peekable(), false, false)?;
        for (field, name) in [(Field::Month, "a month (MM)"), (Field::Day, "a day (dd)")] {
            if !has(&parts, field) {
                return Err(Invalid(format!("has no {name}", name = name.trim_start_matches("a "))));
            }
        }
        if !has(&parts, Field::Year) && !has(&parts, Field::ShortYear) {
            return Err(Invalid("has no year (yyyy)".into()));
        }
        Ok(Self { parts })
    }

    /// The milliseconds since 1970, if the text is such a date.
    fn millis(&self, text: &str) -> Option<i64> {
        let mut read = Read::default();
        let rest = read_parts(&self.parts, text.as_bytes(), &mut read)?;
        if !rest.is_empty() || read.hour > 23 || read.minute > 59 || read.second > 59 {
            return None;
        }
        let days = days_since_1970(read.year?, read.month?, read.day?)?;
        let seconds = days.checked_mul(86_400)? + read.hour * 3600 + read.minute * 60 + read.second;
        (seconds - read.offset_seconds).checked_mul(1000)?.checked_add(read.millis)
    }

    /// `document` with a date in `field` where a number or a text that is one was; otherwise as it is.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn convert(&self, document: Document<'_>, field: &str) -> Result<Vec<u8>, RawError> {
        rewritten(document, |writer| {
            for element in document.elements() {
                let element = element?;
                let millis = if element.name == field.as_bytes() { self.date(element) } else { None };
                match millis {
                    Some(millis) => writer.value(element.name, kind::DATE_TIME, &millis.to_le_bytes()),
                    None => writer.value(element.name, element.kind, element.value),
                }
            }
            Ok(())
        })
    }

    fn date(&self, element: Element<'_>) -> Option<i64> {
        match element.kind {
            kind::STRING => self.millis(element.as_str()?),
            // As Java casts: cut, and held within the range.
            kind::DOUBLE => element.as_f64().filter(|number| !number.is_nan()).map(|number| number as i64),
            _ => element.as_i64(),
        }
    }
}

fn has(parts: &[Part], field: Field) -> bool {
    parts.iter().any(|part| match part {
        Part::Number(own, ..) => *own == field,
        Part::Optional(inner) => has(inner, field),
        Part::Offset | Part::Text(_) => false,
    })
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The parts up to the end, or to the bracket that ends an optional one. `is_lenient`: a fraction has any length.
fn parts(chars: &mut Chars<'_>, is_inner: bool, is_lenient: bool) -> Result<Vec<Part>, Invalid> {
    let mut parts = Vec::new();
    while let Some(letter) = chars.next() {
        let part = match letter {
            '[' => Part::Optional(self::parts(chars, true, is_lenient)?),
            ']' if is_inner => return Ok(parts),
            ']' => return Err(Invalid("has a bracket without its partner".into())),
            '\'' => Part::Text(quoted(chars)?),
            letter if letter.is_ascii_alphabetic() => {
                let mut count = 1;
                while chars.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                by_letter(letter, count, is_lenient)?
            }
            '#' | '{' | '}' => {
                return Err(Invalid(format!("has {letter}, which means nothing in a pattern")));
            }
            other => Part::Text(other.into()),
        };
        parts.push(part);
    }
    if is_inner { Err(Invalid("has a bracket without its partner".into())) } else { Ok(parts) }
}

/// The text up to the closing quote; none at all is a quote itself, as are two inside.
fn quoted(chars: &mut Chars<'_>) -> Result<String, Invalid> {
    let mut text = String::new();
    loop {
        match chars.next() {
            None => return Err(Invalid("has a quote without its partner".into())),
            Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') if text.is_empty() => return Ok("'".into()),
            Some('\'') => return Ok(text),
            Some(other) => text.push(other),
        }
    }
}

fn by_letter(letter: char, count: usize, is_lenient: bool) -> Result<Part, Invalid> {
    let number = |field, widest: usize| match count {
        1 => Ok(Part::Number(field, 1, widest)),
        count if count <= widest => Ok(Part::Number(field, count, count)),
        _ => Err(Invalid(format!("has {count} of {letter}, which is more than such a number has digits"))),
    };
    match (letter, count) {
        ('y' | 'u', 2) => Ok(Part::Number(Field::ShortYear, 2, 2)),
        ('y' | 'u', _) => number(Field::Year, 9),
        ('M' | 'L', _) => number(Field::Month, 2),
        ('d', _) => number(Field::Day, 2),
        ('H', _) => number(Field::Hour, 2),
        ('m', _) => number(Field::Minute, 2),
        ('s', _) => number(Field::Second, 2),
        ('S', _) if is_lenient => Ok(Part::Number(Field::Fraction, 1, 9)),
        ('S', 1..=9) => Ok(Part::Number(Field::Fraction, count, count)),
        ('X' | 'x' | 'Z' | 'V' | 'z' | 'O', _) => Ok(Part::Offset),
        _ => Err(Invalid(format!(
            "has the letter {letter}, which is not known here as often; known: y, M, d, H, m, s, S, X, Z, V; text in 'quotes'"
        ))),
    }
}

/// What is left of `text` behind these parts.
fn read_parts<'t>(parts: &[Part], text: &'t [u8], read: &mut Read) -> Option<&'t [u8]> {
    let mut rest = text;
    for part in parts {
        rest = match part {
            Part::Text(text) => rest.strip_prefix(text.as_bytes())?,
            Part::Number(field, least, most) => number(*field, *least, *most, rest, read)?,
            Part::Offset => offset(rest, read)?,
            Part::Optional(inner) => {
                let mut attempt = *read;
                match read_parts(inner, rest, &mut attempt) {
                    Some(after) => {
                        *read = attempt;
                        after
                    }
                    None => rest,
                }
            }
        };
    }
    Some(rest)
}

fn digits(text: &[u8], least: usize, most: usize) -> Option<(i64, &[u8])> {
    let count = text.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let value = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    (count >= least).then_some((value, rest))
}

fn number<'t>(field: Field, least: usize, most: usize, text: &'t [u8], read: &mut Read) -> Option<&'t [u8]> {
    let (value, rest) = digits(text, least, most)?;
    match field {
        Field::Year => read.year = Some(value),
        Field::ShortYear => read.year = Some(2000 + value),
        Field::Month => read.month = Some(value),
        Field::Day => read.day = Some(value),
        Field::Hour => read.hour = value,
        Field::Minute => read.minute = value,
        Field::Second => read.second = value,
        Field::Fraction => {
            let count = text.len() - rest.len();
            let power = |digits: usize| 10_i64.pow(u32::try_from(digits).expect("nine at most"));
            read.millis = if count < 3 { value * power(3 - count) } else { value / power(count - 3) };
        }
    }
    Some(rest)
}

/// `Z`, `UTC`, `GMT`, `+02`, `+0200` or `+02:00`.
fn offset<'t>(text: &'t [u8], read: &mut Read) -> Option<&'t [u8]> {
    for name in [b"Z".as_slice(), b"UTC", b"GMT"] {
        if let Some(rest) = text.strip_prefix(name) {
            read.offset_seconds = 0;
            return Some(rest);
        }
    }
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = digits(rest, 2, 2)?;
    let behind = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) = digits(behind, 2, 2).unwrap_or((0, rest));
    read.offset_seconds = (hours < 19 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_709_210_096_000;

    #[test]
    fn iso_texts_are_read_leniently() {
        for (text, expected) in [
            ("2024-02-29T12:34:56Z", Some(NOON)),
            ("2024-02-29 12:34:56", Some(NOON)),
            ("2024-02-29T12:34:56.789", Some(NOON + 789)),
            ("2024-02-29T12:34:56.7891239+00:00", Some(NOON + 789)),
            ("2024-02-29T14:34:56+02", Some(NOON)),
            ("2024-02-29 07:04:56 -0530", Some(NOON)),
            ("2024-02-29T12:34", Some(NOON - 56_000)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("2023-02-29", None),
            ("2024-02-29T25:00:00Z", None),
            ("2024-02-29x", None),
            ("12:34:56", None),
            ("", None),
        ] {
            assert_eq!(DatePattern::default().millis(text), expected, "{text}");
        }
    }

    #[test]
    fn patterns_are_read_as_java_writes_them() {
        for (pattern, text, expected) in [
            ("dd.MM.yyyy HH:mm:ss", "29.02.2024 12:34:56", Some(NOON)),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2024-02-29T13:34:56.007+01:00", Some(NOON + 7)),
            ("yyyyMMddHHmmss", "20240229123456", Some(NOON)),
            ("d/M/yy[ HH:mm:ss]", "29/2/24 12:34:56", Some(NOON)),
            ("d/M/yy[ HH:mm:ss]", "29/2/24", Some(1_709_164_800_000)),
            ("yyyy-MM-dd'o''clock'", "2024-02-29o'clock", Some(1_709_164_800_000)),
            ("yyyy-MM-dd HH:mm:ss VV", "2024-02-29 12:34:56 UTC", Some(NOON)),
            ("yyyy-MM-dd", "2024-2-29", None),
            ("yyyy-MM-dd", "2024-02-29T00:00", None),
        ] {
            let read = DatePattern::parse(pattern).expect("sound").millis(text);
            assert_eq!(read, expected, "{pattern}: {text}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_read_are_refused() {
        for (pattern, part) in [
            ("yyyy-MM-dd[HH", "bracket"),
            ("yyyy-MM-dd]", "bracket"),
            ("yyyy-MM-dd'T", "quote"),
            ("yyyy-MMM-dd", "more than such a number"),
            ("yyyy-MM-dd EEE", "letter E"),
            ("HH:mm", "no month"),
            ("MM-dd", "no year"),
            ("yyyy-MM-dd{", "means nothing"),
        ] {
            let message = DatePattern::parse(pattern).expect_err(pattern).to_string();
            assert!(message.contains(part), "{pattern}: {message}");
        }
    }
}
