//! Text that leaves for people, in a log, on a terminal, over HTTP: what a terminal or the eye would take for a command
//! is escaped, and what is known to be secret is left out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{PoisonError, RwLock};

use crate::event::write_json_str;

/// What stands for a secret.
pub const MASK: &str = "***";

/// A shorter secret is no secret, and every second word would be hidden for it.
const SHORTEST: usize = 4;
/// Secrets that pass, such as session tokens: so many are known at once.
const MOST_PASSING: usize = 64;

/// The secrets of this process.
static KNOWN: RwLock<Known> = RwLock::new(Known { forms: Vec::new(), passing: VecDeque::new() });

struct Known {
    /// What texts may hold of them, the longest first, so that no part is left over when a shorter one was replaced.
    forms: Vec<String>,
    /// The forms of those that pass.
    passing: VecDeque<Vec<String>>,
}

/// Whether a terminal, or the eye of who reads there, would take `c` for more than a character: control characters (ESC,
/// BEL, newlines, those of C1), what turns the direction of writing, what separates lines, and what is invisible.
pub fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, without commands: `\n`, `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_command, |c, out| out.extend(c.escape_default()))
}

/// The same for a text of several lines, with tabs.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let command = |c: char| is_command(c) && !matches!(c, '\n' | '\t');
    escaped(text, command, |c, out| out.extend(c.escape_default()))
}

/// The same for JSON, which stays the same JSON: `\u001b`.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    let command = |c: char| is_command(c) && !matches!(c, '\n' | '\t');
    escaped(text, command, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").ok();
        }
    })
}

fn escaped(
    text: &str,
    is_command: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    // Nearly all texts are of printable ASCII.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.contains(&is_command) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_command(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

// --- secrets

/// From now on [`scrub`] leaves this out of every text, for good: the value of a secret option.
pub fn hide(secret: &str) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.add(forms_of(secret));
}

/// The same for a secret that others will follow, such as a session token: the oldest of many is forgotten.
pub fn hide_passing(secret: &str) {
    let forms = forms_of(secret);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.passing.contains(&forms) {
        return;
    }
    if known.passing.len() >= MOST_PASSING
        && let Some(oldest) = known.passing.pop_front()
    {
        known.forms.retain(|form| !oldest.contains(form));
    }
    known.passing.push_back(forms.clone());
    known.add(forms);
}

/// The text without what is known to be secret, as it is, quoted, or encoded for a URL.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut scrubbed = Cow::Borrowed(text);
    for form in known.forms.iter().filter(|form| form.len() <= text.len()) {
        if scrubbed.contains(form.as_str()) {
            scrubbed = Cow::Owned(scrubbed.replace(form.as_str(), MASK));
        }
    }
    scrubbed
}

/// [`scrub`] and [`printable`]: for a text from outside that becomes part of a message.
pub fn fit_to_show(text: &str) -> String {
    printable(&scrub(text)).into_owned()
}

/// How a secret may stand in a text: as it is, quoted as by Rust or JSON (a text of JSON that is quoted in a log twice,
/// or more), on a terminal, in a URL, in XML.
pub fn forms_of(secret: &str) -> Vec<String> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    // What a URL's user and password keep, by the WHATWG.
    let of_user = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>?`{}/:;=@[\\]^|%".contains(&byte);
    let strict = percent(secret, unreserved);
    let mut forms = vec![
        secret.to_owned(),
        printable(secret).into_owned(),
        lower_hex(&strict),
        strict.replace("%20", "+"),
        percent(secret, |byte| of_user(byte) || byte == b'%'),
        percent(secret, of_user),
        strict,
        of_xml(secret, "&#39;"),
        of_xml(secret, "&apos;"),
    ];
    let mut quoted = vec![quoted_by_rust(secret), quoted_by_json(secret)];
    // Spellings of JSON that other languages' libraries choose.
    let json = quoted_by_json(secret);
    quoted.push(json.replace('/', "\\/"));
    quoted.push(json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
    quoted.push(ascii_only(&json));
    for _ in 0..3 {
        let again = quoted.iter().flat_map(|text| [quoted_by_rust(text), quoted_by_json(text)]).collect();
        forms.append(&mut quoted);
        quoted = again;
        quoted.sort_unstable();
        quoted.dedup();
    }
    forms.retain(|form| !form.is_empty());
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn quoted_by_rust(text: &str) -> String {
    let quoted = format!("{text:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

fn quoted_by_json(text: &str) -> String {
    let mut quoted = Vec::new();
    write_json_str(text, &mut quoted);
    String::from_utf8_lossy(&quoted[1..quoted.len() - 1]).into_owned()
}

fn ascii_only(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                write!(out, "\\u{unit:04x}").ok();
            }),
        }
    }
    out
}

