use proptest::prelude::*;

use super::*;
use flowstone_core::event::{Row, RowId, Value};
use flowstone_core::parse_json;

/// A batch of these events. Objects lie in one value each, or (`spread`) over a column per leaf.
fn batch(events: &[&str], spread: bool) -> Batch {
    let mut batch = Batch::new((0..events.len()).map(|row| RowId::of(&row.to_be_bytes())).collect());
    for (row, event) in events.iter().enumerate() {
        let Ok(Value::Object(fields)) = parse_json(&mut event.as_bytes().to_vec()) else { panic!("{event}") };
        for (name, value) in fields {
            set(&mut batch.row_mut(row), &Path::top(&name), value, spread);
        }
    }
    batch
}

fn set(row: &mut Row<'_>, path: &Path, value: Value, spread: bool) {
    match value {
        Value::Object(map) if spread && !map.is_empty() => {
            for (name, value) in map {
                set(row, &path.child(&name), value, spread);
            }
        }
        value => row.set_path(path, value).unwrap(),
    }
}

/// What a condition answers, however it is asked: one row or a batch, objects whole or spread.
fn check(condition: &str, event: &str, expect: bool) {
    let parsed = Condition::parse(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    for spread in [false, true] {
        // Neighbours of other types make the columns mixed.
        for events in [&[event][..], &[event, "{}", r#"{"a":{"b":[1]},"f":"b","message":7.5}"#, event]] {
            let batch = batch(events, spread);
            assert_eq!(parsed.holds(batch.row(0)), expect, "{condition} on {event} (row)");
            let selection = parsed.select(&batch, &BitSet::all(events.len()));
            assert_eq!(selection.rows.contains(0), expect, "{condition} on {event} (batch)");
            assert_eq!(
                selection.rows.contains(events.len() - 1),
                expect,
                "{condition} on {event} (batch, last)"
            );
        }
    }
}

#[test]
fn a_text_is_looked_for_in_texts_and_lists() {
    for (condition, event, expect) in [
        (r#""OK" in [message]"#, r#"{"message":"2 1 eni ACCEPT OK"}"#, true),
        (r#""OK" in [message]"#, r#"{"message":"... NODATA"}"#, false),
        (r#""OK" in [message]"#, "{}", false),
        (r#""OK" in [message]"#, r#"{"message":5}"#, false),
        (r#""OK" in [message]"#, r#"{"message":["x OK"]}"#, false),
        (r#""OK" in [message]"#, r#"{"message":["OK"]}"#, true),
        (r#""OK" in [message]"#, r#"{"message":["OK",1]}"#, true),
        (r#""OK" in [message]"#, r#"{"message":{"OK":1}}"#, false),
        (r#""OK" not in [message]"#, "{}", true),
        (r#""OK" not  in [message]"#, r#"{"message":"x OK"}"#, false),
        (r#""" in [message]"#, r#"{"message":"x"}"#, true),
        (r#""" in [message]"#, "{}", false),
        (r#""x" in [n][m]"#, r#"{"n":{"m":["x"]}}"#, true),
        (r#""x" in [n][m]"#, r#"{"n":"x"}"#, false),
        ("1 in [f]", r#"{"f":[2,1]}"#, true),
        ("1 in [f]", r#"{"f":["1"]}"#, false),
        ("1 in [f]", r#"{"f":"1"}"#, false),
        ("1 in [f]", r#"{"f":1}"#, false),
        (r#"[f] in "abc""#, r#"{"f":"b"}"#, true),
        (r#"[f] in "abc""#, r#"{"f":"abcd"}"#, false),
        (r#"[f] in "abc""#, r#"{"f":""}"#, true),
        ("[f] in 123", r#"{"f":"2"}"#, true),
        ("[f] in 123", r#"{"f":2}"#, false),
    ] {
        check(condition, event, expect);
    }
}

#[test]
fn a_field_is_looked_for_in_lists_by_its_text() {
    for (condition, event, expect) in [
        (r#"[f] in ["a","b"]"#, r#"{"f":"a"}"#, true),
        (r#"[f] in ["a","b"]"#, r#"{"f":["a"]}"#, false),
        (r#"[f] in ["a","b"]"#, "{}", false),
        (r#"[f] not in ["a","b"]"#, "{}", true),
        (r#"[f] in ["","b"]"#, "{}", false),
        (r#"[f] in ["","b"]"#, r#"{"f":null}"#, true),
        ("[f] in [1,2]", r#"{"f":1}"#, true),
        ("[f] in [1,2]", r#"{"f":"1"}"#, true),
        ("[f] in [1,2]", r#"{"f":1.0}"#, false),
        ("[f] in [1.0,2]", r#"{"f":1.0}"#, true),
        (r#"[f] in ["true","x"]"#, r#"{"f":true}"#, true),
        (r#"[f] in [ aa , "b c", [ "d", "e" ] ]"#, r#"{"f":"aa"}"#, true),
        (r#"[f] in [aa, [ "d", "e" ]]"#, r#"{"f":"d"}"#, false),
        ("[f] in []", r#"{"f":"x"}"#, false),
        // One element reads as a field with quotes in its name.
        (r#"[f] in ["x"]"#, r#"{"f":"x"}"#, false),
        (r#"[f] in ["x"]"#, r#"{"f":"x","\"x\"":"xyz"}"#, true),
    ] {
        check(condition, event, expect);
    }
}

#[test]
fn a_field_is_looked_for_in_a_field() {
    for (event, expect) in [
        (r#"{"a":"x","b":"xyz"}"#, true),
        (r#"{"a":"x","b":["x","y"]}"#, true),
        (r#"{"a":"x","b":["xy",1]}"#, false),
        (r#"{"a":1,"b":[1,"x"]}"#, true),
        (r#"{"a":1,"b":["1"]}"#, false),
        (r#"{"a":1,"b":1}"#, true),
        (r#"{"a":["x"],"b":"x"}"#, false),
        (r#"{"a":"x","b":{"x":1}}"#, false),
        (r#"{"a":"x"}"#, false),
        (r#"{"b":"x"}"#, false),
        ("{}", false),
    ] {
        check("[a]in[b]", event, expect);
        check("[a] not in [b]", event, !expect);
    }
}

#[test]
fn equality_is_strict_about_types() {
    for (condition, event, expect) in [
        (r#"[a] == "1""#, r#"{"a":"1"}"#, true),
        (r#"[a] == "1""#, r#"{"a":1}"#, false),
        ("[a] == 1", r#"{"a":1}"#, true),
        ("1 == [a]", r#"{"a":1}"#, true),
        ("[a] == 1", r#"{"a":1.0}"#, false),
        ("[a] == 1.0", r#"{"a":1}"#, false),
        ("[a] == 1.0", r#"{"a":1.0}"#, true),
        ("[a] == -1", r#"{"a":-1}"#, true),
        ("[a] == 007", r#"{"a":7}"#, true),
        ("[a] == 18446744073709551615", r#"{"a":18446744073709551615}"#, true),
        ("[a] == -9223372036854775808", r#"{"a":-9223372036854775808}"#, true),
        ("[a] == -9223372036854775808", "{}", false),
        (r#"[a] != "x""#, "{}", true),
        (r#"[a] != "x""#, r#"{"a":"x"}"#, false),
        (r#"[a] == "true""#, r#"{"a":true}"#, false),
        (r#"[a] == """#, "{}", false),
        (r#"[a] == """#, r#"{"a":""}"#, true),
        ("[a] == [b]", r#"{"a":"x","b":"x"}"#, true),
        ("[a] == [b]", r#"{"a":1,"b":1.0}"#, false),
        ("[a] == [b]", r#"{"a":["x"],"b":["x"]}"#, true),
        ("[a] == [b]", r#"{"a":{"k":1},"b":{"k":1}}"#, true),
        ("[a] == [b]", "{}", true),
        ("[a] == [b]", r#"{"a":null}"#, false),
        (r#"[a][b] == "x""#, r#"{"a":{"b":"x"}}"#, true),
        (r#"[a][b] == "x""#, r#"{"a":"x"}"#, false),
        (r#"[a][0] == "x""#, r#"{"a":["x"]}"#, true),
        (r#"[a][-1] == "y""#, r#"{"a":["x","y"]}"#, true),
        (r#"[a.b] == "x""#, r#"{"a.b":"x"}"#, true),
        (r#"[a.b] == "x""#, r#"{"a":{"b":"x"}}"#, false),
        ("[a] == 'x'", r#"{"a":"x"}"#, true),
        (r#"[a] == "a\"b""#, r#"{"a":"a\\\"b"}"#, true),
        (r#"[a] == "t\n""#, r#"{"a":"t\\n"}"#, true),
        (r#"[@metadata][k] == "v""#, r#"{"@metadata":{"k":"v"}}"#, true),
        // The Java engine compares with the first element of a list.
        (r#"[a] == ["x", "y"]"#, r#"{"a":["x","y"]}"#, false),
        (r#"[a] == ["x", "y"]"#, r#"{"a":"x"}"#, true),
        // Constants.
        ("7 == 7", "{}", true),
        ("7 == 7.0", "{}", false),
        (r#""a" == "b""#, "{}", false),
        (r#""foo" in "foo""#, "{}", true),
        (r#""fo" in "foo""#, "{}", false),
        (r#""a" in ["a","b"]"#, "{}", false),
    ] {
        check(condition, event, expect);
    }
}

#[test]
fn order_compares_numbers_with_numbers_and_strings_with_strings() {
    for (condition, event, expect) in [
        ("[a] < 5", r#"{"a":3}"#, true),
        ("[a] < 5", r#"{"a":5.0}"#, false),
        ("[a] < 5", r#"{"a":4.5}"#, true),
        ("[a] <= 5", r#"{"a":5.0}"#, true),
        ("5 > [a]", r#"{"a":3}"#, true),
        ("5 <= [a]", r#"{"a":5}"#, true),
        ("[a] > 1.5", r#"{"a":2}"#, true),
        ("[a] > -1", r#"{"a":-2}"#, false),
        ("[a] > 5", r#"{"a":18446744073709551615}"#, true),
        ("[a] > 18446744073709551614", r#"{"a":18446744073709551615}"#, true),
        (r#"[a] < "m""#, r#"{"a":"M"}"#, true),
        (r#"[a] >= "m""#, r#"{"a":"m"}"#, true),
        ("[a] > [b]", r#"{"a":"10","b":"9"}"#, false),
        ("[a] < [b]", r#"{"a":1,"b":1.5}"#, true),
        ("5 < 7", "{}", true),
        (r#""b" <= "a""#, "{}", false),
    ] {
        check(condition, event, expect);
    }
}

#[test]
fn what_cannot_be_compared_is_false_and_counted() {
    for (condition, event) in [
        ("[a] < 5", "{}"),
        ("[a] >= 5", "{}"),
        ("[a] >= 5", r#"{"a":null}"#),
        ("[a] <= 5", r#"{"a":true}"#),
        ("[a] < 5", r#"{"a":"4"}"#),
        ("[a] < 5", r#"{"a":[4]}"#),
        (r#"[a] < "m""#, r#"{"a":1}"#),
        ("[a] < [b]", r#"{"a":1}"#),
        ("[a] < [b]", r#"{"a":1,"b":"2"}"#),
    ] {
        check(condition, event, false);
        let condition = Condition::parse(condition).unwrap();
        for events in [&[event][..], &[event, r#"{"a":[1]}"#]] {
            let selection = condition.select(&batch(events, false), &BitSet::all(events.len()));
            assert_eq!(selection.incomparable, events.len() as u64, "{} on {event}", condition.text());
        }
    }
    let ints = batch(&[r#"{"a":1}"#, "{}", r#"{"a":9}"#], false);
    let selection = Condition::parse("[a] > 5").unwrap().select(&ints, &BitSet::all(3));
    assert_eq!((selection.rows.iter().collect::<Vec<_>>(), selection.incomparable), (vec![2], 1));
}

#[test]
fn a_field_alone_holds_unless_it_is_nothing_false_or_empty() {
    for (event, expect) in [
        (r#"{"a":"x"}"#, true),
        (r#"{"a":0}"#, true),
        (r#"{"a":[]}"#, true),
        (r#"{"a":{}}"#, true),
        (r#"{"a":{"b":1}}"#, true),
        (r#"{"a":true}"#, true),
        ("{}", false),
        (r#"{"a":null}"#, false),
        (r#"{"a":false}"#, false),
        (r#"{"a":""}"#, false),
        (r#"{"a":"false"}"#, false),
    ] {
        check("[a]", event, expect);
        check("! [a]", event, !expect);
        check("!(([a]))", event, !expect);
    }
    check("[@metadata]", "{}", true);
    check(r#"[@version] == "1""#, "{}", true);
}

#[test]
fn regular_expressions_match_texts_only() {
    for (condition, event, expect) in [
        ("[a] =~ /x/", r#"{"a":"axb"}"#, true),
        ("[a] =~ /x/", r#"{"a":"b"}"#, false),
        ("[a] =~ /x/", "{}", false),
        ("[a] !~ /x/", "{}", true),
        (r"[a] =~ /\d+/", r#"{"a":12}"#, false),
        ("[a] !~ /x/", r#"{"a":5}"#, true),
        ("[a] =~ /x/", r#"{"a":["x"]}"#, false),
        (r#"[a] =~ "^\d+$""#, r#"{"a":"12"}"#, true),
        (r#"[a] =~ """#, r#"{"a":"x"}"#, true),
        (r#"[a] =~ """#, "{}", false),
        ("[a] =~ /^b/", r#"{"a":"a\nb"}"#, true),
        (r"[a] =~ /\Ab/", r#"{"a":"a\nb"}"#, false),
        ("[a] =~ /a.b/", r#"{"a":"a\nb"}"#, false),
        ("[a] =~ /(?m)a.b/", r#"{"a":"a\nb"}"#, true),
        ("[a] =~ /(?i)ok/", r#"{"a":"OK"}"#, true),
        (r"[a] =~ /a\/b/", r#"{"a":"a/b"}"#, true),
        (r"[a] =~ /a\/b/", r#"{"a":"ab"}"#, false),
        (r"[a] =~ /(?<!1)10\./", r#"{"a":"110.1"}"#, false),
        (r#""abc" =~ /b/"#, "{}", true),
    ] {
        check(condition, event, expect);
    }
}

#[test]
fn and_binds_tighter_than_or() {
    for (condition, a, b, c, expect) in [
        ("[a] or [b] and [c]", true, false, false, true),
        ("[a] and [b] or [c]", false, true, true, true),
        ("[a] and [b] and [a] or [c]", false, true, true, true),
        ("([a] or [b]) and [c]", true, false, false, false),
        ("[a]or[b]and[c]", false, true, true, true),
        ("[a] or [b] or [c]", false, false, true, true),
        ("![a] and [b]", false, true, false, true),
        ("[a] xor [b]", true, true, false, false),
        ("[a] xor [b]", true, false, false, true),
        ("[a] nand [b]", true, true, false, false),
        ("[a] nand [b]", false, false, false, true),
        ("([a] xor [b]) and [c]", true, false, true, true),
        ("[a] # comment\n and [b]", true, true, false, true),
    ] {
        check(condition, &format!(r#"{{"a":{a},"b":{b},"c":{c}}}"#), expect);
    }
}

#[test]
fn the_right_side_is_asked_only_where_it_matters() {
    let events = batch(&[r#"{"a":1,"n":9}"#, r#"{"n":"text"}"#], false);
    let selection = Condition::parse("[a] and [n] > 5").unwrap().select(&events, &BitSet::all(2));
    assert_eq!((selection.rows.count(), selection.incomparable), (1, 0));
    let selection = Condition::parse("![a] or [n] > 5").unwrap().select(&events, &BitSet::all(2));
    assert_eq!((selection.rows.count(), selection.incomparable), (2, 0));
}

#[test]
fn what_logstash_refuses_is_refused_at_its_place() {
    for (condition, start, label) in [
        ("", 0, "expected a field"),
        ("not [a]", 0, "write `!(...)`"),
        ("not ([a])", 0, "write `!(...)`"),
        ("[a] && [b]", 4, "write `and`"),
        ("[a] || [b]", 4, "write `or`"),
        ("[a] AND [b]", 4, "did you mean `and`?"),
        ("a == 1", 0, "a field stands in brackets, `[a]`"),
        ("[a] == true", 7, "there is no `true`"),
        ("[a] == 1.", 7, "digits after the point"),
        ("[a] == -", 8, "digits after `-`"),
        ("[a] == {}", 7, "expected a field"),
        ("[a] = 1", 4, "write `==`"),
        ("![a] == 1", 5, "`!([field] == ...)`"),
        ("!![a]", 1, "after `!`"),
        ("[a] [b]", 4, "expected `and`"),
        ("[a,b] == 1", 1, "quotes"),
        ("[a] =~ [b]", 7, "expected `/.../` or a string"),
        ("1 =~ /x/", 0, "`[field] =~ /.../`"),
        ("[a] =~ /x(/", 9, "`)`"),
        ("[a] == /x/", 7, "a string or a number"),
        ("[a] == []", 7, "a string or a number"),
        (r#"["x","y"] == [a]"#, 0, "a string or a number"),
        ("\"x\"", 0, "a comparison"),
        ("5", 0, "a comparison"),
        ("[a] and \"x\"", 8, "a comparison"),
        ("/x/", 0, "a comparison"),
        ("1 < \"a\"", 0, "two strings"),
        ("1 < 1.5", 0, "two strings"),
        ("[a] and [b] xor [c]", 12, "parentheses"),
        ("[a] xor [b] or [c]", 4, "parentheses"),
        ("foo([a])", 0, "no functions"),
        ("([a]", 0, "`)`"),
        ("([a] [b])", 5, "expected `and`"),
        ("[a] == \"x", 7, "expected `\"`"),
        ("[a] in [\"x\", \"y\"", 7, "`,` or `]`"),
        ("[a] in", 6, "expected a field"),
        ("[a] # comment", 4, "ends with its line"),
        ("[a] and", 7, "expected a field"),
    ] {
        let error = Condition::parse(condition).expect_err(condition);
        assert_eq!(error.start, start, "{condition}: {error}");
        assert!(error.end <= condition.len() && error.start <= error.end, "{condition}: {error:?}");
        assert!(error.label.contains(label), "{condition}: {error}");
    }
}

#[test]
fn a_list_of_one_is_warned_about() {
    let condition = Condition::parse(r#"[a] in ["x"]"#).unwrap();
    let [warning] = condition.warnings() else { panic!("one warning") };
    assert_eq!((warning.start, warning.end), (7, 12));
    assert!(warning.label.contains(r#"`[field] == "x"`"#));
    assert!(Condition::parse(r#"[a] in ["x", "y"] and [b c] == "x""#).unwrap().warnings().is_empty());
}

#[test]
fn the_fields_are_told_once_each() {
    let condition =
        Condition::parse(r#"[a][b] == 1 and ("x" in [c] or [d] < [a][b]) and !([e] =~ /x/)"#).unwrap();
    assert_eq!(condition.fields().iter().map(Path::as_str).collect::<Vec<_>>(), ["[a][b]", "c", "d", "e"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}") {
        if let Err(error) = Condition::parse(&text) {
            prop_assert!(error.start <= error.end && error.end <= text.len(), "{:?}", error);
            prop_assert!(text.is_char_boundary(error.start) && text.is_char_boundary(error.end), "{:?}", error);
        }
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "[a]", "[b][c]", "(", ")", "!", "and", "or", "xor", "nand", "in", "not in", "==", "!=", "<", ">=", "=~",
            "\"x\"", "'", "1", "1.5", "-", "/x/", "/(/", "[", "]", ",", "#", "\n", "not", "é",
        ]), 0..12)
    ) {
        let text = words.join(" ");
        if let Ok(condition) = Condition::parse(&text) {
            let batch = batch(&[r#"{"a":1,"b":{"c":"x"}}"#, "{}"], false);
            let selection = condition.select(&batch, &BitSet::all(2));
            for row in 0..2 {
                prop_assert_eq!(selection.rows.contains(row), condition.holds(batch.row(row)));
            }
        }
    }

    #[test]
    fn a_batch_answers_as_its_rows_do(
        cells in proptest::collection::vec(proptest::sample::select(vec![
            "{}", r#"{"a":1}"#, r#"{"a":2.5}"#, r#"{"a":"x"}"#, r#"{"a":"OK"}"#, r#"{"a":["x"]}"#, r#"{"a":null}"#,
            r#"{"a":false}"#, r#"{"a":{"b":"x"}}"#, r#"{"a":18446744073709551615}"#,
        ]), 1..80),
        condition in proptest::sample::select(vec![
            "[a]", "[a] == 1", "[a] > 1", "\"x\" in [a]", "[a] in [\"x\",\"OK\"]", "[a][b] == \"x\"", "[a] =~ /O/",
            "[a] == [b]", "[a] >= \"a\" or ![a] and [a] != 1", "[a] xor [a] == 1", "[a] nand [a][b]",
        ]),
        spread in any::<bool>(),
    ) {
        let condition = Condition::parse(condition).unwrap();
        let batch = batch(&cells, spread);
        let mut rows = BitSet::all(cells.len());
        rows.remove(cells.len() / 2);
        let selection = condition.select(&batch, &rows);
        for row in 0..cells.len() {
            prop_assert_eq!(selection.rows.contains(row), rows.contains(row) && condition.holds(batch.row(row)));
        }
    }
}

#[test]
fn deep_and_long_conditions_are_no_danger() {
    assert!(Condition::parse(&"(".repeat(100_000)).is_err());
    assert!(Condition::parse(&format!("[a] in {}", "[".repeat(100_000))).is_err());
    let long = Condition::parse(&vec!["[a]"; 20_000].join(" and ")).unwrap();
    assert!(long.holds(batch(&[r#"{"a":1}"#], false).row(0)));
    let nested = format!("{}[a]{}", "!(".repeat(99), ")".repeat(99));
    assert!(!Condition::parse(&nested).unwrap().holds(batch(&[r#"{"a":1}"#], false).row(0)));
}
