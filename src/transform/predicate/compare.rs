//! Values compared as the server's queries do: within one class of types, numbers of all types with each other.
//!
//! Numbers compare exactly, but for a double with a decimal: the double is first rounded to 34 digits, as the server
//! does it. <https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/>

use std::{cmp::Ordering, fmt::Write};

use crate::raw::{Document, Element, Error, kind};

/// Whether two values are equal: 1, 1.0 and a long 1 are.
pub(crate) fn equals(a: Element<'_>, b: Element<'_>) -> Result<bool, Error> {
    Ok(class(a.kind) == class(b.kind) && compare(a, b)? == Some(Ordering::Equal))
}

/// How `a` stands to a query's value `b`; `None` where a query does not compare them. It goes as deep as `b` is.
pub(super) fn compare(a: Element<'_>, b: Element<'_>) -> Result<Option<Ordering>, Error> {
    // These two alone compare with all types.
    if matches!(b.kind, kind::MIN_KEY | kind::MAX_KEY) {
        return Ok(Some(class(a.kind).cmp(&class(b.kind))));
    }
    if class(a.kind) != class(b.kind) {
        return Ok(None);
    }
    Ok(match b.kind {
        kind::INT32 | kind::INT64 | kind::DOUBLE | kind::DECIMAL128 => compare_numbers(a, b),
        _ => Some(compare_same_class(a, b)?),
    })
}

/// The place of a type in the order of all types.
fn class(kind: u8) -> u8 {
    match kind {
        kind::MIN_KEY => 0,
        kind::UNDEFINED => 1,
        kind::NULL => 2,
        kind::INT32 | kind::INT64 | kind::DOUBLE | kind::DECIMAL128 => 3,
        kind::STRING | kind::SYMBOL => 4,
        kind::DOCUMENT => 5,
        kind::ARRAY => 6,
        kind::BINARY => 7,
        kind::OBJECT_ID => 8,
        kind::BOOLEAN => 9,
        kind::DATE_TIME => 10,
        kind::TIMESTAMP => 11,
        kind::REGEX => 12,
        kind::DB_POINTER => 13,
        kind::CODE => 14,
        kind::CODE_WITH_SCOPE => 15,
        _ => 16,
    }
}

fn compare_same_class(a: Element<'_>, b: Element<'_>) -> Result<Ordering, Error> {
    Ok(match (a.as_document(), b.as_document()) {
        (Some(x), Some(y)) => compare_documents(x, y, a.kind == kind::DOCUMENT)?,
        _ => match a.kind {
            kind::STRING | kind::SYMBOL | kind::CODE => a.as_text().cmp(&b.as_text()),
            kind::DATE_TIME => signed(a.value).cmp(&signed(b.value)),
            kind::TIMESTAMP => (signed(a.value) as u64).cmp(&(signed(b.value) as u64)),
            kind::BOOLEAN => a.as_bool().cmp(&b.as_bool()),
            // Length, then subtype and contents: the length stands first, but in the wrong order of its bytes.
            kind::BINARY => a.value.len().cmp(&b.value.len()).then_with(|| a.value.cmp(b.value)),
            _ => a.value.cmp(b.value),
        },
    })
}

/// By each field's type, then (in documents) its name, then its value; the shorter one first.
fn compare_documents(a: Document<'_>, b: Document<'_>, has_names: bool) -> Result<Ordering, Error> {
    let (mut a, mut b) = (a.elements(), b.elements());
    loop {
        let (x, y) = match (a.next().transpose()?, b.next().transpose()?) {
            (Some(x), Some(y)) => (x, y),
            (x, y) => return Ok(x.is_some().cmp(&y.is_some())),
        };
        let mut ordering = class(x.kind).cmp(&class(y.kind));
        if has_names {
            ordering = ordering.then_with(|| x.name.cmp(y.name));
        }
        if ordering.is_eq() {
            ordering = match class(x.kind) {
                // Inside of documents every number has its place: NaN is the least.
                3 => compare_numbers(x, y).unwrap_or_else(|| is_nan(y).cmp(&is_nan(x))),
                _ => compare_same_class(x, y)?,
            };
        }
        if ordering.is_ne() {
            return Ok(ordering);
        }
    }
}

fn signed(value: &[u8]) -> i64 {
    i64::from_le_bytes(value.try_into().expect("eight bytes"))
}

fn is_nan(element: Element<'_>) -> bool {
    matches!(Number::of(element), Number::Nan)
}

