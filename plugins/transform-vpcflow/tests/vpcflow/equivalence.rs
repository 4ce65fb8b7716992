//! The columns against a slow parser of a dozen lines, on random lines, formats and batches.

use flowstone_core::event::{Batch, BitSet, Page, Path, RowId, StrRef, format_iso_millis};
use proptest::prelude::*;
use transform_vpcflow::{ExtraFields, FieldNames, VpcflowOptions};

use crate::{Outcome, apply, document, outcomes_of, path, with_format};

const FORMATS: [&str; 5] = [
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status",
    "${srcaddr} ${start} ${some-future-field}",
    "action srcaddr dstaddr",
    "bytes",
    "start tcp_flags region",
];

/// What a format's integers are called.
const INTEGERS: [&str; 10] = [
    "version",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "tcp-flags",
    "traffic-path",
];

/// What a CloudWatch export puts in front of a line.
const EXPORT_TIME: &str = "2026-03-02T07:11:14.000Z ";

/// One row as it goes into the batch.
#[derive(Clone, Debug)]
struct Input {
    line: Option<String>,
    /// A page of its own, as a field has that a transform wrote.
    own_page: bool,
    active: bool,
    live: bool,
    /// Fields that the event has before: a text under `srcport`, an object under `action`.
    text_in_the_way: bool,
    object_in_the_way: bool,
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("-".to_owned()),
        8 => (0u64..70_000).prop_map(|number| number.to_string()),
        3 => (1_400_000_000u64..1_800_000_000).prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => "[0-9]{15,22}",
        2 => Just("10.0.0.1".to_owned()),
        2 => Just("ACCEPT".to_owned()),
        1 => "[a-zé\"\\\\\u{1}+]{1,12}",
        1 => Just("srcaddr".to_owned()),
    ]
}

fn blanks() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(" "), 1 => Just("  "), 1 => Just("\t"), 1 => Just(" \r ")]
}

fn line(fields: usize) -> impl Strategy<Value = String> {
    let count = prop_oneof![12 => Just(fields), 1 => 0..fields + 3];
    count.prop_flat_map(|count| {
        (
            prop::collection::vec((value(), blanks()), count),
            prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\r")],
            prop_oneof![8 => Just(""), 2 => Just(EXPORT_TIME)],
        )
            .prop_map(|(values, end, time)| {
                let mut line = time.to_owned();
                for (index, (value, blanks)) in values.iter().enumerate() {
                    line.push_str(if index > 0 { blanks } else { "" });
                    line.push_str(value);
                }
                line + end
            })
    })
}

fn input(fields: usize) -> impl Strategy<Value = Input> {
    let rarely = || prop::bool::weighted(0.02);
    (
        prop::option::weighted(0.98, line(fields)),
        rarely(),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.95),
        rarely(),
        rarely(),
    )
        .prop_map(|(line, own_page, active, live, text_in_the_way, object_in_the_way)| Input {
            line,
            own_page,
            active,
            live,
            text_in_the_way,
            object_in_the_way,
        })
}

fn batch(inputs: &[Input], mask: bool) -> Batch {
    let mut text = String::new();
    let mut lines = vec![StrRef::ABSENT; inputs.len()];
    for (row, input) in inputs.iter().enumerate() {
        if let Some(line) = input.line.as_ref().filter(|_| !input.own_page) {
            lines[row] = StrRef { page: 0, offset: text.len() as u32, len: line.len() as u32 };
            text.push_str(line);
            text.push('\n');
        }
    }
    let ids = (0..inputs.len()).map(|row| RowId::of(&row.to_le_bytes())).collect();
    let mut batch = Batch::of_lines(Page::of_lines(text), lines, ids, 0);
    for (row, input) in inputs.iter().enumerate() {
        if let Some(line) = input.line.as_ref().filter(|_| input.own_page) {
            batch.set_str(row, &Path::message(), line).unwrap();
        }
        if input.text_in_the_way {
            batch.set(row, &path("srcport"), "in the way").unwrap();
        }
        if input.object_in_the_way {
            batch.set(row, &path("[action][was]"), 1).unwrap();
        }
    }
    let set = |holds: fn(&Input) -> bool| {
        let mut set = BitSet::none(inputs.len());
        inputs.iter().enumerate().filter(|(_, input)| holds(input)).for_each(|(row, _)| set.insert(row));
        set
    };
    batch.retain(set(|input| input.live));
    if mask {
        batch.set_active(Some(set(|input| input.active)));
    }
    batch
}

