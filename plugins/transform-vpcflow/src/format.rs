//! Formats: which field stands where in a line, read from AWS's format string, a header line or a plain list of names.

use std::sync::Arc;

use crate::field::{self, Field, Look};
use crate::scan::values;

/// One format of flow log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// What each value is, in order; at least one, no two of one name.
    pub(crate) fields: Vec<FormatField>,
}

/// One field of a format.
#[derive(Clone, Debug)]
pub(crate) struct FormatField {
    /// The name as AWS spells it: `account-id`. An unknown name keeps its spelling but for `_`, which becomes `-`.
    pub(crate) name: Arc<str>,
    /// What is documented of it. Unknown fields are text: AWS adds some every year.
    pub(crate) known: Option<&'static Field>,
}

/// Why a text is no format, and which bytes of it are to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormatError {
    /// What is wrong, in lower case without a full stop.
    pub(crate) message: String,
    /// First byte to point at.
    pub(crate) start: usize,
    /// The byte behind the last one.
    pub(crate) end: usize,
}

/// More than four times what AWS has. A record's own format comes from a file, which may be any file.
const MOST_FIELDS: usize = 256;

// === impl Format ===

impl Format {
    /// Reads a format: names separated by blanks, each spelled `${account-id}` as AWS does, `account-id` or
    /// `account_id`.
    pub(crate) fn parse(text: &str) -> Result<Self, FormatError> {
        let error = |message: String, start: usize, end: usize| Err(FormatError { message, start, end });
        let mut fields: Vec<FormatField> = Vec::new();
        for word in values(text) {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            let end = start + word.len();
            let bare = match word.strip_prefix("${") {
                Some(rest) => rest.strip_suffix('}'),
                None => Some(word),
            };
            let Some(bare) = bare.filter(|name| is_name(name)) else {
                return error(format!("`{word}` is no field name"), start, end);
            };
            let field = FormatField::of(bare);
            if fields.iter().any(|known| known.name == field.name) {
                return error(format!("`{}` stands twice in the format", field.name), start, end);
            }
            if fields.len() == MOST_FIELDS {
                return error(format!("a format has at most {MOST_FIELDS} fields"), start, end);
            }
            fields.push(field);
        }
        if fields.is_empty() {
            return error("a format names at least one field".to_owned(), 0, text.len());
        }
        Ok(Self { fields })
    }

    /// Whether `line` is this format's header line: nothing but the names of its fields.
    pub(crate) fn is_header(&self, line: &str) -> bool {
        self.is_header_of(values(line))
    }

    /// [`Format::is_header`] for a line whose values are known.
    pub(crate) fn is_header_of<'a>(&self, mut of_line: impl Iterator<Item = &'a str>) -> bool {
        self.fields.iter().all(|field| of_line.next().is_some_and(|value| field.is_called(value)))
            && of_line.next().is_none()
    }

    /// Whether every value of a line looks as this format's fields do; surplus values are not looked at.
    pub(crate) fn fits<'a>(&self, mut of_line: impl Iterator<Item = &'a str>) -> bool {
        self.fields.iter().all(|field| of_line.next().is_some_and(|value| field.could_be(value)))
    }

    /// Whether no line of one format could ever be told from a line of the other.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(|(mine, theirs)| mine.look() == theirs.look())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            f.write_str(if index > 0 { " " } else { "" })?;
            f.write_str(&field.name)?;
        }
        Ok(())
    }
}

/// Whether `line` is a header line, whatever its format: two documented field names or more and nothing else.
pub(crate) fn is_header_line(line: &str) -> bool {
    is_header(values(line))
}

/// [`is_header_line`] for a line whose values are known.
pub(crate) fn is_header<'a>(values: impl Iterator<Item = &'a str>) -> bool {
    let mut words = 0;
    values.inspect(|_| words += 1).all(|word| FormatField::of(word).known.is_some()) && words > 1
}