/// `None` where one is NaN and the other is not.
fn compare_numbers(a: Element<'_>, b: Element<'_>) -> Option<Ordering> {
    match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
        (Some(x), Some(y), ..) => return Some(x.cmp(&y)),
        (_, _, Some(x), Some(y)) if !x.is_nan() && !y.is_nan() => return x.partial_cmp(&y),
        (Some(x), _, _, Some(y)) => return compare_whole(x, y),
        (_, Some(y), Some(x), _) => return compare_whole(y, x).map(Ordering::reverse),
        _ => {}
    }
    match (Number::of(a), Number::of(b)) {
        (Number::Nan, Number::Nan) => Some(Ordering::Equal),
        (Number::Nan, _) | (_, Number::Nan) => None,
        (Number::Infinite(x), Number::Infinite(y)) => Some(x.cmp(&y)),
        (Number::Infinite(x), Number::Finite(_)) => Some(x),
        (Number::Finite(_), Number::Infinite(y)) => Some(y.reverse()),
        (Number::Finite(x), Number::Finite(y)) => Some(x.compare(y)),
    }
}

/// A whole number with a double, exactly.
fn compare_whole(whole: i64, double: f64) -> Option<Ordering> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= END {
        return Some(Ordering::Less);
    }
    if double < -END {
        return Some(Ordering::Greater);
    }
    // In this range the double's whole part is a long.
    let fraction = double - double.trunc();
    Some(whole.cmp(&(double as i64)).then(0.0.partial_cmp(&fraction)?))
}

/// A number of any type.
enum Number {
    Finite(Decimal),
    /// Greater or less than all others.
    Infinite(Ordering),
    Nan,
}

/// `significand · 10^exponent`, negative or not. The significand has at most 34 digits.
#[derive(Clone, Copy)]
struct Decimal {
    is_negative: bool,
    significand: u128,
    exponent: i32,
}

impl Number {
    fn of(element: Element<'_>) -> Self {
        if let Some(whole) = element.as_i64() {
            let significand = u128::from(whole.unsigned_abs());
            return Self::Finite(Decimal { is_negative: whole < 0, significand, exponent: 0 });
        }
        match element.as_f64() {
            Some(double) if double.is_nan() => Self::Nan,
            Some(double) if double.is_infinite() => Self::Infinite(double.total_cmp(&0.0)),
            Some(double) => Self::Finite(Decimal::rounded(double)),
            None => {
                element.value.try_into().map_or(Self::Nan, |bytes| of_decimal128(u128::from_le_bytes(bytes)))
            }
        }
    }
}

/// IEEE 754 with a binary significand, as in `json::decimal`.
fn of_decimal128(bits: u128) -> Number {
    const SIGNIFICAND_END: u128 = 10_u128.pow(34);
    let is_negative = bits >> 127 != 0;
    match bits >> 122 & 0b11111 {
        0b11111 => return Number::Nan,
        0b11110 if is_negative => return Number::Infinite(Ordering::Less),
        0b11110 => return Number::Infinite(Ordering::Greater),
        _ => {}
    }
    let has_long_form = bits >> 125 & 0b11 == 0b11;
    let exponent = if has_long_form { bits >> 111 } else { bits >> 113 } & 0x3fff;
    // Significands of the long form, and all others of more than 34 digits, count as zero.
    let significand = if has_long_form { 0 } else { bits & ((1 << 113) - 1) };
    let significand = if significand < SIGNIFICAND_END { significand } else { 0 };
    Number::Finite(Decimal { is_negative, significand, exponent: exponent as i32 - 6176 })
}

impl Decimal {
    /// A finite double, rounded to 34 digits.
    fn rounded(double: f64) -> Self {
        let mut text = Text { bytes: [0; 64], length: 0 };
        write!(text, "{:.33e}", double.abs()).expect("34 digits and an exponent fit");
        let mut decimal = Self { is_negative: double.is_sign_negative(), significand: 0, exponent: -33 };
        let mut parts = text.bytes[..text.length].split(|byte| *byte == b'e');
        for digit in parts.next().unwrap_or_default().iter().filter(|byte| byte.is_ascii_digit()) {
            decimal.significand = decimal.significand * 10 + u128::from(digit - b'0');
        }
        let exponent = parts.next().and_then(|part| std::str::from_utf8(part).ok()?.parse::<i32>().ok());
        decimal.exponent += exponent.expect("the notation has an exponent");
        decimal
    }

    fn compare(self, other: Self) -> Ordering {
        match (self.significand == 0, other.significand == 0) {
            (true, true) => return Ordering::Equal,
            (true, false) => return if other.is_negative { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if self.is_negative { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }

    /// Neither is zero.
    fn compare_magnitude(self, other: Self) -> Ordering {
        let top = |decimal: Self| decimal.exponent + decimal.significand.ilog10() as i32;
        top(self).cmp(&top(other)).then_with(|| {
            // The first digits stand at the same place, so that widening either keeps it within 34 digits.
            let shared = self.exponent.min(other.exponent);
            let widened =
                |decimal: Self| decimal.significand * 10_u128.pow((decimal.exponent - shared) as u32);
            widened(self).cmp(&widened(other))
        })
    }
}

/// Room for a number's text.
struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
