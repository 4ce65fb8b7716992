//! Offsets from UTC as Joda-Time reads them: `+09`, `+0900`, `+09:00`, with seconds and milliseconds too.

/// The offset in milliseconds at the start of `text`, and its length. Hours have two digits and end the offset unless
/// a colon or digits follow; whether minutes and seconds have colons is decided behind the hours.
pub(crate) fn parse_offset(text: &str) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut offset = two_digits(bytes, 1, 23)? * 3_600_000;
    let mut at = 3;
    let colons = match bytes.get(at) {
        Some(b':') => true,
        Some(byte) if byte.is_ascii_digit() => false,
        _ => return Some((sign * offset, at)),
    };
    at += usize::from(colons);
    offset += two_digits(bytes, at, 59)? * 60_000;
    at += 2;
    match bytes.get(at) {
        Some(b':') if colons => at += 1,
        Some(byte) if !colons && byte.is_ascii_digit() => {}
        _ => return Some((sign * offset, at)),
    }
    offset += two_digits(bytes, at, 59)? * 1000;
    at += 2;
    match bytes.get(at) {
        Some(b'.' | b',') if colons => at += 1,
        Some(byte) if !colons && byte.is_ascii_digit() => {}
        _ => return Some((sign * offset, at)),
    }
    let digits = bytes[at..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    for (place, byte) in [100, 10, 1].into_iter().zip(&bytes[at..at + digits]) {
        offset += place * i64::from(byte - b'0');
    }
    Some((sign * offset, at + digits))
}

fn two_digits(bytes: &[u8], at: usize, max: i64) -> Option<i64> {
    let digits = bytes.get(at..at + 2)?;
    let value = digits
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))?;
    (value <= max).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_joda_does() {
        for (text, expect) in [
            ("+09:00", Some((32_400_000, 6))),
            ("-0930", Some((-34_200_000, 5))),
            ("+09", Some((32_400_000, 3))),
            ("+09 x", Some((32_400_000, 3))),
            ("+09:00x", Some((32_400_000, 6))),
            ("+090030", Some((32_430_000, 7))),
            ("+09:00:30.5", Some((32_430_500, 11))),
            ("+09:0030", Some((32_400_000, 6))),
            ("+24:00", None),
            ("+09:60", None),
            ("+09:", None),
            ("+9", None),
            ("+0", None),
            ("Z", None),
            ("", None),
        ] {
            assert_eq!(parse_offset(text), expect, "{text}");
        }
    }
}
