//! Wrappers: documents that stand for a value which JSON has no notation for, such as `{"$oid": "…"}`.
//!
//! Both generations are known (`{"$binary": "…", "$type": "00"}` and `{"$binary": {"base64": "…", "subType": "00"}}`).
//! What makes a wrapper is its member names and the kinds of their values; anything else is the plain document that it
//! spells, since names may begin with `$`. A wrapper whose text then makes no sense (`{"$oid": "12"}`) is an error.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{date, decimal, notation::OLD_BINARY};
use crate::raw::{Document, Element, kind};

/// What a malformed wrapper should have held.
type Expected = &'static str;

/// If `document`, as the reader wrote it, is a wrapper: its value goes to `value` (emptied first), its kind is returned.
pub(super) fn unwrap(document: &[u8], value: &mut Vec<u8>) -> Result<Option<u8>, Expected> {
    const FIRST_NAME: usize = 5;
    if document.get(FIRST_NAME) != Some(&b'$') {
        return Ok(None);
    }
    value.clear();
    let document = Document::new(document).expect("the reader finished this document");
    if let Some([member]) = members(document) {
        unwrap_one(member, value)
    } else if let Some([first, second]) = members(document) {
        // In either order; at most one of them fits.
        match unwrap_two(first, second, value)? {
            None => unwrap_two(second, first, value),
            found => Ok(found),
        }
    } else {
        Ok(None)
    }
}

/// The value that `{name: "text"}` stands for: its kind is returned, its bytes are appended to `value`. `None` for a
/// name that is no wrapper of text.
///
/// # Errors
/// What the text should have been.
pub fn value_of_text(name: &str, text: &[u8], value: &mut Vec<u8>) -> Result<Option<u8>, &'static str> {
    unwrap_text(name.as_bytes(), text, value)
}

/// The elements, if there are exactly `COUNT`.
fn members<const COUNT: usize>(document: Document<'_>) -> Option<[Element<'_>; COUNT]> {
    let mut elements = document.elements().map(|element| element.expect("the reader wrote this element"));
    let mut found = [Element { kind: 0, name: b"", value: b"" }; COUNT];
    for place in &mut found {
        *place = elements.next()?;
    }
    elements.next().is_none().then_some(found)
}

/// The values of an embedded document's two members, if these are their names.
fn named_pair<'a>(document: Document<'a>, names: [&[u8]; 2]) -> Option<[Element<'a>; 2]> {
    let [first, second] = members(document)?;
    if [first.name, second.name] == names {
        Some([first, second])
    } else {
        ([second.name, first.name] == names).then_some([second, first])
    }
}

fn unwrap_one(member: Element<'_>, value: &mut Vec<u8>) -> Result<Option<u8>, Expected> {
    if let Some(text) = member.as_text() {
        return match member.kind {
            kind::STRING => unwrap_text(member.name, text, value),
            _ => Ok(None),
        };
    }
    match (member.name, member.as_document()) {
        (b"$date", None) => {
            Ok(member.as_i64().map(|millis| push(value, kind::DATE_TIME, &millis.to_le_bytes())))
        }
        (b"$minKey", None) => Ok((member.as_i64() == Some(1)).then_some(kind::MIN_KEY)),
        (b"$maxKey", None) => Ok((member.as_i64() == Some(1)).then_some(kind::MAX_KEY)),
        (b"$undefined", None) => Ok((member.as_bool() == Some(true)).then_some(kind::UNDEFINED)),
        (name, Some(inner)) if member.kind == kind::DOCUMENT => unwrap_document(name, inner, value),
        _ => Ok(None),
    }
}

