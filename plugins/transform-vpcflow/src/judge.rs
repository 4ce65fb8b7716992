//! Why a line does not parse: a second, slow look at the few lines that the fast one marked.

use flowstone_core::event::Reject;

use crate::candidates::{Candidates, Choice};
use crate::format::{Format, is_header_line};
use crate::number::any_integer;
use crate::scan::values;

/// What becomes of a line that is no record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Dropped on purpose, and counted by this reason.
    Discard(&'static str),
    /// Rejected whole.
    Reject(Reject),
}

/// Judges a line that does not parse by `candidates`.
#[cold]
pub(crate) fn judge(candidates: &Candidates, line: &str) -> Judgement {
    let line = candidates.record(line, values(line).count());
    let count = values(line).count();
    if count == 0 {
        return Judgement::Discard("empty_line");
    }
    if candidates.is_header(line) {
        return Judgement::Discard("header_line");
    }
    Judgement::Reject(if is_header_line(line) {
        Reject::new(
            "unknown_header",
            "a header line of a format that is not among the candidates: list it in `format`, or read the file with a \
             `file` source, which takes the format from the header line",
        )
    } else {
        match candidates.choose(values(line), count) {
            Choice::One(format) => number_error(&candidates.formats()[format], line),
            Choice::Several => ambiguous(candidates, line, count),
            Choice::None => no_format(candidates, line, count),
        }
    })
}

/// A line of the right length in which something is no number.
fn number_error(format: &Format, line: &str) -> Reject {
    for (index, (field, value)) in format.fields.iter().zip(values(line)).enumerate() {
        if field.is_integer() && value != "-" && any_integer(value.as_bytes(), 0, value.len()).is_none() {
            let place = index + 1;
            let name = &field.name;
            let value = shortened(value);
            let digits = value.strip_prefix('-').unwrap_or(&value);
            return if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                Reject::new(
                    "number_out_of_range",
                    format!("value {place} (`{name}`) is {value}, expected an integer of 64 bits"),
                )
            } else {
                Reject::new(
                    "not_a_number",
                    format!("value {place} (`{name}`) is {value:?}, expected an integer"),
                )
            };
        }
    }
    // Not reached: a line of the right length whose numbers are numbers parses.
    debug_assert!(false, "{line:?} parses as {format}");
    Reject::new("not_a_number", format!("expected {format}"))
}

/// A line that more than one format fits.
fn ambiguous(candidates: &Candidates, line: &str, count: usize) -> Reject {
    let fitting: Vec<String> = candidates
        .formats()
        .iter()
        .filter(|format| format.fits(values(line)))
        .map(|format| format!("`{format}`"))
        .collect();
    Reject::new(
        "ambiguous_format",
        format!(
            "{count} values that fit {} alike: leave one of them out, or send them to places of their own",
            fitting.join(" and ")
        ),
    )
}

/// A line that no format fits.
fn no_format(candidates: &Candidates, line: &str, count: usize) -> Reject {
    let formats = candidates.formats();
    let or_more = if candidates.extra_fields { " or more" } else { "" };
    if let [format] = formats {
        let expected = format.fields.len();
        return Reject::new("field_count", format!("{count} values, expected {expected}{or_more}: {format}"));
    }
    let enough = |format: &&Format| candidates.has_enough(format.fields.len(), count);
    let misfits: Vec<String> = formats
        .iter()
        .filter(enough)
        .filter_map(|format| {
            let (index, (field, value)) = format
                .fields
                .iter()
                .zip(values(line))
                .enumerate()
                .find(|(_, (field, value))| !field.could_be(value))?;
            let value = shortened(value);
            Some(format!("value {} is {value:?}, which is no `{}` of `{format}`", index + 1, field.name))
        })
        .collect();
    if misfits.is_empty() {
        let mut counts: Vec<usize> = formats.iter().map(|format| format.fields.len()).collect();
        counts.sort_unstable();
        counts.dedup();
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        return Reject::new(
            "field_count",
            format!("{count} values, expected {}{or_more}", counts.join(" or ")),
        );
    }
    Reject::new("no_format", format!("none of {} formats fits: {}", formats.len(), misfits.join("; ")))
}

/// Enough of a value to recognise it.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(formats: &[&str], extra_fields: bool) -> Candidates {
        Candidates::new(formats.iter().map(|text| Format::parse(text).unwrap()).collect(), extra_fields)
    }

    #[test]
    fn every_line_that_does_not_parse_gets_its_reason_and_what_was_expected() {
        let one: &[&str] = &["srcaddr srcport start"];
        let several: &[&str] = &[
            "srcaddr srcport",
            "srcport srcaddr",
            "srcaddr dstaddr",
            "dstaddr srcaddr",
            "action srcaddr region",
        ];
        for (formats, line, reason, detail) in [
            (one, "10.0.0.1 22", "field_count", "2 values, expected 3: srcaddr srcport start"),
            (one, "10.0.0.1 22 1 x", "field_count", "4 values, expected 3: srcaddr srcport start"),
            (one, "10.0.0.1 ssh 1", "not_a_number", "value 2 (`srcport`) is \"ssh\", expected an integer"),
            (one, "10.0.0.1 22 1.5", "not_a_number", "value 3 (`start`) is \"1.5\", expected an integer"),
            (
                one,
                "10.0.0.1 22 99999999999999999999",
                "number_out_of_range",
                "value 3 (`start`) is 99999999999999999999, expected an integer of 64 bits",
            ),
            (one, "srcaddr dstaddr", "unknown_header", "a header line of a format"),
            (several, "10.0.0.1", "field_count", "1 values, expected 2 or 3"),
            (
                several,
                "10.0.0.1 10.0.0.2",
                "ambiguous_format",
                "2 values that fit `srcaddr dstaddr` and `dstaddr srcaddr` alike",
            ),
            (
                several,
                "eni-1 22",
                "no_format",
                "none of 5 formats fits: value 1 is \"eni-1\", which is no `srcaddr` of `srcaddr srcport`; ",
            ),
        ] {
            let Judgement::Reject(reject) = judge(&candidates(formats, false), line) else {
                panic!("{line}")
            };
            assert_eq!(reject.reason, reason, "{line}");
            assert!(reject.detail.starts_with(detail), "{line}: {}", reject.detail);
        }
    }

    #[test]
    fn lines_without_a_record_are_discarded() {
        let one = candidates(&["srcaddr srcport"], false);
        for line in ["", "   ", "\r", "\t \r"] {
            assert_eq!(judge(&one, line), Judgement::Discard("empty_line"), "{line:?}");
        }
        assert_eq!(judge(&one, "srcaddr srcport\r"), Judgement::Discard("header_line"));
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let Judgement::Reject(reject) = judge(&candidates(&["srcport"], false), &"é".repeat(5000)) else {
            panic!()
        };
        assert!(reject.detail.len() < 250, "{}", reject.detail);
    }
}
