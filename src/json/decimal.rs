//! Decimal128 between its bits (IEEE 754, binary integer decimal) and text.
//!
//! The layout is the one of Java's `BigDecimal` and of the driver specification: plain where the exponent is at most
//! zero and the first digit stands at 10⁻⁶ or higher, otherwise scientific with a signed exponent. Every finite number
//! in canonical bits reads back to the same bits. What text cannot say is lost on the way: the payload and sign of a
//! NaN, and bits that are not canonical (significands over 34 digits, which count as zero).

/// Significands have up to this many digits.
const MOST_DIGITS: usize = 34;
const BIAS: i32 = 6176;
const LOWEST_EXPONENT: i32 = -BIAS;
const HIGHEST_EXPONENT: i32 = 6111;
const SIGNIFICAND_END: u128 = 10_u128.pow(MOST_DIGITS as u32);
/// Stands for every written exponent that is larger.
const OUT_OF_RANGE: i64 = i64::MAX / 4;
const SIGN: u128 = 1 << 127;
const INFINITY: u128 = 0b11110 << 122;
const NAN: u128 = 0b11111 << 122;

/// Appends the number whose little-endian bytes these are.
pub(super) fn write_decimal(bytes: [u8; 16], out: &mut Vec<u8>) {
    let bits = u128::from_le_bytes(bytes);
    if bits & NAN == NAN {
        out.extend_from_slice(b"NaN");
        return;
    }
    if bits & SIGN != 0 {
        out.push(b'-');
    }
    if bits & NAN == INFINITY {
        out.extend_from_slice(b"Infinity");
        return;
    }
    // The form for significands from 2¹¹³ on never holds one that fits 34 digits.
    let is_long_form = bits >> 125 & 0b11 == 0b11;
    let exponent_bits = if is_long_form { bits >> 111 } else { bits >> 113 } & 0x3fff;
    let significand = if is_long_form { SIGNIFICAND_END } else { bits & ((1 << 113) - 1) };
    let significand = if significand < SIGNIFICAND_END { significand } else { 0 };
    write_finite(itoa::Buffer::new().format(significand).as_bytes(), exponent_bits as i32 - BIAS, out);
}

fn write_finite(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let first_digit_exponent = exponent + digits.len() as i32 - 1;
    if exponent > 0 || first_digit_exponent < -6 {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if first_digit_exponent > 0 { b"E+" } else { b"E" });
        out.extend_from_slice(itoa::Buffer::new().format(first_digit_exponent).as_bytes());
        return;
    }
    let fraction_length = exponent.unsigned_abs() as usize;
    if fraction_length == 0 {
        out.extend_from_slice(digits);
    } else if fraction_length < digits.len() {
        let (whole, fraction) = digits.split_at(digits.len() - fraction_length);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.extend((digits.len()..fraction_length).map(|_| b'0'));
        out.extend_from_slice(digits);
    }
}

/// Reads a number exactly: `None` if it is not a decimal number or if Decimal128 cannot hold it without rounding.
pub(super) fn parse_decimal(text: &[u8]) -> Option<[u8; 16]> {
    let (sign, magnitude) = match text {
        [b'-', rest @ ..] => (SIGN, rest),
        [b'+', rest @ ..] | rest => (0, rest),
    };
    let is = |word: &str| magnitude.eq_ignore_ascii_case(word.as_bytes());
    let bits = if is("NaN") {
        NAN
    } else if is("Infinity") || is("Inf") {
        sign | INFINITY
    } else {
        sign | finite_bits(magnitude)?
    };
    Some(bits.to_le_bytes())
}

fn finite_bits(text: &[u8]) -> Option<u128> {
    let (mantissa, written_exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|b| *b == b'.');
    let (whole, fraction) = point.map_or((mantissa, &b""[..]), |at| (&mantissa[..at], &mantissa[at + 1..]));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut significand: u128 = 0;
    // Zeros beyond the digits that fit raise the exponent instead.
    let mut zeros_beyond = 0;
    for digit in whole.iter().chain(fraction) {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        if let Some(longer) = push_digit(significand, digit) {
            significand = longer;
        } else if digit == 0 {
            zeros_beyond += 1;
        } else {
            return None;
        }
    }
    fit(significand, written_exponent.saturating_add(zeros_beyond - fraction.len() as i64))
}

/// The significand with `digit` after it, if it still fits.
fn push_digit(significand: u128, digit: u8) -> Option<u128> {
    let longer = significand * 10 + u128::from(digit);
    (longer < SIGNIFICAND_END).then_some(longer)
}