fn of_xml(text: &str, apostrophe: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', apostrophe)
}

fn percent(text: &str, keeps: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if keeps(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

/// `%2f` for `%2F`.
fn lower_hex(text: &str) -> String {
    let mut hex = 0;
    let lower = |c: char| {
        let is_hex = hex > 0;
        hex = if c == '%' { 2 } else { usize::saturating_sub(hex, 1) };
        if is_hex { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

// === impl Known ===

impl Known {
    fn add(&mut self, forms: Vec<String>) {
        for form in forms {
            if form.len() >= SHORTEST && !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
        self.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (text, line, lines, json) in [
            ("plain é ☃", "plain é ☃", "plain é ☃", "plain é ☃"),
            ("\u{1b}[31mred", "\\u{1b}[31mred", "\\u{1b}[31mred", "\\u001b[31mred"),
            (
                "\u{1b}]52;c;eA==\u{7}",
                "\\u{1b}]52;c;eA==\\u{7}",
                "\\u{1b}]52;c;eA==\\u{7}",
                "\\u001b]52;c;eA==\\u0007",
            ),
            ("a\nb\tc", "a\\nb\\tc", "a\nb\tc", "a\nb\tc"),
            ("a\rb", "a\\rb", "a\\rb", "a\\u000db"),
            ("\u{7f}\u{9b}2J", "\\u{7f}\\u{9b}2J", "\\u{7f}\\u{9b}2J", "\\u007f\\u009b2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe", "\\u{202e}gpj.exe", "\\u202egpj.exe"),
            ("\u{2066}\u{2029}", "\\u{2066}\\u{2029}", "\\u{2066}\\u{2029}", "\\u2066\\u2029"),
            ("\u{e0041}", "\\u{e0041}", "\\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(text), line);
            assert_eq!(printable_lines(text), lines);
            assert_eq!(printable_json(text), json);
        }
    }

    #[test]
    fn a_secret_is_left_out_however_it_is_written() {
        hide("p@ss w\"o/rd%");
        hide("s3cr");
        hide("s3cret-and-more");
        hide("abc");
        for (text, expect) in [
            ("no p@ss w\"o/rd% here", "no *** here"),
            (r#"{"e":"p@ss w\"o/rd%"}"#, r#"{"e":"***"}"#),
            (r#"{"e":"p@ss w\"o\/rd%"}"#, r#"{"e":"***"}"#),
            (r#"detail="{\"e\":\"p@ss w\\\"o/rd%\"}""#, r#"detail="{\"e\":\"***\"}""#),
            ("<e>p@ss w&quot;o/rd%</e>", "<e>***</e>"),
            ("http://u:p%40ss%20w%22o%2Frd%25@h/", "http://u:***@h/"),
            ("http://u:p%40ss%20w%22o%2frd%25@h/", "http://u:***@h/"),
            ("?q=p%40ss+w%22o%2Frd%25&", "?q=***&"),
            ("s3cret-and-more, xs3crx", "***, x***x"),
            ("a short one, abc, would hide too much", "a short one, abc, would hide too much"),
        ] {
            assert_eq!(scrub(text), expect);
        }
        assert_eq!(fit_to_show("s3cr\u{1b}\n"), "***\\u{1b}\\n");
    }

    #[test]
    fn secrets_that_pass_are_forgotten_in_their_order() {
        for number in 0..=MOST_PASSING {
            hide_passing(&format!("token-number-{number}-"));
        }
        assert_eq!(scrub("token-number-0-"), "token-number-0-");
        assert_eq!(scrub("token-number-1-"), MASK);
        assert_eq!(scrub(&format!("token-number-{MOST_PASSING}-")), MASK);
        hide_passing(&format!("token-number-{MOST_PASSING}-"));
        assert_eq!(scrub("token-number-1-"), MASK, "one that is known already pushes nobody out");
    }
}
