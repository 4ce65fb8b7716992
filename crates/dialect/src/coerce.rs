//! Text to numbers as Ruby's `to_i` and `to_f` do it, which is what Logstash's `int` and `float` mean.

use flowstone_core::event::Value;

/// Ruby's `String#to_i`: leading blanks, a sign, digits with single underscores between them, then it stops. No
/// digits give 0; any magnitude is kept.
pub fn to_i(text: &str) -> Value {
    let (negative, digits, _) = leading_digits(text.trim_start_matches(is_blank));
    if digits.is_empty() {
        return Value::Int(0);
    }
    let signed = if negative { format!("-{digits}") } else { digits };
    match signed.parse::<i64>() {
        Ok(value) => Value::Int(value),
        Err(_) => {
            let bare = signed.trim_start_matches('-').trim_start_matches('0');
            Value::BigInt(if negative { format!("-{bare}").into() } else { bare.into() })
        }
    }
}

/// Ruby's `String#to_f`: the longest number at the start, underscores between digits allowed; none gives 0.0. It
/// knows no `NaN`, no `Infinity` and no hexadecimal.
pub fn to_f(text: &str) -> f64 {
    let text = text.trim_start_matches(is_blank);
    let (negative, whole, rest) = leading_digits(text);
    let mut number = String::with_capacity(24);
    if negative {
        number.push('-');
    }
    number.push_str(if whole.is_empty() { "0" } else { &whole });
    let mut rest = rest;
    let mut any = !whole.is_empty();
    if let Some(after) = rest.strip_prefix('.')
        && after.starts_with(|c: char| c.is_ascii_digit())
    {
        let (_, fraction, tail) = leading_digits(after);
        number.push('.');
        number.push_str(&fraction);
        rest = tail;
        any = true;
    }
    if !any {
        // A sign alone is no negative zero.
        return 0.0;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
        if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
            let (negative, exponent, _) = leading_digits(after);
            number.push('e');
            if negative {
                number.push('-');
            }
            number.push_str(&exponent);
        }
    }
    number.parse().unwrap_or(0.0)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// An optional sign, then digits with single underscores between them: (negative, the digits, what follows).
fn leading_digits(text: &str) -> (bool, String, &str) {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let bytes = unsigned.as_bytes();
    let mut digits = String::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let separator =
            byte == b'_' && !digits.is_empty() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if byte.is_ascii_digit() {
            digits.push(char::from(byte));
        } else if !separator {
            break;
        }
        at += 1;
    }
    if digits.is_empty() && !unsigned.starts_with('.') {
        (negative, digits, text)
    } else {
        (negative, digits, &unsigned[at..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_ruby_reads_them() {
        for (text, expect) in [
            ("12abc", 12),
            ("-", 0),
            ("1_000", 1000),
            ("1,000", 1),
            ("0x1A", 0),
            ("  +5", 5),
            ("1__0", 1),
            ("007", 7),
            ("abc", 0),
        ] {
            assert_eq!(to_i(text), Value::Int(expect), "{text}");
        }
        assert_eq!(to_i("9223372036854775808"), Value::BigInt("9223372036854775808".into()));
        assert_eq!(to_i("-9223372036854775808"), Value::Int(i64::MIN));
    }

    #[test]
    fn floats_as_ruby_reads_them() {
        for (text, expect) in [
            ("1e3", 1000.0),
            ("abc", 0.0),
            ("NaN", 0.0),
            ("Infinity", 0.0),
            ("-.5", -0.5),
            ("+5", 5.0),
            ("1e+3", 1000.0),
            ("5.", 5.0),
            ("1,000", 1.0),
            ("2e-3", 0.002),
            ("1_0.5", 10.5),
            ("e5", 0.0),
        ] {
            assert!((to_f(text) - expect).abs() < 1e-12, "{text} {}", to_f(text));
        }
        assert!(to_f("1e400").is_infinite());
        assert!(to_f("-0").is_sign_negative());
        assert!(to_f("-").is_sign_positive());
    }
}