/// Brings the exponent into range by moving zeros between it and the significand.
fn fit(mut significand: u128, mut exponent: i64) -> Option<u128> {
    let (lowest, highest) = (i64::from(LOWEST_EXPONENT), i64::from(HIGHEST_EXPONENT));
    if significand == 0 {
        exponent = exponent.clamp(lowest, highest);
    }
    while exponent > highest {
        significand = push_digit(significand, 0)?;
        exponent -= 1;
    }
    while exponent < lowest {
        if !significand.is_multiple_of(10) {
            return None;
        }
        significand /= 10;
        exponent += 1;
    }
    Some(((exponent + i64::from(BIAS)) as u128) << 113 | significand)
}

/// The exponent; one with more digits than any in range is cut to a number that is out of range too.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(OUT_OF_RANGE)
    });
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::Random;

    fn written(bits: u128) -> String {
        let mut out = Vec::new();
        write_decimal(bits.to_le_bytes(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn parsed(text: &str) -> Option<String> {
        parse_decimal(text.as_bytes()).map(|bytes| written(u128::from_le_bytes(bytes)))
    }

    #[test]
    fn canonical_text_reads_back_as_itself() {
        for text in [
            "0",
            "-0",
            "0.00",
            "-0.00",
            "0E+3",
            "-0E-10",
            "0E-6176",
            "0E+6111",
            "0.000000",
            "0E-7",
            "1",
            "-1",
            "123.45",
            "1E+10",
            "1E-10",
            "1.10",
            "0.001234",
            "0.000001",
            "1E-7",
            "1.2E-7",
            "12",
            "1.0E+2",
            "100",
            "9.999999999999999999999999999999999E+6144",
            "1E-6176",
            "1.234E-6173",
            "1234567890123456789012345678901234",
            "0.1234567890123456789012345678901234",
            "-9999999999999999999999999999999999",
            "1.000000000000000000000000000000000E+6144",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(parsed(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn other_spellings_are_read_exactly() {
        for (text, expected) in [
            ("+1.5", "1.5"),
            ("00012", "12"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1E+3"),
            ("-inf", "-Infinity"),
            ("nan", "NaN"),
            ("1E+6144", "1.000000000000000000000000000000000E+6144"),
            ("10E-6177", "1E-6176"),
            ("0E+99999999999999999999", "0E+6111"),
            ("0E-99999", "0E-6176"),
            ("12345678901234567890123456789012340", "1.234567890123456789012345678901234E+34"),
            ("1234567890123456789012345678901234.00", "1234567890123456789012345678901234"),
            ("100000000000000000000000000000000000000", "1.000000000000000000000000000000000E+38"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_exactly_or_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "E5",
            "1E",
            "1E+",
            "1.2.3",
            "1e5.",
            "1 ",
            " 1",
            "0x1",
            "++1",
            "--1",
            "1_000",
            "١",
            "12345678901234567890123456789012345",
            "1E+6145",
            "1E-6177",
            "1.5E-6176",
            "1E+99999999999999999999",
            "1E-99999999999999999999",
            "Infinit",
            "NaNs",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn bits_that_are_not_canonical_have_the_value_that_ieee_gives_them() {
        assert_eq!(written(NAN | 1 << 121 | 7), "NaN");
        assert_eq!(written(SIGN | NAN), "NaN");
        assert_eq!(written(SIGN | INFINITY | 5), "-Infinity");
        assert_eq!(written((BIAS as u128) << 113 | SIGNIFICAND_END), "0");
        assert_eq!(written(SIGN | 0b11 << 125 | (BIAS as u128 + 2) << 111 | 1), "-0E+2");
    }

    #[test]
    fn canonical_bits_come_back() {
        let mut random = Random::new(0xdec);
        for _ in 0..100_000 {
            let digits = random.below(35) as u32;
            let raw = u128::from(random.next()) << 64 | u128::from(random.next());
            let significand = raw % 10_u128.pow(digits);
            let near_zero = random.below(2) == 0;
            let biased = if near_zero { 6140 + random.below(60) } else { random.below(12288) };
            let sign = if random.below(2) == 0 { SIGN } else { 0 };
            let bits = sign | u128::from(biased) << 113 | significand;
            let text = written(bits);
            assert_eq!(parse_decimal(text.as_bytes()), Some(bits.to_le_bytes()), "{text}");
        }
    }
}
