//! Instants counted from the epoch: `UNIX`, `UNIX_MS` and `TAI64N`.

/// The largest second that `UNIX` takes: Logstash refuses what does not fit a signed 32-bit integer.
const MAX_SECOND: i64 = 2_147_483_647;

/// Text as `UNIX` reads it: whole seconds as a Java `long`, then at most three digits behind a point, which are added
/// even to negative seconds.
#[inline]
pub(crate) fn unix_text(text: &str) -> Option<i64> {
    if let Some(seconds) = plain_digits(text) {
        return unix_number(seconds);
    }
    let Some((whole, fraction)) = text.split_once('.') else {
        return unix_number(java_long(text)?);
    };
    let millis = unix_number(java_long(whole)?)?;
    let digits = match fraction.char_indices().nth(3) {
        Some((end, _)) => &fraction[..end],
        None => fraction,
    };
    let count = if digits.is_ascii() { digits.len() } else { digits.chars().count() };
    let factor = [0, 100, 10, 1][count];
    millis.checked_add(java_long(digits)?.checked_mul(factor)?)
}

/// A number of seconds.
pub(crate) fn unix_number(seconds: i64) -> Option<i64> {
    if seconds > MAX_SECOND { None } else { seconds.checked_mul(1000) }
}

/// A number of seconds with a fraction, cut to milliseconds.
pub(crate) fn unix_float(seconds: f64) -> Option<i64> {
    (seconds.is_finite() && seconds.trunc() <= MAX_SECOND as f64).then_some((seconds * 1000.0) as i64)
}

/// Text as `UNIX_MS` reads it.
pub(crate) fn unix_ms_text(text: &str) -> Option<i64> {
    java_long(text)
}

/// A float as `UNIX_MS` reads it.
pub(crate) fn unix_ms_float(millis: f64) -> Option<i64> {
    millis.is_finite().then_some(millis as i64)
}

/// Text as `TAI64N` reads it: 16 hexadecimal digits of seconds and 8 of nanoseconds, with or without `@`; ten leap
/// seconds are taken off. What stands behind them is ignored.
pub(crate) fn tai64n(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('@').unwrap_or(text);
    let seconds = i64::from_str_radix(digits.get(..16)?, 16).ok()? & ((1 << 62) - 1);
    let nanos = i32::from_str_radix(digits.get(16..24)?, 16).ok()?;
    (seconds - 10).checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))
}

/// 1 to 18 ASCII digits and nothing else.
#[inline]
fn plain_digits(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    if rest.is_empty() || rest.len() > 18 {
        return None;
    }
    let mut value = 0;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        value = value * 100_000_000 + eight_digits(*eight)?;
        rest = behind;
    }
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// Eight digits in three multiplications: each joins the digits, the pairs, the fours to their left.
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<i64> {
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let text = u64::from_le_bytes(digits);
    // Six more takes what is above `9` into the next high half; bytes above 0xf9 have been told by theirs.
    let above_nine = text.wrapping_add(0x0606_0606_0606_0606);
    if text & HIGH_HALVES != ZEROS || above_nine & HIGH_HALVES != ZEROS {
        return None;
    }
    let singles = text - ZEROS;
    let pairs = (singles * 10 + (singles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eights = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    Some(eights as i64)
}

/// Java's `Long.parseLong`: a sign, then decimal digits of any script, nothing else.
fn java_long(text: &str) -> Option<i64> {
    if let Some(value) = plain_digits(text) {
        return Some(value);
    }
    if text.is_ascii() {
        return text.parse().ok();
    }
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits: Option<String> = text[sign..].chars().map(decimal_digit).collect();
    format!("{}{}", &text[..sign], digits?).parse().ok()
}

/// The decimal digit that a character is in its script, as Java's `Character.digit` has it: the digits of each script
/// stand ten in a row.
fn decimal_digit(c: char) -> Option<char> {
    const ZEROS: [u32; 36] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
        0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0,
        0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xff10,
    ];
    let code = u32::from(c);
    let zero = ZEROS.iter().rev().find(|&&zero| zero <= code)?;
    char::from_digit(code - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_java_does() {
        for (text, expect) in [
            ("1551002309", Some(1_551_002_309_000)),
            ("1551002309.5", Some(1_551_002_309_500)),
            ("1551002309.123456", Some(1_551_002_309_123)),
            ("1551002309.07", Some(1_551_002_309_070)),
            ("1.123x", Some(1123)),
            ("1.-5", Some(950)),
            ("-1", Some(-1000)),
            ("-1.5", Some(-500)),
            ("+5", Some(5000)),
            ("007", Some(7000)),
            ("2147483647", Some(2_147_483_647_000)),
            ("2147483648", None),
            // 18 digits, which times a thousand are no `i64`.
            ("999999999999999999", None),
            ("-999999999999999999", None),
            ("１５５１", Some(1_551_000)),
            ("१२", Some(12_000)),
            ("1551002309.", None),
            (".5", None),
            ("1551002309 ", None),
            ("1e9", None),
            ("-", None),
            ("", None),
            ("9999999999999999999", None),
            ("-9223372036854775808", None),
            (" T- F0F+-ZZZ aT-00", None),
        ] {
            assert_eq!(unix_text(text), expect, "{text}");
        }
        assert_eq!(unix_float(1_478_207_457.456), Some(1_478_207_457_456));
        assert_eq!(unix_float(-1.5), Some(-1500));
        assert_eq!(unix_float(2_147_483_647.9), Some(2_147_483_647_900));
        assert_eq!(unix_float(2_147_483_648.0), None);
        assert_eq!(unix_float(f64::NAN), None);
    }

    #[test]
    fn digits_are_read_eight_at_a_time_as_one_by_one() {
        let mut state = 1_u64;
        for round in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut text = (state >> 8).to_string().into_bytes();
            text.truncate(round % 19);
            // Now and then one of the bytes around the digits.
            if let Some(byte) = text.get_mut(state as usize % 23) {
                *byte = b"/:0?p@ 9"[state as usize / 23 % 8];
            }
            let text = String::from_utf8(text).unwrap();
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            assert_eq!(plain_digits(&text), is_plain.then(|| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn milliseconds_have_no_limit() {
        assert_eq!(unix_ms_text("99999999999999"), Some(99_999_999_999_999));
        assert_eq!(unix_ms_text("456.5"), None);
        assert_eq!(unix_ms_float(456.9), Some(456));
    }

    #[test]
    fn tai64n_is_read_with_and_without_its_mark() {
        for (text, expect) in [
            ("@4000000050d506482dbdf024", Some(1_356_138_046_767)),
            ("4000000050d506482dbdf024", Some(1_356_138_046_767)),
            ("@4000000050d506482dbdf024 and more", Some(1_356_138_046_767)),
            ("@4000000050d50648", None),
            ("@", None),
            ("", None),
            ("@4000000050d506482dbdf0zz", None),
            ("@8000000050d506482dbdf024", None),
            ("@4000000050d50648é", None),
        ] {
            assert_eq!(tai64n(text), expect, "{text}");
        }
    }
}
