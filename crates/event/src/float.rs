//! Floats in Java's spelling, as Logstash's JSON has them: `6.0`, `1.2345678E7`, `1.0E-4`, `4.9E-324`.

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
    let mut buffer = ryu::Buffer::new();
    let (digits, len, exponent) = digits_of(buffer.format_finite(value));
    let digits = &digits[..len];
    if (1e-3..1e7).contains(&value) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
            out.extend_from_slice(digits);
        } else {
            let point = exponent as usize + 1;
            let whole = &digits[..point.min(digits.len())];
            out.extend_from_slice(whole);
            out.extend(std::iter::repeat_n(b'0', point - whole.len()));
            out.push(b'.');
            match digits.get(point..) {
                Some(rest) if !rest.is_empty() => out.extend_from_slice(rest),
                _ => out.push(b'0'),
            }
        }
        return;
    }
    out.push(digits[0]);
    out.push(b'.');
    out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
    out.push(b'E');
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
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
    use super::*;

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
