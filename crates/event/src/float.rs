//! Floats in Java's spelling, as Logstash's JSON has them: `6.0`, `1.2345678E7`, `1.0E-4`, `4.9E-324`.

use crate::Digits;

/// Appends `value` as Java's `Double.toString` spells it (JDK 19 and later: the shortest digits that read back
/// equal, at least two). Infinities and NaN come out as `Infinity`, `-Infinity` and `NaN`, without quotes.
pub fn format_java_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    if value == 0.0 {
        return out.extend_from_slice(b"0.0");
    }
    // Java asks for two digits where one would do; with two, 4.9E-324 is nearer to the smallest double than 5.0E-324.
    if value == 5e-324 {
        return out.extend_from_slice(b"4.9E-324");
    }
    // Within this range Java writes no exponent.
    let has_exponent = !(1e-3..1e7).contains(&value);
    if !has_exponent && let Some(number) = ten_thousandths(value) {
        return write_ten_thousandths(number, out);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    if !has_exponent {
        return out.extend_from_slice(text.as_bytes());
    }
    let (digits, len, exponent) = digits_of(text);
    let digits = &digits[..len];
    out.push(digits[0]);
    out.push(b'.');
    out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
    out.push(b'E');
    out.extend_from_slice(Digits::of(exponent.into()).as_bytes());
}

/// How many ten thousandths this is, if that is the shortest way to say it: whole numbers, prices, coordinates. The
/// quotient is the double next to it, so that it reads back equal; and no other decimal of up to 15 digits does.
#[inline]
fn ten_thousandths(value: f64) -> Option<u64> {
    let number = (value * 1e4 + 0.5) as u64;
    (number as f64 / 1e4 == value).then_some(number)
}

fn write_ten_thousandths(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Digits::of((number / 10_000) as i64).as_bytes());
    let fraction = (number % 10_000) as u32;
    let digit = |unit: u32| b'0' + (fraction / unit % 10) as u8;
    let digits = [b'.', digit(1000), digit(100), digit(10), digit(1)];
    let zeros = digits[2..].iter().rev().take_while(|digit| **digit == b'0').count();
    out.extend_from_slice(&digits[..5 - zeros]);
}

/// [`format_java_f64`] as a string.
pub fn java_f64(value: f64) -> String {
    let mut out = Vec::new();
    format_java_f64(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The significant digits of ryu's text, how many, and the power of ten of the first.
fn digits_of(text: &str) -> ([u8; 24], usize, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0u8; 24];
    let mut len = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if len == 0 && byte == b'0' {
            continue;
        }
        digits[len] = byte;
        len += 1;
    }
    exponent += if whole.bytes().any(|byte| byte != b'0') {
        whole.len() as i32 - 1
    } else {
        -(fraction.bytes().take_while(|&byte| byte == b'0').count() as i32 + 1)
    };
    while len > 1 && digits[len - 1] == b'0' {
        len -= 1;
    }
    (digits, len, exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Java's rule: at least one digit on either side of the point, and no exponent.
        #[test]
        fn numbers_of_usual_size_have_no_exponent(value in 1e-3f64..1e7, digits in 0u32..12) {
            let scale = 10f64.powi(digits as i32);
            for value in [value, (value * scale).round() / scale, value.round().max(1.0)] {
                let text = java_f64(value);
                prop_assert_eq!(&text, &ryu::Buffer::new().format_finite(value).to_owned(), "the shortest digits");
                let (whole, fraction) = text.split_once('.').expect("a point");
                for part in [whole, fraction] {
                    prop_assert!(!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()), "{}", text);
                }
                prop_assert!(whole == "0" || !whole.starts_with('0'), "{}", text);
                prop_assert!(fraction == "0" || !fraction.ends_with('0'), "{}", text);
                prop_assert_eq!(text.parse::<f64>().unwrap(), value);
            }
        }
    }

    #[test]
    fn floats_are_spelled_as_java_does() {
        for (value, expect) in [
            (20.0, "20.0"),
            (0.1, "0.1"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123_456_789.0, "1.23456789E8"),
            (10_000_000.5, "1.00000005E7"),
            (1.234_567_890_123_456_8e29, "1.2345678901234568E29"),
            (0.001, "0.001"),
            (0.000_99, "9.9E-4"),
            (1e-5, "1.0E-5"),
            (454.33, "454.33"),
            (5e-324, "4.9E-324"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::MAX, "1.7976931348623157E308"),
            (-0.0, "-0.0"),
            (-0.5, "-0.5"),
            (100_000.5, "100000.5"),
            (1e21, "1.0E21"),
            (120.0, "120.0"),
        ] {
            assert_eq!(java_f64(value), expect);
        }
        assert_eq!(java_f64(f64::NEG_INFINITY), "-Infinity");
    }
}
