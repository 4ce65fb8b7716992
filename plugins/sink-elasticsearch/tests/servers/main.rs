//! The sink against real nodes of every version: the template and what it maps, documents of every name style, and
//! each kind of trouble that a node can be brought into.

mod templates;

use std::time::Duration;

use flowstone_core::event::Batch;
use flowstone_core::{Request, Rows, Verdict, Verdicts};
use flowstone_testkit::servers::{self, Installed, Node, Product};
use flowstone_testkit::sinks::{TestSink, events, request, sink};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use sink_elasticsearch as _;

fn main() {
    let mut arguments = Arguments::from_args();
    // One node at a time: each takes a core and a gigabyte.
    arguments.test_threads.get_or_insert(1);
    let tests: Vec<Trial> = servers::all()
        .iter()
        .flat_map(|spec| {
            [
                servers::trial("documents_of_every_name_style_are_mapped_and_found", spec, on(documents)),
                servers::trial("a_template_that_is_there_is_left_alone", spec, on(templates::templates)),
                servers::trial(
                    "our_template_is_lean_and_renewed_where_nobody_changed_it",
                    spec,
                    on(templates::renewal),
                ),
                servers::trial("typical_requests_find_what_they_look_for", spec, on(templates::queries)),
                servers::trial("documents_are_replaced_updated_and_routed", spec, on(templates::operations)),
                servers::trial("data_streams_take_each_document_once", spec, on(templates::data_streams)),
                servers::trial(
                    "every_trouble_is_told_apart_and_ends_when_it_is_put_right",
                    spec,
                    on(troubles),
                ),
                servers::trial("a_request_beyond_the_servers_limit_is_split", spec, on(too_large)),
            ]
        })
        .collect();
    libtest_mimic::run(&arguments, tests).exit();
}

/// A test that has a runtime of its own.
fn on<F>(test: fn(Installed) -> F) -> impl FnOnce(&Installed) -> Result<(), Failed> + Send + 'static
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    move |installed| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(test(installed.clone()))
    }
}

fn to(node: &Node, more: Value) -> TestSink {
    let mut options = json!({"hosts": [node.url()], "index": "flow-%{+YYYY.MM.dd}"});
    for (name, value) in more.as_object().expect("a table") {
        options[name] = value.clone();
    }
    built(&options)
}