/// The parser as one would write it in an afternoon, on one row.
fn expected(batch: &Batch, row: usize, line: Option<&str>, options: &VpcflowOptions) -> Outcome {
    let rejected = |reason: &'static str| Outcome::Rejected(flowstone_core::event::Reject::new(reason, ""));
    let Some(line) = line else { return rejected("missing_field") };
    let names: Vec<String> = options.format[0]
        .split(' ')
        .map(|name| name.trim_matches(['$', '{', '}']).replace('_', "-"))
        .collect();
    let mut values: Vec<&str> =
        line.split([' ', '\t', '\r', '\n', '\u{b}', '\u{c}']).filter(|value| !value.is_empty()).collect();
    if values.len() > 1 && values.len() != names.len() && values[0] == EXPORT_TIME.trim_end() {
        values.remove(0);
    }
    if values.is_empty() {
        return Outcome::Discarded("empty_line");
    }
    if values == names {
        return Outcome::Discarded("header_line");
    }
    if values.len() > 1 && values.iter().all(|value| *value == "srcaddr") {
        return rejected("unknown_header");
    }
    let ignore = options.extra_fields == ExtraFields::Ignore;
    if values.len() < names.len() || (values.len() > names.len() && !ignore) {
        return rejected("field_count");
    }
    let mut document = document(batch, row);
    let fields = document.as_object_mut().unwrap();
    if !options.keep_message {
        fields.remove("message");
    }
    for (name, value) in names.iter().zip(values) {
        if value == "-" {
            continue;
        }
        let shown = if options.names == FieldNames::Snake { name.replace('-', "_") } else { name.clone() };
        if !INTEGERS.contains(&name.as_str()) {
            fields.insert(shown, value.into());
            continue;
        }
        let Some(number) =
            value.parse::<i64>().ok().filter(|number| *number != i64::MIN && !value.starts_with('+'))
        else {
            let digits = value.strip_prefix('-').unwrap_or(value);
            let all = digits.chars().all(|c| c.is_ascii_digit());
            return rejected(if all { "number_out_of_range" } else { "not_a_number" });
        };
        fields.insert(shown, number.into());
        if name == "start" {
            let millis = if number.unsigned_abs() > 100_000_000_000 { number } else { number * 1000 };
            fields.insert("@timestamp".to_owned(), format_iso_millis(millis).into());
        }
    }
    Outcome::Document(document)
}

fn without_detail(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Rejected(mut reject) => {
            reject.detail.clear();
            Outcome::Rejected(reject)
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 100 } else { 2000 }))]

    #[test]
    fn columns_hold_what_a_slow_parser_finds(
        (format, inputs) in prop::sample::select(FORMATS.to_vec()).prop_flat_map(|format| {
            let fields = format.split(' ').count();
            (Just(format), prop::collection::vec(input(fields), 0..200))
        }),
        mask in any::<bool>(),
        snake in any::<bool>(),
        keep_message in any::<bool>(),
        ignore in any::<bool>(),
    ) {
        let options = VpcflowOptions {
            names: if snake { FieldNames::Snake } else { FieldNames::Aws },
            keep_message,
            extra_fields: if ignore { ExtraFields::Ignore } else { ExtraFields::Reject },
            ..with_format(format)
        };
        let mut found = batch(&inputs, mask);
        let mut before = Vec::new();
        let expect: Vec<(usize, Outcome)> = (0..inputs.len())
            .map(|row| {
                before.push(document(&found, row));
                let active = found.is_live(row) && (!mask || inputs[row].active);
                (row, if active { expected(&found, row, inputs[row].line.as_deref(), &options) } else { Outcome::Document(before[row].clone()) })
            })
            .collect();
        apply(&options, &mut found);
        for (row, outcome) in &expect {
            if !matches!(outcome, Outcome::Document(_)) {
                prop_assert_eq!(&document(&found, *row), &before[*row], "row {} must stay whole", row);
            }
        }
        let live_before = inputs.iter().filter(|input| input.live).count();
        let found_live = found.live_count();
        let outcomes: Vec<Outcome> = outcomes_of(&mut found).into_iter().map(without_detail).collect();
        let gone = outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Document(_))).count();
        prop_assert_eq!(found_live, live_before - gone);
        for (row, outcome) in expect {
            // What a dead row holds is nobody's business any more.
            if inputs[row].live {
                prop_assert_eq!(&outcomes[row], &outcome, "row {}: {:?}", row, &inputs[row]);
            }
        }
    }

    #[test]
    fn candidates_give_what_each_format_alone_gives(
        lines in prop::collection::vec((0usize..3, 0u16..u16::MAX, 1_400_000_000i64..1_800_000_000), 1..150),
    ) {
        let formats = ["srcaddr srcport start", "start srcaddr srcport", "srcaddr dstaddr action start"];
        let texts: Vec<String> = lines
            .iter()
            .map(|(format, port, start)| match format {
                0 => format!("10.0.0.1 {port} {start}"),
                1 => format!("{start} 10.0.0.1 {port}"),
                _ => format!("10.0.0.1 10.0.0.2 ACCEPT {start}"),
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = VpcflowOptions { format: formats.map(str::to_owned).to_vec(), ..with_format("srcaddr") };
        let together = crate::outcomes(&all, &texts);
        for ((format, _, _), (text, outcome)) in lines.iter().zip(texts.iter().zip(together)) {
            prop_assert_eq!(outcome, Outcome::Document(crate::parsed(&with_format(formats[*format]), text)));
        }
    }
}
