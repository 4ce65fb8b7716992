//! Integers out of text, eight digits at a time: flow log lines are half numbers.

/// The integer that `bytes[start..end]` spells, if it has 1 to 16 digits and nothing else; other integers, and the
/// last one of a text, may be left to [`any_integer`]. One or two loads and a few multiplications: there is no loop
/// over the digits.
#[inline(always)]
pub(crate) fn short_integer(bytes: &[u8], start: usize, end: usize) -> Option<i64> {
    let len = end.wrapping_sub(start);
    if len.wrapping_sub(1) < 8 {
        return eight_digits(load(bytes, start)?, len);
    }
    if len.wrapping_sub(1) >= 16 {
        return None;
    }
    let low = eight_digits(load(bytes, end - 8)?, 8)?;
    Some(eight_digits(load(bytes, start)?, len - 8)? * 100_000_000 + low)
}

/// The integer that `bytes[start..end]` spells, if it is one that an `i64` column can hold: an optional minus and
/// digits, above `i64::MIN` (which marks an absent cell).
#[cold]
#[inline(never)]
pub(crate) fn any_integer(bytes: &[u8], start: usize, end: usize) -> Option<i64> {
    let digits = bytes.get(start..end)?;
    let value = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // `parse` would take a plus sign, which no flow log has.
    (digits[0] != b'+' && value != i64::MIN).then_some(value)
}

/// The eight bytes from `at` on, the first in the lowest place, if the text is that long.
#[inline(always)]
fn load(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?))
}

/// The number that the first `len` (1 to 8) of eight characters spell, if all of them are digits. Daniel Lemire's
/// parallel digits: pairs, then fours, then eight in three multiplications.
#[inline(always)]
fn eight_digits(text: u64, len: usize) -> Option<i64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    // Moves the last digit to the highest byte; what comes in below counts as leading zeros.
    let unused = 64 - 8 * len as u32;
    let digits = (text << unused) ^ (ZEROS << unused);
    // A byte above 9 carries into its highest bit.
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let fours = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let rest = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some((fours.wrapping_add(rest) >> 32) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The integer that `page[start..end]` spells, by whichever way knows it; both must agree where both do.
    fn parse_in(page: &str, start: usize, end: usize) -> Option<i64> {
        let any = any_integer(page.as_bytes(), start, end);
        if let Some(short) = short_integer(page.as_bytes(), start, end) {
            assert_eq!(Some(short), any, "{page:?} {start}..{end}");
        }
        any
    }

    fn parse(text: &str) -> Option<i64> {
        // With something behind it, so that the short way does not end for want of bytes.
        parse_in(&format!("{text} 12345678"), 0, text.len())
    }

    #[test]
    fn integers_are_read_and_nothing_else() {
        for (text, expect) in [
            ("0", Some(0)),
            ("443", Some(443)),
            ("12345678", Some(12_345_678)),
            ("123456789", Some(123_456_789)),
            ("1418530010", Some(1_418_530_010)),
            ("9999999999999999", Some(9_999_999_999_999_999)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775807", Some(-i64::MAX)),
            ("-9223372036854775808", None),
            ("99999999999999999999", None),
            ("0000000000000000000007", Some(7)),
            ("-5", Some(-5)),
            ("+5", None),
            ("-", None),
            ("6.0", None),
            ("12a", None),
            ("1234567é", None),
            ("12345678/", None),
            ("123456789:", None),
            ("0x10", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_reads_as_the_standard_library_reads_it(text in "(-?[0-9]{1,20})|(-?[0-9]{0,9}[ -~é][0-9]{0,9})") {
            let expect = text.parse().ok().filter(|value| *value != i64::MIN && !text.starts_with('+'));
            prop_assert_eq!(parse(&text), expect);
        }

        #[test]
        fn what_stands_around_a_number_does_not_matter(before in "[ 0-9]{0,9}", number in 0..i64::MAX, after in "[ 0-9a-z]{0,9}") {
            let digits = number.to_string();
            let text = format!("{before}{digits}{after}");
            prop_assert_eq!(parse_in(&text, before.len(), before.len() + digits.len()), Some(number));
            let page = format!("{text}12345678");
            let short = short_integer(page.as_bytes(), before.len(), before.len() + digits.len());
            prop_assert_eq!(short, Some(number).filter(|_| digits.len() <= 16));
        }
    }
}
