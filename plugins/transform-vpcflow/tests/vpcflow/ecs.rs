//! `names = "ecs"`.

use serde_json::{Value, json};
use transform_vpcflow::{FieldNames, VpcflowOptions};

use crate::{Outcome, apply, batch_of, document, outcomes_of, parsed, path, with_format};

fn ecs(format: &str) -> VpcflowOptions {
    VpcflowOptions { names: FieldNames::Ecs, ..with_format(format) }
}

#[test]
fn a_record_becomes_the_fields_of_the_common_schema() {
    let format = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action \
                  log-status vpc-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id flow-direction \
                  reject-reason some-future-field";
    let line = "10 123456789012 eni-1 10.0.1.5 10.0.0.220 49152 443 6 10 5120 1788232200 1788232259 REJECT OK vpc-1 i-1 19 \
                IPv4 10.0.1.5 203.0.113.5 us-east-1 use1-az1 egress BPA x";
    assert_eq!(
        parsed(&ecs(format), line),
        json!({
            "@timestamp": "2026-09-01T03:10:59.000Z",
            "aws": {"vpcflow": {
                "version": 10,
                "interface_id": "eni-1",
                "log_status": "OK",
                "vpc_id": "vpc-1",
                "tcp_flags": 19,
                "tcp_flags_array": ["fin", "syn", "ack"],
                "type": "IPv4",
                "pkt_srcaddr": "10.0.1.5",
                "pkt_dstaddr": "203.0.113.5",
                "some_future_field": "x",
            }},
            "cloud": {
                "provider": "aws",
                "account": {"id": "123456789012"},
                "instance": {"id": "i-1"},
                "region": "us-east-1",
                "availability_zone": "use1-az1",
            },
            "source": {"address": "10.0.1.5", "ip": "10.0.1.5", "port": 49152, "packets": 10, "bytes": 5120},
            "destination": {"address": "10.0.0.220", "ip": "10.0.0.220", "port": 443, "nat": {"ip": "203.0.113.5"}},
            "event": {
                "kind": "event",
                "category": ["network"],
                "type": ["connection", "denied"],
                "action": "reject",
                "outcome": "failure",
                "reason": "BPA",
                "start": "2026-09-01T03:10:00.000Z",
                "end": "2026-09-01T03:10:59.000Z",
            },
            "network": {
                "type": "ipv4",
                "iana_number": "6",
                "transport": "tcp",
                "direction": "egress",
                "packets": 10,
                "bytes": 5120,
                "community_id": "1:SE5dZ9QkJo9F979fJ57xlZjMtyc=",
            },
            "related": {"ip": ["10.0.1.5", "10.0.0.220", "203.0.113.5"]},
        })
    );
}

#[test]
fn tasks_of_containers_are_orchestrated() {
    let format = "ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id \
                  ecs-second-container-id ecs-service-name ecs-task-id";
    let document =
        parsed(&ecs(format), "arn:aws:ecs:::cluster/c c arn:aws:ecs:::container-instance/c/i i k k2 svc t");
    assert_eq!(
        document["orchestrator"],
        json!({
            "type": "ecs",
            "cluster": {"id": "arn:aws:ecs:::cluster/c", "name": "c"},
            "resource": {"type": "container", "id": "i", "name": "arn:aws:ecs:::container-instance/c/i"},
        })
    );
    assert_eq!(
        (&document["container"], &document["service"]),
        (&json!({"id": "k"}), &json!({"name": "svc"}))
    );
    assert_eq!(document["aws"]["vpcflow"], json!({"ecs_second_container_id": "k2", "ecs_task_id": "t"}));
    let fargate = parsed(&ecs(format), "arn:aws:ecs:::cluster/c c - - k - svc t");
    assert_eq!(fargate["orchestrator"].get("resource"), None);
}