/// `{name: "text"}`; after an error or `None` nothing is appended.
pub(super) fn unwrap_text(name: &[u8], text: &[u8], value: &mut Vec<u8>) -> Result<Option<u8>, Expected> {
    let kind = match name {
        b"$oid" => {
            let id: [u8; 12] = hex_bytes(text).ok_or("24 hex digits in `$oid`")?;
            push(value, kind::OBJECT_ID, &id)
        }
        b"$numberInt" => {
            let number: i32 = parse_number(text).ok_or("a 32-bit whole number in `$numberInt`")?;
            push(value, kind::INT32, &number.to_le_bytes())
        }
        b"$numberLong" => {
            let number: i64 = parse_number(text).ok_or("a 64-bit whole number in `$numberLong`")?;
            push(value, kind::INT64, &number.to_le_bytes())
        }
        b"$numberDouble" => {
            let number = parse_double(text).ok_or("a number, NaN or Infinity in `$numberDouble`")?;
            push(value, kind::DOUBLE, &number.to_le_bytes())
        }
        b"$numberDecimal" => {
            let number = decimal::parse_decimal(text)
                .ok_or("a number that Decimal128 holds exactly in `$numberDecimal`")?;
            push(value, kind::DECIMAL128, &number)
        }
        b"$date" => {
            let millis =
                date::parse_iso_millis(text).ok_or("a time such as 2020-01-01T00:00:00Z in `$date`")?;
            push(value, kind::DATE_TIME, &millis.to_le_bytes())
        }
        b"$uuid" => {
            let id = uuid_bytes(text).ok_or("a UUID in `$uuid`")?;
            value.extend_from_slice(&16_i32.to_le_bytes());
            value.push(4);
            push(value, kind::BINARY, &id)
        }
        b"$symbol" => push_text(value, kind::SYMBOL, text),
        b"$code" => push_text(value, kind::CODE, text),
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

/// `{name: {…}}`
fn unwrap_document(name: &[u8], inner: Document<'_>, value: &mut Vec<u8>) -> Result<Option<u8>, Expected> {
    let names: [&[u8]; 2] = match name {
        b"$binary" => [b"base64", b"subType"],
        b"$regularExpression" => [b"pattern", b"options"],
        b"$timestamp" => [b"t", b"i"],
        b"$dbPointer" => [b"$ref", b"$id"],
        _ => return Ok(None),
    };
    let Some([first, second]) = named_pair(inner, names) else { return Ok(None) };
    match (name, string(first), string(second)) {
        (b"$binary", Some(data), Some(subtype)) => {
            let subtype = parse_subtype(subtype).ok_or("two hex digits in `subType`")?;
            push_binary(value, subtype, data).map(Some)
        }
        (b"$regularExpression", Some(pattern), Some(options)) => {
            push_regex(value, pattern, options).map(Some)
        }
        (b"$timestamp", None, None) => {
            let part = |member: Element<'_>| u32::try_from(member.as_i64()?).ok();
            let (Some(seconds), Some(increment)) = (part(first), part(second)) else { return Ok(None) };
            value.extend_from_slice(&increment.to_le_bytes());
            Ok(Some(push(value, kind::TIMESTAMP, &seconds.to_le_bytes())))
        }
        (b"$dbPointer", Some(namespace), None) if second.kind == kind::OBJECT_ID => {
            push_text(value, kind::DB_POINTER, namespace);
            Ok(Some(push(value, kind::DB_POINTER, second.value)))
        }
        _ => Ok(None),
    }
}

/// `{first: …, second: …}`
fn unwrap_two(first: Element<'_>, second: Element<'_>, value: &mut Vec<u8>) -> Result<Option<u8>, Expected> {
    let Some(text) = string(first) else { return Ok(None) };
    match (first.name, second.name) {
        (b"$binary", b"$type") => {
            let subtype = match (string(second), second.as_i64()) {
                (Some(digits), _) => parse_subtype(digits),
                (None, Some(number)) => u8::try_from(number).ok(),
                (None, None) => return Ok(None),
            };
            push_binary(value, subtype.ok_or("two hex digits or a byte in `$type`")?, text).map(Some)
        }
        (b"$regex", b"$options") => {
            string(second).map(|options| push_regex(value, text, options)).transpose()
        }
        (b"$code", b"$scope") if second.kind == kind::DOCUMENT => {
            value.extend_from_slice(&[0; 4]);
            push_text(value, kind::CODE, text);
            value.extend_from_slice(second.value);
            let length = value.len() as i32;
            value[..4].copy_from_slice(&length.to_le_bytes());
            Ok(Some(kind::CODE_WITH_SCOPE))
        }
        _ => Ok(None),
    }
}

fn string(member: Element<'_>) -> Option<&[u8]> {
    member.as_text().filter(|_| member.kind == kind::STRING)
}

fn push(value: &mut Vec<u8>, kind: u8, bytes: &[u8]) -> u8 {
    value.extend_from_slice(bytes);
    kind
}

/// Lengths here fit, since the value is shorter than the document that it stood in.
fn push_text(value: &mut Vec<u8>, kind: u8, text: &[u8]) -> u8 {
    value.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
    value.extend_from_slice(text);
    value.push(0);
    kind
}

fn push_regex(value: &mut Vec<u8>, pattern: &[u8], options: &[u8]) -> Result<u8, Expected> {
    if pattern.contains(&0) || options.contains(&0) {
        return Err("a regular expression without NUL");
    }
    for part in [pattern, options] {
        value.extend_from_slice(part);
        value.push(0);
    }
    Ok(kind::REGEX)
}

fn push_binary(value: &mut Vec<u8>, subtype: u8, base64: &[u8]) -> Result<u8, Expected> {
    const HEAD: usize = 5;
    value.extend_from_slice(&[0, 0, 0, 0, subtype]);
    if subtype == OLD_BINARY {
        value.extend_from_slice(&[0; 4]);
    }
    let data_start = value.len();
    value.resize(data_start + base64::decoded_len_estimate(base64.len()), 0);
    let length = STANDARD
        .decode_slice(base64, &mut value[data_start..])
        .map_err(|_| "base64 with padding in `$binary`")?;
    value.truncate(data_start + length);
    if subtype == OLD_BINARY {
        value[HEAD..data_start].copy_from_slice(&(length as i32).to_le_bytes());
    }
    let whole = (value.len() - HEAD) as i32;
    value[..4].copy_from_slice(&whole.to_le_bytes());
    Ok(kind::BINARY)
}

/// One or two hex digits.
fn parse_subtype(digits: &[u8]) -> Option<u8> {
    let value = digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))?;
    u8::try_from(value).ok().filter(|_| matches!(digits.len(), 1 | 2))
}

/// The value of each hex digit; other bytes have one that no digit has.
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

fn hex_bytes<const LENGTH: usize>(digits: &[u8]) -> Option<[u8; LENGTH]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; LENGTH] = pairs.try_into().ok()?;
    let mut seen = 0;
    let bytes = pairs.map(|[high, low]| {
        let (high, low) = (HEX[usize::from(high)], HEX[usize::from(low)]);
        seen |= high | low;
        high << 4 | low
    });
    (seen != NO_DIGIT).then_some(bytes)
}

/// Five groups of hex digits with dashes between.
fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    if text.len() != 36 || DASHES.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut digits = [0; 32];
    let all_but_dashes = text.iter().enumerate().filter(|(at, _)| !DASHES.contains(at));
    for (digit, (_, found)) in digits.iter_mut().zip(all_but_dashes) {
        *digit = *found;
    }
    hex_bytes(&digits)
}

fn parse_number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_double(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        // Only the spelled words above may yield what is not finite: neither "inf" nor 1e999.
        _ => parse_number::<f64>(text).filter(|number| number.is_finite()),
    }
}
