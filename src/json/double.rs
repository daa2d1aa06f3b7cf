//! Doubles, laid out as Java's `Double.toString` does since JDK 19.
//!
//! The digits are the shortest that read back as the same double; the layout is Java's: plain with at least one
//! fraction digit from 0.001 up to 10⁷, otherwise one digit before the point and `E` with the exponent.

use std::io::Write;

/// Appends a finite double.
pub(super) fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude < PLAIN_END && magnitude.fract() == 0.0 {
        out.extend_from_slice(itoa::Buffer::new().format(magnitude as u32).as_bytes());
        out.extend_from_slice(b".0");
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let decimal = Decimal::parse(buffer.format_finite(magnitude).as_bytes());
    if (PLAIN_START..PLAIN_END).contains(&magnitude) {
        write_plain(&decimal, out);
    } else if decimal.count == 1 && magnitude < FEW_BITS_END {
        write_two_digits(magnitude, out);
    } else {
        write_scientific(&decimal, out);
    }
}

const PLAIN_START: f64 = 1e-3;
const PLAIN_END: f64 = 1e7;

/// Below this a double has so few bits that one decimal digit may be enough, yet not the nearest of two digits.
const FEW_BITS_END: f64 = 1e-320;

/// A positive number as 0.ddd × 10^point. No double needs more than 17 digits.
struct Decimal {
    digits: [u8; 24],
    count: usize,
    point: i32,
}

impl Decimal {
    /// Takes a number apart that is printed with or without a point and an exponent.
    fn parse(printed: &[u8]) -> Self {
        let (mantissa, exponent) = match printed.iter().position(|b| *b == b'e') {
            Some(at) => (&printed[..at], parse_exponent(&printed[at + 1..])),
            None => (printed, 0),
        };
        let whole = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
        let mut decimal = Self { digits: [0; 24], count: 0, point: exponent + whole as i32 };
        for digit in mantissa.iter().filter(|b| **b != b'.') {
            if decimal.count == 0 && *digit == b'0' {
                decimal.point -= 1;
            } else {
                decimal.digits[decimal.count] = *digit;
                decimal.count += 1;
            }
        }
        while decimal.count > 1 && decimal.digits[decimal.count - 1] == b'0' {
            decimal.count -= 1;
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }
}

fn parse_exponent(printed: &[u8]) -> i32 {
    let value = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    match printed {
        [b'-', digits @ ..] => -value(digits),
        [b'+', digits @ ..] | digits => value(digits),
    }
}

/// Only for numbers with a fraction, at least 0.001 and below 10⁷.
fn write_plain(decimal: &Decimal, out: &mut Vec<u8>) {
    let digits = decimal.digits();
    match usize::try_from(decimal.point) {
        Ok(whole) if whole > 0 => {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.extend((decimal.point..0).map(|_| b'0'));
            out.extend_from_slice(digits);
        }
    }
}

fn write_scientific(decimal: &Decimal, out: &mut Vec<u8>) {
    let digits = decimal.digits();
    out.push(digits[0]);
    out.push(b'.');
    out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
    out.push(b'E');
    out.extend_from_slice(itoa::Buffer::new().format(decimal.point - 1).as_bytes());
}

/// Java chooses the nearest decimal of two digits where one would do: `4.9E-324`, not `5.0E-324`.
#[cold]
fn write_two_digits(magnitude: f64, out: &mut Vec<u8>) {
    write!(out, "{magnitude:.1E}").expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::Random;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn doubles_look_as_java_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (123.456, "123.456"),
            (std::f64::consts::PI, "3.141592653589793"),
            (9999999.0, "9999999.0"),
            (9999999.999999998, "9999999.999999998"),
            (1e7, "1.0E7"),
            (12345678.9, "1.23456789E7"),
            (123456789.0, "1.23456789E8"),
            (1e15, "1.0E15"),
            (1e16, "1.0E16"),
            (1e21, "1.0E21"),
            (1e23, "1.0E23"),
            (2e23, "2.0E23"),
            (0.001, "0.001"),
            (0.0012, "0.0012"),
            (0.0099, "0.0099"),
            (0.002, "0.002"),
            (0.0001, "1.0E-4"),
            (0.00099999, "9.9999E-4"),
            (1e-5, "1.0E-5"),
            (1e-7, "1.0E-7"),
            (1.5e-300, "1.5E-300"),
            (-1e-5, "-1.0E-5"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::from_bits(1), "4.9E-324"),
            (f64::from_bits(2), "9.9E-324"),
            (f64::from_bits(3), "1.5E-323"),
            (f64::from_bits(4), "2.0E-323"),
            (f64::from_bits(10), "4.9E-323"),
            (-f64::from_bits(20), "-9.9E-323"),
        ] {
            assert_eq!(written(value), expected);
        }
    }

    #[test]
    fn every_double_reads_back_as_itself_in_a_layout_of_java() {
        let mut random = Random::new(0x5eed);
        for round in 0..200_000 {
            let value = match round % 3 {
                0 => f64::from_bits(random.next()),
                1 => random.below(1 << 40) as f64 / 1000.0,
                _ => f64::from_bits(random.below(1 << 12)),
            };
            if !value.is_finite() {
                continue;
            }
            let text = written(value);
            assert_eq!(text.parse::<f64>().expect("a number").to_bits(), value.to_bits(), "{text}");
            let plain = value == 0.0 || (PLAIN_START..PLAIN_END).contains(&value.abs());
            assert_eq!(text.contains('E'), !plain, "{text}");
            let mantissa = text.trim_start_matches('-').split('E').next().expect("one part at least");
            let (whole, fraction) = mantissa.split_once('.').expect("a point");
            assert!(!fraction.is_empty() && (fraction == "0" || !fraction.ends_with('0')), "{text}");
            assert!(plain || (whole.len() == 1 && whole != "0"), "{text}");
        }
    }
}
