//! Every rule of the transform on lines of our own.

use flowstone_core::event::{BitSet, Column, RowId, Value};
use flowstone_core::{BuildCx, Clock, ComponentId, Kind, find};
use serde_json::json;
use transform_vpcflow::{ExtraFields, FieldNames, TimestampFrom, Vpcflow, VpcflowOptions};

use crate::{Outcome, READ_AT, apply, batch_of, document, outcomes, outcomes_of, parsed, path, with_format};

const LINE: &str =
    "2 123456789012 eni-0a1b2c3d 10.0.1.5 203.0.113.9 49152 443 6 10 5120 1788232200 1788232259 ACCEPT OK";
const DEFAULT_FORMAT: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
                              start end action log-status";
const NODATA: &str = "2 123456789012 eni-0a1b2c3d - - - - - - - 1788232440 1788232500 - NODATA";
const SKIPDATA: &str = "2 123456789012 eni-0a1b2c3d - - - - - - - 1788232440 1788232500 - SKIPDATA";

fn defaults() -> VpcflowOptions {
    VpcflowOptions::defaults()
}

fn rejected(options: &VpcflowOptions, line: &str) -> (String, String) {
    match outcomes(options, &[line]).remove(0) {
        Outcome::Rejected(reject) => (reject.reason.into_owned(), reject.detail),
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn a_record_of_the_default_format_is_typed_and_dated_by_its_start() {
    assert_eq!(
        parsed(&defaults(), LINE),
        json!({
            "@timestamp": "2026-09-01T03:10:00.000Z",
            "version": 2,
            "account-id": "123456789012",
            "interface-id": "eni-0a1b2c3d",
            "srcaddr": "10.0.1.5",
            "dstaddr": "203.0.113.9",
            "srcport": 49152,
            "dstport": 443,
            "protocol": 6,
            "packets": 10,
            "bytes": 5120,
            "start": 1_788_232_200,
            "end": 1_788_232_259,
            "action": "ACCEPT",
            "log-status": "OK",
        })
    );
}

#[test]
fn fields_come_in_the_order_of_the_format() {
    let mut batch = batch_of(&[NODATA, LINE]);
    apply(&defaults(), &mut batch);
    let mut out = Vec::new();
    batch.write_json(1, Default::default(), &mut out);
    let text = String::from_utf8(out).unwrap();
    let places: Vec<usize> = ["@timestamp", "version", "srcaddr", "bytes", "action", "log-status"]
        .iter()
        .map(|name| text.find(&format!("\"{name}\"")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn a_dash_is_absent_and_neither_null_nor_text() {
    assert_eq!(
        parsed(&VpcflowOptions { names: FieldNames::Snake, ..defaults() }, NODATA),
        json!({
            "@timestamp": "2026-09-01T03:14:00.000Z",
            "version": 2,
            "account_id": "123456789012",
            "interface_id": "eni-0a1b2c3d",
            "start": 1_788_232_440,
            "end": 1_788_232_500,
            "log_status": "NODATA",
        })
    );
}

#[test]
fn formats_are_read_in_every_spelling_and_in_any_order() {
    for format in [
        "${srcaddr} ${pkt-src-aws-service} ${tcp-flags}",
        "srcaddr pkt-src-aws-service tcp-flags",
        "srcaddr pkt_src_aws_service tcp_flags",
    ] {
        let expect = json!({"@timestamp": "2023-11-14T22:13:20.000Z", "srcaddr": "10.0.0.1", "pkt-src-aws-service": "S3", "tcp-flags": 19});
        assert_eq!(parsed(&with_format(format), "10.0.0.1 S3 19"), expect, "{format}");
    }
}

#[test]
fn records_of_every_version_are_typed() {
    for (format, line, expect) in [
        ("vpc-id tcp-flags type", "vpc-1 0 IPv6", json!({"vpc_id": "vpc-1", "tcp_flags": 0, "type": "IPv6"})),
        (
            "region az-id sublocation-type",
            "us-east-1 use1-az1 outpost",
            json!({"region": "us-east-1", "az_id": "use1-az1", "sublocation_type": "outpost"}),
        ),
        ("flow-direction traffic-path", "egress 8", json!({"flow_direction": "egress", "traffic_path": 8})),
        (
            "resource-type tgw-id packets-lost-no-route",
            "TransitGateway tgw-1 7",
            json!({"resource_type": "TransitGateway", "tgw_id": "tgw-1", "packets_lost_no_route": 7}),
        ),
        (
            "ecs-cluster-name ecs-task-id",
            "web 9a30",
            json!({"ecs_cluster_name": "web", "ecs_task_id": "9a30"}),
        ),
        ("reject-reason", "BPA", json!({"reject_reason": "BPA"})),
        ("resource-id", "nat-1", json!({"resource_id": "nat-1"})),
        ("encryption-status", "3", json!({"encryption_status": 3})),
        (
            "instance-tag-2 next-hop-az-id",
            "caf%C3%A9 use1-az2",
            json!({"instance_tag_2": "caf%C3%A9", "next_hop_az_id": "use1-az2"}),
        ),
        (
            "srcaddr some-future-field",
            "10.0.0.1 42",
            json!({"srcaddr": "10.0.0.1", "some_future_field": "42"}),
        ),
    ] {
        let options = VpcflowOptions {
            names: FieldNames::Snake,
            timestamp: Some(TimestampFrom::None),
            ..with_format(format)
        };
        let mut document = parsed(&options, line);
        document.as_object_mut().unwrap().remove("@timestamp");
        assert_eq!(document, expect, "{format}");
    }
}

#[test]
fn blanks_may_come_in_runs_and_at_both_ends() {
    let line = format!("  {}\r", LINE.replace(' ', " \t "));
    assert_eq!(parsed(&defaults(), &line), parsed(&defaults(), LINE));
}

#[test]
fn the_time_in_front_of_the_lines_of_an_export_is_left_out() {
    const TIMES: [&str; 4] = [
        "2026-03-02T07:11:14.000Z ",
        "2026-03-02T07:11:14Z ",
        "2026-03-02T07:11:14.000+00:00  ",
        " 2026-03-02T07:11:14.000Z\t",
    ];
    let several = VpcflowOptions {
        format: vec![
            DEFAULT_FORMAT.to_owned(),
            format!("{DEFAULT_FORMAT} vpc-id"),
            "start srcaddr".to_owned(),
        ],
        ..defaults()
    };
    let ignoring = VpcflowOptions { extra_fields: ExtraFields::Ignore, ..defaults() };
    let version_5 = "${version} ${vpc-id} ${srcaddr} ${tcp-flags} ${start} ${traffic-path}";
    for (options, line) in [
        (&defaults(), LINE),
        (&defaults(), NODATA),
        (&with_format(version_5), "5 vpc-1 10.0.0.1 19 1788232200 8"),
        (&with_format("interface-id srcport"), "- 22"),
        (&with_format("action srcaddr"), "ACCEPT 10.0.0.1"),
        (&with_format("some-future-field srcport"), "x 22"),
        (&several, LINE),
        (&several, &format!("{LINE} vpc-1")),
        (&several, "1788232200 10.0.0.1"),
        (&ignoring, LINE),
        (&ignoring, &format!("{LINE} more and more")),
        (&VpcflowOptions { names: FieldNames::Ecs, ..defaults() }, LINE),
    ] {
        let without = parsed(options, line);
        for time in TIMES {
            let exported = format!("{time}{line}");
            // Beside one of the usual kind.
            let both = outcomes(options, &[line, &exported]);
            assert_eq!(
                both,
                [Outcome::Document(without.clone()), Outcome::Document(without.clone())],
                "{exported}"
            );
        }
    }
    // A header line, an empty record, and what is wrong with a record are told as without it.
    let export = |line: &str| format!("{}{line}", TIMES[0]);
    let header = export(DEFAULT_FORMAT);
    assert_eq!(outcomes(&defaults(), &[&header]), [Outcome::Discarded("header_line")]);
    let (reason, detail) = rejected(&defaults(), &export("2 123456789012 eni-1"));
    assert_eq!(reason, "field_count");
    assert!(detail.starts_with("3 values, expected 14"), "{detail}");
    assert_eq!(rejected(&defaults(), &export(&LINE.replace("443", "https"))).0, "not_a_number");
    let (reason, detail) = rejected(&defaults(), TIMES[0]);
    assert_eq!((reason.as_str(), &detail[..8]), ("field_count", "1 values"));
    // The line itself stays whole, and a format that has a field for the time keeps it.
    let keeping = VpcflowOptions { keep_message: true, ..defaults() };
    assert_eq!(parsed(&keeping, &export(LINE))["message"], export(LINE));
    for format in [format!("export-time {DEFAULT_FORMAT}"), format!("export_time {DEFAULT_FORMAT} vpc-id")] {
        let options = VpcflowOptions { extra_fields: ExtraFields::Ignore, ..with_format(&format) };
        let line = export(&format!("{LINE} vpc-1"));
        assert_eq!(parsed(&options, &line)["export-time"], "2026-03-02T07:11:14.000Z", "{format}");
    }
}

#[test]
fn milliseconds_are_recognised_and_numbers_stay_as_they_are() {
    let document = parsed(&with_format("start end"), "1512564058000 1512564059");
    assert_eq!(
        document,
        json!({"@timestamp": "2017-12-06T12:40:58.000Z", "start": 1_512_564_058_000i64, "end": 1_512_564_059})
    );
}

#[test]
fn the_timestamp_comes_from_where_the_option_says() {
    let read_at = "2023-11-14T22:13:20.000Z";
    for (names, timestamp, line, expect) in [
        (FieldNames::Aws, None, "1788232200 1788232259", "2026-09-01T03:10:00.000Z"),
        (FieldNames::Ecs, None, "1788232200 1788232259", "2026-09-01T03:10:59.000Z"),
        (FieldNames::Aws, Some(TimestampFrom::End), "1788232200 1788232259", "2026-09-01T03:10:59.000Z"),
        (FieldNames::Ecs, Some(TimestampFrom::Start), "1788232200 1788232259", "2026-09-01T03:10:00.000Z"),
        (FieldNames::Aws, Some(TimestampFrom::None), "1788232200 1788232259", read_at),
        (FieldNames::Aws, None, "- 1788232259", read_at),
    ] {
        let options = VpcflowOptions { names, timestamp, ..with_format("start end") };
        assert_eq!(parsed(&options, line)["@timestamp"], expect, "{names:?} {timestamp:?} {line}");
    }
}

#[test]
fn what_does_not_fit_is_rejected_with_what_was_found_and_expected() {
    let options = with_format("srcaddr srcport start");
    for (line, reason, detail) in [
        ("10.0.0.1 22", "field_count", "2 values, expected 3: srcaddr srcport start"),
        ("10.0.0.1 22 1 more", "field_count", "4 values, expected 3: srcaddr srcport start"),
        ("10.0.0.1 ssh 1", "not_a_number", "value 2 (`srcport`) is \"ssh\", expected an integer"),
        ("10.0.0.1 22 1.5", "not_a_number", "value 3 (`start`) is \"1.5\", expected an integer"),
        (
            "10.0.0.1 22 9223372036854775808",
            "number_out_of_range",
            "value 3 (`start`) is 9223372036854775808, expected an integer of 64 bits",
        ),
        (
            "10.0.0.1 -9223372036854775808 1",
            "number_out_of_range",
            "value 2 (`srcport`) is -9223372036854775808, expected an integer of 64 bits",
        ),
        ("\u{0}\u{1}\u{2}", "field_count", "1 values, expected 3: srcaddr srcport start"),
    ] {
        assert_eq!(rejected(&options, line), (reason.to_owned(), detail.to_owned()), "{line:?}");
    }
}

#[test]
fn a_rejected_line_stays_whole_and_the_others_parse() {
    let mut batch = batch_of(&[LINE, "garbage", LINE]);
    let before = document(&batch, 1);
    apply(&defaults(), &mut batch);
    assert_eq!(document(&batch, 1), before, "message and @timestamp are as they were");
    assert_eq!(document(&batch, 0), parsed(&defaults(), LINE));
    assert_eq!(document(&batch, 2), parsed(&defaults(), LINE));
    assert_eq!(batch.live_rows().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn values_that_aws_would_not_write_are_kept_when_one_format_is_given() {
    let document = parsed(&with_format("srcaddr srcport action"), "10.0.0.999 70000 MAYBE");
    assert_eq!(
        (&document["srcaddr"], &document["srcport"], &document["action"]),
        (&json!("10.0.0.999"), &json!(70_000), &json!("MAYBE"))
    );
}

#[test]
fn empty_lines_and_header_lines_are_no_events() {
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
    let outcomes = outcomes(&defaults(), &["", header, "  \r", LINE]);
    let discarded: Vec<&Outcome> = outcomes.iter().take(3).collect();
    assert_eq!(
        discarded,
        [
            &Outcome::Discarded("empty_line"),
            &Outcome::Discarded("header_line"),
            &Outcome::Discarded("empty_line")
        ]
    );
    assert!(matches!(outcomes[3], Outcome::Document(_)));
}

#[test]
fn the_header_of_another_format_is_rejected_with_advice() {
    let (reason, detail) = rejected(&defaults(), "version srcaddr dstaddr");
    assert_eq!(reason, "unknown_header");
    assert!(detail.contains("list it in `format`"), "{detail}");
}

#[test]
fn headers_are_known_where_no_field_is_a_number() {
    let options = with_format("srcaddr dstaddr action");
    assert_eq!(outcomes(&options, &["srcaddr dstaddr action"]), [Outcome::Discarded("header_line")]);
    assert_eq!(outcomes(&with_format("action"), &["action"]), [Outcome::Discarded("header_line")]);
    let (of_another, _) = rejected(&options, "action srcaddr dstaddr");
    assert_eq!(of_another, "unknown_header", "no record has field names for its values");
    assert_eq!(parsed(&with_format("action"), "REJECT")["action"], "REJECT");
}

#[test]
fn surplus_values_are_left_out_on_request() {
    let options = VpcflowOptions { extra_fields: ExtraFields::Ignore, ..with_format("srcaddr srcport") };
    for line in ["10.0.0.1 22", "10.0.0.1 22 more", &format!("10.0.0.1 22 {}", "x ".repeat(500))] {
        let document = parsed(&options, line);
        assert_eq!(document.as_object().unwrap().len(), 3, "{document}");
        assert_eq!(document["srcport"], 22);
    }
    assert_eq!(rejected(&options, "10.0.0.1").1, "1 values, expected 2 or more: srcaddr srcport");
}

#[test]
fn each_line_takes_the_candidate_that_it_fits() {
    let options = VpcflowOptions {
        format: ["srcaddr srcport", "srcport srcaddr", "interface-id action", "srcaddr dstaddr srcport"]
            .map(str::to_owned)
            .to_vec(),
        timestamp: Some(TimestampFrom::None),
        ..defaults()
    };
    for (line, expect) in [
        ("10.0.0.1 22", json!({"srcaddr": "10.0.0.1", "srcport": 22})),
        ("22 10.0.0.1", json!({"srcaddr": "10.0.0.1", "srcport": 22})),
        ("eni-1 REJECT", json!({"interface-id": "eni-1", "action": "REJECT"})),
        ("10.0.0.1 - 22", json!({"srcaddr": "10.0.0.1", "srcport": 22})),
    ] {
        let mut document = parsed(&options, line);
        document.as_object_mut().unwrap().remove("@timestamp");
        assert_eq!(document, expect, "{line}");
    }
    assert_eq!(rejected(&options, "- -").0, "ambiguous_format");
    assert_eq!(rejected(&options, "10.0.0.1 70000").0, "no_format");
    assert_eq!(rejected(&options, "10.0.0.1").1, "1 values, expected 2 or 3");
}

#[test]
fn lines_of_several_formats_in_one_batch_do_not_mix() {
    let options = VpcflowOptions {
        format: vec!["srcaddr srcport".to_owned(), "srcport action".to_owned()],
        ..defaults()
    };
    let lines: Vec<String> = (0..200)
        .map(|row| if row % 3 == 0 { format!("10.0.0.1 {row}") } else { format!("{row} ACCEPT") })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (row, outcome) in outcomes(&options, &lines).into_iter().enumerate() {
        let Outcome::Document(document) = outcome else { panic!("{outcome:?}") };
        assert_eq!(document["srcport"], row);
        assert_eq!(document.get("action").is_some(), row % 3 != 0, "{document}");
        assert_eq!(document.get("srcaddr").is_some(), row % 3 == 0, "{document}");
    }
}

#[test]
fn with_surplus_values_the_longest_candidate_that_fits_is_taken() {
    let options = VpcflowOptions {
        format: vec!["srcaddr".to_owned(), "srcaddr dstaddr".to_owned()],
        extra_fields: ExtraFields::Ignore,
        ..defaults()
    };
    assert_eq!(parsed(&options, "10.0.0.1 10.0.0.2 x")["dstaddr"], "10.0.0.2");
    assert_eq!(parsed(&options, "10.0.0.1 x")["srcaddr"], "10.0.0.1");
}

#[test]
fn the_format_that_a_source_states_is_preferred() {
    let mut batch = batch_of(&["10.0.0.1 22", "10.0.0.2 23"]);
    batch.put_columns(vec![(
        path("[@metadata][flow_log_format]"),
        Column::Const("${srcaddr} ${srcport}".into()),
    )]);
    apply(&defaults(), &mut batch);
    assert_eq!(
        (&document(&batch, 0)["srcport"], &document(&batch, 1)["srcaddr"]),
        (&json!(22), &json!("10.0.0.2"))
    );
}

#[test]
fn each_row_may_have_a_stated_format_of_its_own() {
    let stated = path("[@metadata][flow_log_format]");
    let mut batch = batch_of(&["10.0.0.1 22", LINE, "23 10.0.0.2", "x y", "24", "25"]);
    batch.set(0, &stated, "srcaddr srcport").unwrap();
    batch.set(2, &stated, vec!["srcport srcaddr", "srcaddr dstaddr"]).unwrap();
    batch.set(3, &stated, "no/format").unwrap();
    batch.set(4, &stated, "").unwrap();
    batch.set(5, &stated, 7).unwrap();
    apply(&defaults(), &mut batch);
    let outcomes = outcomes_of(&mut batch);
    let port = |row: usize| match &outcomes[row] {
        Outcome::Document(document) => document["srcport"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!([port(0), port(1), port(2)], [json!(22), json!(49152), json!(23)]);
    for (row, detail) in [
        (3, "the record's own format is none: `no/format` is no field name"),
        (4, "the record's own format is none: a format names at least one field"),
        (5, "the record's own format is none: a format is text, found a value of type integer"),
    ] {
        let Outcome::Rejected(reject) = &outcomes[row] else { panic!("{:?}", outcomes[row]) };
        assert_eq!((&*reject.reason, reject.detail.as_str()), ("bad_format", detail));
    }
}

#[test]
fn the_line_stays_on_request_and_any_field_may_hold_it() {
    assert_eq!(parsed(&VpcflowOptions { keep_message: true, ..defaults() }, LINE)["message"], LINE);
    let options = VpcflowOptions { source: path("[event][original]"), ..with_format("srcaddr srcport") };
    let mut batch = batch_of(&["is not looked at", "is not looked at"]);
    batch.set(0, &path("[event][original]"), "10.0.0.1 22").unwrap();
    batch.set(0, &path("[event][kind]"), "event").unwrap();
    apply(&options, &mut batch);
    assert_eq!(
        document(&batch, 0),
        json!({
            "message": "is not looked at",
            "@timestamp": "2023-11-14T22:13:20.000Z",
            "event": {"kind": "event"},
            "srcaddr": "10.0.0.1",
            "srcport": 22,
        })
    );
    let outcomes = outcomes_of(&mut batch);
    let Outcome::Rejected(reject) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(reject.reason, "missing_field");
}

#[test]
fn a_source_field_that_is_no_text_is_rejected() {
    let mut batch = batch_of(&["1", "2", "3"]);
    batch.set(0, &path("message"), 7).unwrap();
    let mut object = flowstone_core::event::Map::default();
    object.insert("inner".into(), Value::from("x"));
    batch.set(1, &path("message"), Value::Object(object)).unwrap();
    batch.set(2, &path("message"), "10.0.0.1 22").unwrap();
    apply(&with_format("srcaddr srcport"), &mut batch);
    let outcomes = outcomes_of(&mut batch);
    let details: Vec<&str> = outcomes
        .iter()
        .map(|outcome| if let Outcome::Rejected(reject) = outcome { reject.detail.as_str() } else { "" })
        .collect();
    assert_eq!(
        details,
        ["`message` is of type integer, expected text", "`message` is of type object, expected text", ""]
    );
    assert_eq!(document(&batch, 2)["srcport"], 22);
    assert_eq!(document(&batch, 0)["message"], 7);
}

#[test]
fn every_row_may_share_one_line() {
    let mut batch = flowstone_core::event::Batch::new(vec![RowId::of(b"a"), RowId::of(b"b")]);
    batch.put_columns(vec![(path("message"), Column::Const(Value::from("10.0.0.1 22")))]);
    apply(&with_format("srcaddr srcport"), &mut batch);
    for row in 0..2 {
        assert_eq!(document(&batch, row), json!({"srcaddr": "10.0.0.1", "srcport": 22}));
    }
}

#[test]
fn skipped_records_are_counted_and_go_on() {
    let mut batch = batch_of(&[LINE, SKIPDATA, NODATA, SKIPDATA, "2 x SKIPDATA"]);
    let metrics = apply(&defaults(), &mut batch);
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("flowstone_vpcflow_skipdata_total{"))
        .unwrap_or_default();
    assert!(counted.ends_with(" 2"), "{metrics}");
    assert_eq!(batch.live_count(), 4);
}

#[test]
fn inactive_rows_stay_as_they_are() {
    let mut batch = batch_of(&[LINE, LINE, "garbage", "garbage", LINE]);
    let mut active = BitSet::none(5);
    [1, 3, 4].into_iter().for_each(|row| active.insert(row));
    let before: Vec<_> = (0..5).map(|row| document(&batch, row)).collect();
    batch.set_active(Some(active));
    apply(&defaults(), &mut batch);
    for row in [0, 2, 3] {
        assert_eq!(document(&batch, row), before[row], "{row}");
    }
    assert_eq!(document(&batch, 4), parsed(&defaults(), LINE));
    assert_eq!(batch.live_rows().collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn fields_that_an_event_has_already_give_way_to_the_lines_and_stay_where_it_says_nothing() {
    let mut batch = batch_of(&["10.0.0.1 22", "- -", "10.0.0.3 nonsense"]);
    for row in 0..3 {
        batch.set(row, &path("srcport"), "a text").unwrap();
        batch.set(row, &path("[srcaddr][inner]"), 1).unwrap();
    }
    let before = document(&batch, 2);
    apply(&with_format("srcaddr srcport"), &mut batch);
    let timestamp = "2023-11-14T22:13:20.000Z";
    assert_eq!(document(&batch, 0), json!({"@timestamp": timestamp, "srcaddr": "10.0.0.1", "srcport": 22}));
    assert_eq!(
        document(&batch, 1),
        json!({"@timestamp": timestamp, "srcaddr": {"inner": 1}, "srcport": "a text"})
    );
    assert_eq!(document(&batch, 2), before);
}

#[test]
fn a_format_that_cannot_be_read_is_an_error_at_its_place() {
    let errors = |format: &[&str]| {
        let options =
            VpcflowOptions { format: format.iter().map(|text| (*text).to_owned()).collect(), ..defaults() };
        Vpcflow::new(&options).map(|_| ()).unwrap_err()
    };
    let found = errors(&["version $(srcaddr)"]);
    assert_eq!((found[0].option.as_str(), found[0].index, found[0].within), ("format", None, Some((8, 18))));
    assert_eq!(found[0].message, "`$(srcaddr)` is no field name");
    let found = errors(&["srcaddr dstaddr", "srcaddr srcaddr", "dstaddr srcaddr", ""]);
    let said: Vec<(Option<usize>, &str)> =
        found.iter().map(|error| (error.index, error.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (Some(1), "`srcaddr` stands twice in the format"),
            (Some(2), "no line could tell this format from `srcaddr dstaddr`"),
            (Some(3), "a format names at least one field"),
        ]
    );
    assert_eq!(errors(&[])[0].message, "`format` names no format");
}

#[test]
fn the_transform_is_registered_with_its_options() {
    let plugin = find(Kind::Transform, "vpcflow").unwrap();
    let names: Vec<&str> = plugin.options.iter().map(|option| option.name).collect();
    assert_eq!(names, ["format", "names", "timestamp", "extra_fields", "keep_message", "source"]);
    let flowstone_core::Build::Transform(build) = plugin.build else { panic!() };
    let cx = BuildCx {
        id: ComponentId { name: "flow".into(), kind: Kind::Transform, type_name: "vpcflow" },
        data_dir: "/nowhere".into(),
        clock: Clock::Fixed(READ_AT),
    };
    assert!(build(&flowstone_core::Table::default(), &cx, &mut Vec::new()).unwrap().is_some());
}