// === impl FormatField ===

impl FormatField {
    fn of(name: &str) -> Self {
        match field::find(name) {
            Some(known) => Self { name: known.name.into(), known: Some(known) },
            None if name.contains('_') => Self::of(&name.replace('_', "-")),
            None => Self { name: name.into(), known: None },
        }
    }

    /// Whether its values are integers.
    pub(crate) fn is_integer(&self) -> bool {
        self.known.is_some_and(|field| field.integer)
    }

    /// Whether `name` is its name, in either spelling.
    fn is_called(&self, name: &str) -> bool {
        // Almost every value differs in its first letter or its length.
        name.len() == self.name.len()
            && name
                .bytes()
                .zip(self.name.bytes())
                .all(|(is, expect)| is == expect || (is == b'_' && expect == b'-'))
    }

    /// Whether `value` looks like one of its values.
    pub(crate) fn could_be(&self, value: &str) -> bool {
        self.look().fits(value)
    }

    fn look(&self) -> Look {
        self.known.map_or(Look::Any, |field| field.look)
    }
}

impl PartialEq for FormatField {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FormatField {}

/// Letters, digits, `-` and `_`, the first a letter: what AWS has used so far, and nothing a value or a slip of the
/// keyboard (`$(srcaddr)`, `srcaddr,dstaddr`) would look like.
fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::DEFAULT_FORMAT;

    fn parse(text: &str) -> String {
        Format::parse(text).map_or_else(
            |error| format!("{}..{} {}", error.start, error.end, error.message),
            |f| f.to_string(),
        )
    }

    #[test]
    fn names_are_read_in_every_spelling_of_aws() {
        for (text, expect) in [
            ("${version} ${account-id}  ${interface-id}", "version account-id interface-id"),
            ("version account-id\tinterface_id", "version account-id interface-id"),
            ("${account_id} instance_tag_2", "account-id instance-tag-2"),
            (" srcaddr\n", "srcaddr"),
            ("srcaddr some_future-field", "srcaddr some-future-field"),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
        assert_eq!(parse(DEFAULT_FORMAT), DEFAULT_FORMAT);
    }

    #[test]
    fn what_is_no_format_is_refused_at_its_place() {
        for (text, expect) in [
            ("", "0..0 a format names at least one field"),
            ("   ", "0..3 a format names at least one field"),
            ("version $(srcaddr)", "8..18 `$(srcaddr)` is no field name"),
            ("version ${srcaddr", "8..17 `${srcaddr` is no field name"),
            ("srcaddr,dstaddr", "0..15 `srcaddr,dstaddr` is no field name"),
            ("version 2", "8..9 `2` is no field name"),
            ("account-id srcaddr ${account_id}", "19..32 `account-id` stands twice in the format"),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
        let long: Vec<String> = (0..300).map(|number| format!("field-{number}")).collect();
        assert!(parse(&long.join(" ")).ends_with("a format has at most 256 fields"));
    }

    #[test]
    fn a_header_line_is_known_by_its_names() {
        let format = Format::parse("srcaddr account-id new-thing").unwrap();
        assert!(format.is_header("srcaddr account_id  new-thing\r"));
        assert!(!format.is_header("srcaddr account-id"));
        assert!(!format.is_header("srcaddr account-id new-thing more"));
        assert!(is_header_line("srcaddr account-id"));
        assert!(!is_header_line("srcaddr new-thing"));
        assert!(!is_header_line("action"), "one word is more likely a value");
    }

    #[test]
    fn formats_that_no_line_can_tell_apart_are_known() {
        let format = |text| Format::parse(text).unwrap();
        assert!(format("srcaddr dstaddr").looks_like(&format("dstaddr srcaddr")));
        assert!(!format("srcaddr srcport").looks_like(&format("srcport srcaddr")));
        assert!(!format("srcaddr").looks_like(&format("srcaddr dstaddr")));
    }
}
