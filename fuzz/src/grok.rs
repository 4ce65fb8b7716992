//! Grok patterns: refused with a place in the pattern, or matched within bounds, and by every engine alike.

use flowstone_core::NodeKind;
use flowstone_core::event::Batch;
use serde_json::Value;
use transform_grok as _;

use super::support::{
    apply, assert_place, batch_of, document, flags_and_text, in_time, split, table, text, transform,
};

/// A group that holds nothing, and a reference back to it, which no engine but the backtracking one can do.
const FORCED: &str = "flowstone_forced";
const TIMED_OUT: &str = "_groktimeout";

/// A byte of choices, a pattern up to the end of the line, and the text to match.
///
/// Whatever engine the pattern gets, the documents are those of the backtracking engine, which is forced upon it with
/// a reference back to a group that holds nothing.
pub fn grok(data: &[u8]) {
    let Some((flags, rest)) = flags_and_text(data) else { return };
    let (pattern, line) = split(rest, "\n");
    let Some(fast) = in_time(|| run(pattern, line, flags)) else { return };
    // A group with a name changes what `\1` means. What refers back is done by backtracking anyway.
    let refers_back = pattern.match_indices('\\').any(|(at, _)| {
        pattern[at + 1..].starts_with(|next: char| next.is_ascii_digit() || matches!(next, 'k' | 'g'))
    });
    if refers_back || has_timed_out(&fast) {
        return;
    }
    let forced = format!("(?:{pattern})(?<{FORCED}>)\\k<{FORCED}>");
    // A comment at the pattern's end takes the parenthesis with it.
    let Some(mut slow) = in_time(|| run(&forced, line, flags)) else { return };
    if has_timed_out(&slow) {
        return;
    }
    if let Some(fields) = slow.0.as_object_mut() {
        fields.remove(FORCED);
    }
    assert_eq!(fast, slow, "{pattern:?} on {line:?}");
}

/// The document that comes out and whether the pattern matched; nothing if the pattern is refused.
fn run(pattern: &str, line: &str, flags: u8) -> Option<(Value, bool)> {
    let flag = |bit: u8| flags & 1 << bit != 0;
    let options = table([
        ("match", NodeKind::Table(table([("message", text(pattern))]))),
        ("ecs_compatibility", text(if flag(0) { "v8" } else { "disabled" })),
        ("named_captures_only", NodeKind::Boolean(!flag(1))),
        ("keep_empty_captures", NodeKind::Boolean(flag(2))),
        ("timeout_millis", NodeKind::Integer(100)),
    ]);
    let mut grok = match transform("grok", &options) {
        Ok(grok) => grok,
        Err(errors) => {
            for (start, end) in errors.iter().filter_map(|error| error.within) {
                assert_place(pattern, start, end);
            }
            return None;
        }
    };
    let mut batch: Batch = batch_of(&[line]);
    apply(&mut *grok, &mut batch);
    let is_matched = batch.take_unmatched().is_none_or(|rows| rows.count() == 0);
    Some((document(&batch, 0), is_matched))
}

fn has_timed_out((document, _): &(Value, bool)) -> bool {
    document["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == TIMED_OUT))
}