fn built(options: &Value) -> TestSink {
    sink("elasticsearch", options).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn event(more: Value) -> Value {
    let mut event = json!({"@timestamp": "2019-02-24T09:58:29.000Z"});
    for (name, value) in more.as_object().expect("a document") {
        event[name] = value.clone();
    }
    event
}

/// One plain event, another one for each number.
fn plain(number: usize) -> Batch {
    events(number, &[event(json!({"srcaddr": "10.0.0.1", "bytes": 5}))])
}

#[track_caller]
fn blocked(verdicts: &[Verdict], expect: &str) {
    let [Verdict::Blocked { reason, help, .. }] = verdicts else {
        panic!("expected blocked {expect}, got {verdicts:?}")
    };
    assert_eq!(reason, expect);
    assert!(!help.is_empty());
}

// --- documents

async fn documents(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let sink = to(&node, json!({}));
    sink.open().await.expect("a healthy node");
    let batch = events(0, &name_styles());
    assert_eq!(sink.deliver(&batch).await, vec![Verdict::Delivered; batch.len()]);
    // A replay is recognised, and nothing is stored twice.
    assert_eq!(sink.deliver(&batch).await, vec![Verdict::Duplicate; batch.len()]);
    assert_eq!(node.count("flow-2019.02.24"), batch.len() as u64);
    for (number, document) in node.documents("flow-*").iter().enumerate() {
        assert_eq!(document.index, "flow-2019.02.24");
        assert!(
            (0..batch.len()).any(|row| batch.id(row).to_string() == document.id),
            "{number}: {}",
            document.id
        );
    }
    for (path, kind) in [
        ("@timestamp", "date"),
        ("account-id", "keyword"),
        ("account_id", "keyword"),
        ("srcaddr", "ip"),
        ("pkt_srcaddr", "ip"),
        ("srcport", "integer"),
        ("bytes", "long"),
        ("start_time", "date"),
        ("src_geoip.location", "geo_point"),
        ("src_geoip.city_name", "keyword"),
        ("other_geoip.location", "geo_point"),
        ("source.ip", "ip"),
        ("source.geo.location", "geo_point"),
        ("client.geo.location", "geo_point"),
        ("aws.vpcflow.tcp_flags", "integer"),
        ("unheard_of", "keyword"),
        ("looks_like_a_date", "keyword"),
    ] {
        assert_eq!(mapped(&node, "flow-2019.02.24", path), kind, "{path}");
    }
    for (query, hits) in [
        (json!({"term": {"srcaddr": "2.125.160.0/24"}}), 4),
        (json!({"range": {"bytes": {"gte": 1098, "lte": 1098}}}), 2),
        (json!({"range": {"bytes": {"gte": 12_345_678, "lte": 12_345_678}}}), 1),
        (json!({"range": {"dstport": {"lt": 6000}}}), 4),
        (json!({"range": {"start_time": {"gte": "2019-02-24T09:58:29Z", "lte": "2019-02-24T09:58:29Z"}}}), 2),
        (json!({"range": {"start": {"gte": "2019-02-24T09:58:29Z", "lte": "2019-02-24T09:58:29Z"}}}), 1),
        (json!({"term": {"action": "ACCEPT"}}), 4),
        (json!({"geo_distance": {"distance": "1km", "src_geoip.location": {"lat": 51.75, "lon": -1.25}}}), 2),
        (
            json!({"geo_distance": {"distance": "1km", "source.geo.location": {"lat": 51.75, "lon": -1.25}}}),
            1,
        ),
        (json!({"term": {"source.ip": "2.125.160.0/24"}}), 1),
    ] {
        let found = node.post("/flow-*/_search", json!({"query": query}).to_string()).ok().json();
        let total = &found["hits"]["total"];
        assert_eq!(total["value"].as_u64().or(total.as_u64()), Some(hits), "{query}: {found}");
    }

    // What does not fit goes with its reason, and nothing else with it.
    let misfits = events(
        100,
        &[
            event(json!({"srcaddr": "unknown"})),
            event(json!({"srcaddr": "10.0.0.1"})),
            event(json!({"bytes": "many"})),
            event(json!({"bytes": 6.5e300})),
        ],
    );
    let verdicts = sink.deliver(&misfits).await;
    assert_eq!(verdicts[1], Verdict::Delivered);
    for row in [0, 2, 3] {
        let Verdict::Reject(rejection) = &verdicts[row] else { panic!("{row}: {verdicts:?}") };
        assert!(rejection.reason.ends_with("_parsing_exception"), "{rejection:?}");
        assert_eq!((rejection.status, rejection.index.as_deref()), (Some(400), Some("flow-2019.02.24")));
        assert!(rejection.detail.contains("failed to parse field"), "{rejection:?}");
    }

    // The other ways to write: ids of the server, a compressed body, rows that do not lie together.
    let other = to(&node, json!({"id": "auto", "compression": "gzip", "index": "other"}));
    assert_eq!(other.deliver(&plain(0)).await, [Verdict::Delivered]);
    assert_eq!(other.deliver(&plain(0)).await, [Verdict::Delivered]);
    assert_eq!(node.count("other"), 2);
    let wide = "x".repeat(9000);
    let many: Vec<Value> = (0..40).map(|n| event(json!({"n": n, "wide": wide}))).collect();
    let (segment, _) = to(&node, json!({"index": "pieces"})).encode(&events(0, &many));
    let odd = Request::new(vec![(segment, Rows::List((0..40).filter(|n| n % 2 == 1).collect()))]);
    assert_eq!(sink.send(&odd).await, Verdicts::All(Verdict::Delivered));
    assert_eq!(node.count("pieces"), 20);
    Ok(())
}

/// One flow in the layouts that flowstone and Logstash write: the typed parser's in three name styles, the seed's (grok,
/// with floats and numbers in texts), the older form of the seed's sample, whose times are epochs in texts.
fn name_styles() -> Vec<Value> {
    let geoip = json!({
        "ip": "2.125.160.216", "location": {"lat": 51.75, "lon": -1.25}, "latitude": 51.75, "longitude": -1.25,
        "city_name": "Boxford", "country_code2": "GB",
    });
    vec![
        event(json!({
            "version": 2, "account-id": "123456789010", "interface-id": "eni-1", "srcaddr": "2.125.160.216",
            "dstaddr": "172.31.6.143", "srcport": 63374, "dstport": 5601, "protocol": 6, "packets": 6, "bytes": 1098,
            "start": 1_551_002_309, "end": 1_551_002_342, "action": "ACCEPT", "log-status": "OK",
        })),
        event(json!({
            "version": 5, "account_id": "123456789010", "pkt_srcaddr": "2.125.160.216", "srcaddr": "2.125.160.216",
            "srcport": 63374, "dstport": 443, "protocol": 6, "packets": 6, "bytes": 12_345_678_i64, "action": "ACCEPT",
            "other_geoip": {"location": {"lat": 1.0, "lon": 2.0}}, "unheard_of": "text", "looks_like_a_date": "2019-02-24",
        })),
        event(json!({
            "version": "2", "account-id": "123456789010", "srcaddr": "2.125.160.216", "dstaddr": "172.31.6.143",
            "srcport": "63374", "dstport": "5601", "protocol": "6", "packets": 6.0, "bytes": 1098.0, "action": "ACCEPT",
            "start_time": "2019-02-24T09:58:29.000Z", "end_time": "2019-02-24T09:59:02.000Z", "src_geoip": geoip,
            "dst_geoip": {}, "tags": ["dst_geoip_lookup_failure"], "@version": "1",
            "cloudwatch_logs": {"event_id": "3458", "ingestion_time": "2019-02-24T09:59:34.678Z", "log_group": "g"},
            "message": "2 123456789010 eni-1 ...",
        })),
        event(json!({
            "version": "2", "srcaddr": "2.125.160.216", "dstport": "5601", "packets": 6.0, "bytes": 1.2345679e9,
            "start_time": "1551002309", "end_time": "1551002342", "action": "ACCEPT", "src_geoip": geoip,
        })),
        event(json!({
            "source": {"ip": "2.125.160.216", "address": "2.125.160.216", "port": 63374, "bytes": 1098,
                "geo": {"location": {"lat": 51.75, "lon": -1.25}, "city_name": "Boxford"}},
            "destination": {"ip": "172.31.6.143", "port": 5601},
            "client": {"geo": {"location": {"lat": 1.0, "lon": 2.0}}},
            "network": {"iana_number": "6", "transport": "tcp", "bytes": 1098},
            "event": {"start": "2019-02-24T09:58:29.000Z", "end": "2019-02-24T09:59:02.000Z", "type": ["connection", "allowed"]},
            "cloud": {"account": {"id": "123456789010"}},
            "related": {"ip": ["2.125.160.216", "172.31.6.143"]},
            "aws": {"vpcflow": {"tcp_flags": 18, "log_status": "OK"}},
        })),
        // A dead letter, written to the same indices.
        event(json!({
            "message": "2 x", "rejected": {"component": "flow", "type": "vpcflow", "reason": "field_count",
                "detail": "expected 14 fields, found 2", "time": "2019-02-24T09:58:29.000Z"},
        })),
    ]
}

/// The type of a field in an index's mapping, with or without a mapping type above it.
fn mapped(node: &Node, index: &str, path: &str) -> String {
    let reply = node.get(&format!("/{index}/_mapping")).ok().json();
    let mappings = &reply[index]["mappings"];
    let mut place = if mappings["doc"].is_object() { &mappings["doc"] } else { mappings };
    for name in path.split('.') {
        place = &place["properties"][name];
    }
    place["type"].as_str().unwrap_or("none").to_owned()
}

// --- trouble

async fn troubles(server: Installed) -> Result<(), Failed> {
    let (node, old) = (server.start(&[])?, server.spec().needs_type());
    let sink = to(&node, json!({}));
    sink.open().await.expect("a healthy node");
    sink.probe().await.expect("a healthy node");
    assert_eq!(sink.deliver(&plain(0)).await, [Verdict::Delivered]);
    let index = "/flow-2019.02.24";
    let settings = |body: Value| {
        node.put(&format!("{index}/_settings"), body.to_string()).ok();
    };
    let cluster = |body: Value| {
        node.put("/_cluster/settings", json!({"transient": body}).to_string()).ok();
    };
    let mut number = 1;
    let mut delivered_again = async || {
        number += 1;
        assert_eq!(sink.deliver(&plain(number)).await, [Verdict::Delivered]);
    };

    settings(json!({"index.blocks.write": true}));
    blocked(&sink.deliver(&plain(1)).await, "index_write_blocked");
    settings(json!({"index.blocks.write": null}));
    delivered_again().await;

    settings(json!({"index.blocks.read_only": true}));
    blocked(&sink.deliver(&plain(1)).await, "index_read_only");
    settings(json!({"index.blocks.read_only": null}));
    delivered_again().await;

    settings(json!({"index.blocks.read_only_allow_delete": true}));
    blocked(&sink.deliver(&plain(1)).await, "disk_full");
    settings(json!({"index.blocks.read_only_allow_delete": null}));
    delivered_again().await;

    node.post(&format!("{index}/_close"), "").ok();
    blocked(&sink.deliver(&plain(1)).await, "index_closed");
    node.post(&format!("{index}/_open?wait_for_active_shards=1"), "").ok();
    delivered_again().await;

    cluster(json!({"action.auto_create_index": "false"}));
    let elsewhere = to(&node, json!({"index": "elsewhere"}));
    blocked(&elsewhere.deliver(&plain(1)).await, "index_missing");
    cluster(json!({"action.auto_create_index": null}));
    assert_eq!(elsewhere.deliver(&plain(1)).await, [Verdict::Delivered]);

    // 6.8 only warns about too many shards.
    cluster(json!({"cluster.max_shards_per_node": 1}));
    let third = to(&node, json!({"index": "third"}));
    match old {
        true => assert_eq!(third.deliver(&plain(1)).await, [Verdict::Delivered]),
        false => blocked(&third.deliver(&plain(1)).await, "shard_limit"),
    }
    cluster(json!({"cluster.max_shards_per_node": null}));
    if !old {
        assert_eq!(third.deliver(&plain(1)).await, [Verdict::Delivered]);
    }

    let add = |name: &str| json!({"add": {"index": name, "alias": "both"}});
    let actions = json!({"actions": [add("flow-2019.02.24"), add("elsewhere")]});
    node.post("/_aliases", actions.to_string()).ok();
    let alias = to(&node, json!({"index": "both"}));
    blocked(&alias.deliver(&plain(7)).await, "no_write_index");
    let write =
        json!({"actions": [{"add": {"index": "elsewhere", "alias": "both", "is_write_index": true}}]});
    node.post("/_aliases", write.to_string()).ok();
    assert_eq!(alias.deliver(&plain(7)).await, [Verdict::Delivered]);

    let piped = to(&node, json!({"pipeline": "later"}));
    blocked(&piped.deliver(&plain(900)).await, "pipeline_missing");
    node.put("/_ingest/pipeline/later", json!({"processors": []}).to_string()).ok();
    assert_eq!(piped.deliver(&plain(900)).await, [Verdict::Delivered]);
    // A pipeline that fails on a document: that document's fault, whatever status the version gives it.
    let broken = json!({"processors": [{"pipeline": {"name": "nowhere"}}]}).to_string();
    // (Processors are modules, which these nodes lack: where this one is missing nothing can fail.)
    if node.put("/_ingest/pipeline/broken", broken).status == 200 {
        let failing = to(&node, json!({"pipeline": "broken"})).deliver(&plain(901)).await;
        assert!(matches!(&failing[..], [Verdict::Reject(_)]), "{failing:?}");
        eprintln!("{}: {failing:?}", server.spec());
    }

    // A request that is refused whole, its error in spite of the filter on the reply.
    let strange =
        to(&node, json!({"index": "flow", "pipeline": "a", "headers": {"Content-Type": "text/plain"}}));
    let whole = strange.deliver(&plain(1)).await;
    assert!(matches!(&whole[..], [Verdict::Blocked { .. } | Verdict::Delivered]), "{whole:?}");

    // Rows of a healthy index go on while another one is closed.
    node.post(&format!("{index}/_close"), "").ok();
    let two_days = events(
        50,
        &[
            event(json!({"n": 1})),
            json!({"@timestamp": "2019-02-25T00:00:00.000Z", "n": 2}),
            event(json!({"n": 3})),
        ],
    );
    let verdicts = sink.deliver(&two_days).await;
    assert_eq!(verdicts[1], Verdict::Delivered);
    blocked(&verdicts[..1], "index_closed");
    blocked(&verdicts[2..], "index_closed");
    if server.spec().product == Product::OpenSearch {
        // This block stops `PUT INDEX` and not a bulk request that creates its index (2.19.1 and 3.8.0).
        cluster(json!({"cluster.blocks.create_index": true}));
        assert_eq!(to(&node, json!({"index": "fourth"})).deliver(&plain(1)).await, [Verdict::Delivered]);
    }
    Ok(())
}

async fn too_large(server: Installed) -> Result<(), Failed> {
    let node = server.start(&["http.max_content_length=1mb"])?;
    let sink = to(&node, json!({"request_timeout": "30s"}));
    sink.open().await.expect("a healthy node");
    let wide = "x".repeat(900);
    let documents: Vec<Value> = (0..4000).map(|n| event(json!({"n": n, "wide": wide}))).collect();
    let (segment, _) = sink.encode(&events(0, &documents));
    // What is busy is sent again, as the engine does: 6.8 may take the rest of a refused request for the next one, and a
    // server that closes the connection at once may do so before its answer is read.
    let send = async |request: &Request| {
        for _ in 0..100 {
            match sink.send(request).await {
                Verdicts::All(Verdict::Busy { reason, .. })
                    if matches!(&*reason, "out_of_step" | "connection") => {}
                verdicts => return verdicts,
            }
        }
        panic!("never an answer")
    };
    for _ in 0..10 {
        let verdicts = send(&request(&segment)).await;
        let Verdicts::All(Verdict::Split { reason, .. }) = &verdicts else { panic!("{verdicts:?}") };
        assert_eq!(reason, "too_large", "{verdicts:?}");
    }
    // What the engine then does.
    for quarter in 0..8 {
        let rows = Rows::Range(quarter * 500, (quarter + 1) * 500);
        let request = Request::new(vec![(std::sync::Arc::clone(&segment), rows)]);
        assert_eq!(send(&request).await, Verdicts::All(Verdict::Delivered));
    }
    assert_eq!(node.count("flow-2019.02.24"), 4000);
    // A node that goes away is waited for.
    let mut node = node;
    node.kill();
    let gone = sink.deliver(&plain(1)).await;
    assert!(matches!(&gone[..], [Verdict::Busy { .. }]), "{gone:?}");
    tokio::time::sleep(Duration::from_millis(10)).await;
    node.restart()?;
    let mut verdict = sink.deliver(&plain(9999)).await;
    for _ in 0..10 {
        if verdict == [Verdict::Delivered] {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        verdict = sink.deliver(&plain(9999)).await;
    }
    panic!("{verdict:?}");
}
