//! Flow log lines: each becomes a document, is rejected or discarded, and its neighbours change nothing about that.

use flowstone_core::event::{Batch, Path};
use flowstone_core::{NodeKind, Transform};
use serde_json::Value;
use transform_vpcflow as _;

use super::support::{
    Outcome, apply, assert_place, batch_of, flags_and_text, in_time, outcomes, split, table, text, texts,
    transform,
};

/// A byte of choices, formats up to an empty line, each a line, and the flow log's lines.
pub fn vpcflow(data: &[u8]) {
    let Some((flags, rest)) = flags_and_text(data) else { return };
    let (formats, lines) = split(rest, "\n\n");
    in_time(|| run(flags, &formats.split('\n').collect::<Vec<_>>(), &lines.split('\n').collect::<Vec<_>>()));
}

fn run(flags: u8, formats: &[&str], lines: &[&str]) {
    let flag = |bit: u8| flags & 1 << bit != 0;
    let names = ["aws", "snake", "ecs", "aws"][usize::from(flags & 3)];
    let (ignores_surplus, keeps_message, has_format_of_its_own) = (flag(2), flag(3), flag(6));
    let mut options = vec![
        ("format", texts(formats.iter().copied())),
        ("names", text(names)),
        ("extra_fields", text(if ignores_surplus { "ignore" } else { "reject" })),
        ("keep_message", NodeKind::Boolean(keeps_message)),
    ];
    if let Some(timestamp) = [None, Some("start"), Some("end"), Some("none")][usize::from(flags >> 4 & 3)] {
        options.push(("timestamp", text(timestamp)));
    }
    let mut flow = match transform("vpcflow", &table(options)) {
        Ok(flow) => flow,
        Err(errors) => {
            for error in &errors {
                if let Some((start, end)) = error.within {
                    assert_place(formats[error.index.unwrap_or_default()], start, end);
                }
            }
            return;
        }
    };
    // The first line is then what the record's source says of its format.
    let (own, lines) = if has_format_of_its_own { (Some(lines[0]), &lines[1..]) } else { (None, lines) };
    let together = fates(&mut *flow, lines, own);
    let mut fork = flow.fork();
    for (line, together) in lines.iter().zip(&together) {
        assert_eq!(&fates(&mut *fork, &[line], own)[0], together, "alone and among others: {line:?}");
        if let Outcome::Document(document) = together
            && let (0 | 3, [format], None) = (flags & 3, formats, own)
        {
            assert_is_what_the_line_says(document, format, line);
        }
    }
}

fn fates(flow: &mut dyn Transform, lines: &[&str], own_format: Option<&str>) -> Vec<Outcome> {
    let mut batch: Batch = batch_of(lines);
    if let Some(format) = own_format {
        let place = Path::new(["@metadata", "flow_log_format"]);
        (0..lines.len()).for_each(|row| batch.set(row, &place, format).expect("nothing stands there"));
    }
    apply(flow, &mut batch);
    outcomes(&mut batch)
}

/// With AWS's names: each value of the line under its field's name, the number it spells or its very text, and nothing
/// where a `-` stands.
fn assert_is_what_the_line_says(document: &Value, format: &str, line: &str) {
    let blank = [' ', '\t', '\r', '\n', '\u{b}', '\u{c}'];
    let words = |text| str::split(text, blank).filter(|word| !word.is_empty());
    for (word, value) in words(format).zip(words(line)) {
        let name = word.trim_start_matches("${").trim_end_matches('}').replace('_', "-");
        match (document.get(&name), value) {
            (None, "-") => {}
            (Some(Value::String(found)), _) if found == value => {}
            (Some(Value::Number(found)), _) if found.as_i64() == value.parse().ok() => {}
            (found, _) => panic!("`{name}` is {found:?} in the document of {line:?}"),
        }
    }
}