#[test]
fn what_a_record_does_not_say_is_not_made_up() {
    let format = "srcaddr dstaddr srcport dstport protocol action tcp-flags start end";
    for (line, at, expect) in [
        ("- - - - - - - - -", "/event/type", json!(["connection"])),
        ("- - - - - - - - -", "/event/outcome", Value::Null),
        ("- - - - - - - - -", "/network", Value::Null),
        ("- - - - - - - - -", "/related", Value::Null),
        ("- - - - - - - - -", "/cloud", json!({"provider": "aws"})),
        ("10.0.0.1 10.0.0.2 1 2 6 MAYBE 0 1 2", "/event/action", json!("maybe")),
        ("10.0.0.1 10.0.0.2 1 2 6 MAYBE 0 1 2", "/event/type", json!(["connection"])),
        ("10.0.0.1 10.0.0.2 1 2 6 MAYBE 0 1 2", "/event/outcome", Value::Null),
        ("10.0.0.1 10.0.0.2 1 2 6 MAYBE 0 1 2", "/aws/vpcflow", json!({"tcp_flags": 0})),
        ("10.0.0.999 10.0.0.2 1 2 6 ACCEPT - 1 2", "/source", json!({"address": "10.0.0.999", "port": 1})),
        ("10.0.0.999 10.0.0.2 1 2 6 ACCEPT - 1 2", "/related/ip", json!(["10.0.0.2"])),
        ("10.0.0.1 10.0.0.1 1 2 6 ACCEPT - 1 2", "/related/ip", json!(["10.0.0.1"])),
        (
            "10.0.0.1 10.0.0.2 0 0 1 ACCEPT - 1 2",
            "/network",
            json!({"type": "ipv4", "iana_number": "1", "transport": "icmp"}),
        ),
        (
            "2001:db8::1 2001:db8::2 0 0 58 ACCEPT - 1 2",
            "/network",
            json!({"type": "ipv6", "iana_number": "58", "transport": "ipv6-icmp"}),
        ),
        ("- - - - 300 - - 1 2", "/network", json!({"iana_number": "300"})),
        ("- - - - 253 - - 1 2", "/network", json!({"iana_number": "253"})),
        ("- - - - -1 - - 1 2", "/network", json!({"iana_number": "-1"})),
    ] {
        let document = parsed(&ecs(format), line);
        assert_eq!(document.pointer(at).cloned().unwrap_or_default(), expect, "{line} {at}");
    }
}

#[test]
fn rows_that_do_not_parse_or_are_not_asked_for_get_nothing() {
    let mut batch = batch_of(&["10.0.0.1 ACCEPT", "one two three", "10.0.0.2 REJECT"]);
    let before: Vec<Value> = (0..3).map(|row| document(&batch, row)).collect();
    let mut active = batch.live_set();
    active.remove(2);
    batch.set_active(Some(active));
    apply(&ecs("srcaddr action"), &mut batch);
    assert_eq!(document(&batch, 0)["cloud"]["provider"], "aws");
    assert_eq!(document(&batch, 1), before[1]);
    assert_eq!(document(&batch, 2), before[2]);
}

#[test]
fn an_event_in_which_something_is_in_the_way_is_rejected_whole() {
    let mut batch = batch_of(&["10.0.0.1 ACCEPT", "10.0.0.2 ACCEPT", "10.0.0.3 ACCEPT"]);
    batch.set(0, &path("source"), "a text").unwrap();
    batch.set(1, &path("source"), flowstone_core::event::Value::object()).unwrap();
    batch.set(2, &path("[event][kind]"), "mine").unwrap();
    let before = document(&batch, 0);
    apply(&ecs("srcaddr action"), &mut batch);
    assert_eq!(document(&batch, 0), before);
    assert_eq!(document(&batch, 1)["source"]["ip"], "10.0.0.2");
    assert_eq!(document(&batch, 2)["event"]["kind"], "event");
    let Outcome::Rejected(reject) = outcomes_of(&mut batch).remove(0) else { panic!() };
    assert_eq!(
        (&*reject.reason, reject.detail.as_str()),
        ("field_conflict", "`source` is of type string, expected an object to put fields into")
    );
}
