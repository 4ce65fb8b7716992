//! The sink against real nodes of every version: the template and what it maps, documents of every name style, and
//! each kind of trouble that a node can be brought into.

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
                servers::trial("a_template_that_is_there_is_left_alone", spec, on(templates)),
                servers::trial("our_template_is_lean_and_renewed_where_nobody_changed_it", spec, on(renewal)),
                servers::trial("typical_requests_find_what_they_look_for", spec, on(queries)),
                servers::trial("documents_are_replaced_updated_and_routed", spec, on(operations)),
                servers::trial("data_streams_take_each_document_once", spec, on(data_streams)),
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

// --- templates

async fn templates(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let composable = !server.spec().needs_type();
    let path = if composable { "/_index_template/flow" } else { "/_template/flow" };
    assert_eq!(node.get(path).status, 404);
    to(&node, json!({})).open().await.expect("a healthy node");
    let installed = node.get(path).ok().json();
    // Again, and with another pattern under the same name: nothing changes.
    to(&node, json!({})).open().await.expect("a template of ours");
    to(&node, json!({"index": "else-%{+YYYY}", "template_name": "flow"}))
        .open()
        .await
        .expect("a template of ours");
    assert_eq!(node.get(path).ok().json(), installed);
    // One of another name covers these indices already.
    to(&node, json!({"template_name": "second"})).open().await.expect("covered");
    assert_eq!(node.get(&path.replace("flow", "second")).status, 404);
    // A legacy template of the user's would be pushed aside by ours.
    let theirs = json!({"index_patterns": ["theirs-*"], "settings": {"number_of_shards": 1}}).to_string();
    node.put("/_template/theirs", theirs).ok();
    to(&node, json!({"index": "theirs-%{+YYYY}"})).open().await.expect("covered");
    assert_eq!(node.get(&path.replace("flow", "theirs")).status, if composable { 404 } else { 200 });
    // A catch-all says nothing about flow logs.
    let all = json!({"index_patterns": ["*"], "settings": {"number_of_replicas": 0}}).to_string();
    node.put("/_template/all", all).ok();
    to(&node, json!({"index": "fresh-%{+YYYY}"})).open().await.expect("a healthy node");
    node.get(&path.replace("flow", "fresh")).ok();
    to(&node, json!({"index": "none-%{+YYYY}", "template": "none"})).open().await.expect("a healthy node");
    assert_eq!(node.get(&path.replace("flow", "none")).status, 404);
    Ok(())
}

/// The settings of an index or a template, flat.
fn setting<'a>(settings: &'a Value, name: &str) -> &'a Value {
    let mut place = &settings["index"];
    for part in name.split('.') {
        place = &place[part];
    }
    if place.is_null() { &settings[format!("index.{name}")] } else { place }
}

async fn renewal(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let composable = !server.spec().needs_type();
    let path = if composable { "/_index_template/flow" } else { "/_template/flow" };
    let read = || {
        let mut reply = node.get(path).ok().json();
        match composable {
            true => reply["index_templates"][0]["index_template"].take(),
            false => reply["flow"].take(),
        }
    };
    let shards = || {
        let template = read();
        let inner = template.get("template").unwrap_or(&template);
        setting(&inner["settings"], "number_of_shards").clone()
    };
    to(&node, json!({})).open().await.expect("a healthy node");
    let sink = to(&node, json!({}));
    assert_eq!(sink.deliver(&plain(1)).await, [Verdict::Delivered]);
    let index = node.get("/flow-2019.02.24/_settings").ok().json();
    let settings = &index["flow-2019.02.24"]["settings"];
    for (name, value) in
        [("codec", "best_compression"), ("refresh_interval", "5s"), ("number_of_shards", "1")]
    {
        // 6.8 makes five shards of its own accord.
        if name != "number_of_shards" || server.spec().major() > 6 {
            assert_eq!(setting(settings, name), value, "{name}");
        }
    }
    let sorted = setting(settings, "sort.field");
    assert!(*sorted == "@timestamp" || *sorted == json!(["@timestamp"]), "{sorted}");
    // Other options renew it, and the same ones do not.
    to(&node, json!({"shards": 2})).open().await.expect("a template of ours");
    assert_eq!(shards(), "2");
    let before = read();
    to(&node, json!({"shards": 2})).open().await.expect("a template of ours");
    assert_eq!(read(), before);
    // What somebody has changed stays, until it is to be overwritten.
    let mut theirs = read();
    // 9 says more than it takes.
    for own in ["created_date", "created_date_millis", "modified_date", "modified_date_millis"] {
        theirs.as_object_mut().expect("a template").remove(own);
    }
    let inner = if composable { &mut theirs["template"]["mappings"] } else { &mut theirs["mappings"]["doc"] };
    inner["properties"]["mine"] = json!({"type": "keyword"});
    node.put(path, theirs.to_string()).ok();
    to(&node, json!({"shards": 3})).open().await.expect("a template of ours");
    assert_eq!(shards(), "2");
    to(&node, json!({"shards": 3, "template": "overwrite"})).open().await.expect("overwritten");
    assert_eq!(shards(), "3");
    assert!(!read().to_string().contains("\"mine\""));
    // One of the user's, from a file, and only where none is.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("template.json");
    let own = match composable {
        true => json!({"index_patterns": ["own-*"], "template": {"settings": {"number_of_shards": 4}}}),
        false => json!({"index_patterns": ["own-*"], "settings": {"number_of_shards": 4}}),
    };
    std::fs::write(&file, own.to_string())?;
    let options = json!({"index": "own-%{+YYYY}", "template": {"file": file}});
    to(&node, options.clone()).open().await.expect("a file");
    assert!(node.get(&path.replace("flow", "own")).ok().body.contains("number_of_shards\":\"4\""));
    std::fs::write(&file, own.to_string().replace('4', "5"))?;
    to(&node, options).open().await.expect("it is there");
    assert!(node.get(&path.replace("flow", "own")).ok().body.contains("number_of_shards\":\"4\""));
    // The mistake of many a template for flow logs is told before it costs a document.
    let mapping = json!({"properties": {"g": {"properties": {"location": {"properties": {
        "lat": {"type": "geo_point"}, "lon": {"type": "geo_point"}
    }}}}}});
    let mapping = if server.spec().needs_type() { json!({"doc": mapping}) } else { mapping };
    let seed = json!({"index_patterns": ["seed-*"], "mappings": mapping});
    node.put("/_template/seed", seed.to_string()).ok();
    to(&node, json!({})).probe().await.expect("it is about other indices");
    let told = to(&node, json!({"index": "seed-%{+YYYY}"})).probe().await.expect_err("a bad template");
    assert!(told.contains("`seed`") && told.contains("g.location.l"), "{told}");
    Ok(())
}

async fn queries(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let sink = to(&node, json!({}));
    sink.open().await.expect("a healthy node");
    let documents: Vec<Value> = (0..200)
        .map(|n| {
            json!({
                "@timestamp": format!("2019-02-24T{:02}:00:00.000Z", n % 20),
                "srcaddr": format!("10.0.{}.7", n % 8),
                "dstaddr": "2001:db8::1",
                "dstport": if n % 10 == 0 { 22 } else { 443 },
                "bytes": n,
                "interface_id": format!("eni-{:04}", n % 4),
                "action": if n % 5 == 0 { "REJECT" } else { "ACCEPT" },
            })
        })
        .collect();
    let batch = events(0, &documents);
    assert_eq!(sink.deliver(&batch).await, vec![Verdict::Delivered; 200]);
    node.post("/flow-*/_refresh", "").ok();
    let search = |body: Value| node.post("/flow-*/_search", body.to_string()).ok().json();
    let hits = |query: Value| {
        let total = &search(json!({"size": 0, "query": query}))["hits"]["total"];
        total.as_u64().or(total["value"].as_u64())
    };
    let four =
        json!({"range": {"@timestamp": {"gte": "2019-02-24T04:00:00Z", "lt": "2019-02-24T05:00:00Z"}}});
    assert_eq!(hits(four), Some(10));
    assert_eq!(hits(json!({"term": {"dstport": 22}})), Some(20));
    assert_eq!(hits(json!({"range": {"bytes": {"gte": 100, "lt": 150}}})), Some(50));
    assert_eq!(hits(json!({"term": {"srcaddr": "10.0.4.0/22"}})), Some(100));
    assert_eq!(hits(json!({"prefix": {"interface_id": "eni-000"}})), Some(200));
    assert_eq!(hits(json!({"term": {"dstaddr": "2001:db8::/32"}})), Some(200));
    let interval = if server.spec().major() >= 8 || server.spec().product == Product::OpenSearch {
        "fixed_interval"
    } else {
        "interval"
    };
    let answer = search(json!({"size": 0, "aggs": {
        "hours": {
            "date_histogram": {"field": "@timestamp", interval: "1h"},
            "aggs": {"actions": {"terms": {"field": "action"}}},
        },
        "top": {
            "terms": {"field": "srcaddr", "order": {"sum": "desc"}, "size": 3},
            "aggs": {"sum": {"sum": {"field": "bytes"}}},
        },
    }}));
    let hours = answer["aggregations"]["hours"]["buckets"].as_array().expect("buckets");
    assert_eq!((hours.len(), &hours[3]["doc_count"]), (20, &json!(10)));
    let top = &answer["aggregations"]["top"]["buckets"][0];
    assert_eq!((&top["key"], &top["sum"]["value"]), (&json!("10.0.7.7"), &json!(2575.0)));
    // New ones first, as they lie.
    let newest = search(json!({"size": 1, "sort": [{"@timestamp": "desc"}]}));
    assert_eq!(newest["hits"]["hits"][0]["_source"]["@timestamp"], "2019-02-24T19:00:00.000Z");
    Ok(())
}

async fn operations(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let of = |more: Value| {
        let mut options = json!({"index": "things", "id": "%{[thing][name]}"});
        for (name, value) in more.as_object().expect("a table") {
            options[name] = value.clone();
        }
        to(&node, options)
    };
    let one = |number: usize, more: Value| {
        let mut event = event(json!({"thing": {"name": "a/b c"}}));
        for (name, value) in more.as_object().expect("a document") {
            event[name] = value.clone();
        }
        events(number, &[event])
    };
    let document = || {
        node.post("/things/_refresh", "").ok();
        let found = node.documents("things");
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("one")
    };
    let versions = of(json!({"operation": "index", "version": "%{v}"}));
    versions.open().await.expect("a healthy node");
    for (number, version, expect) in
        [(1, 5, Verdict::Delivered), (2, 4, Verdict::Duplicate), (3, 6, Verdict::Delivered)]
    {
        let batch = one(number, json!({"v": version, "text": format!("of {version}")}));
        assert_eq!(versions.deliver(&batch).await, [expect], "{version}");
    }
    assert_eq!(document().source["text"], "of 6");
    let update = of(json!({"operation": "update"}));
    assert_eq!(update.deliver(&one(4, json!({"more": 1}))).await, [Verdict::Delivered]);
    let merged = document();
    assert_eq!(
        (&*merged.id, &merged.source["text"], &merged.source["more"]),
        ("a/b c", &json!("of 6"), &json!(1))
    );
    let create = of(json!({}));
    assert_eq!(create.deliver(&one(5, json!({"text": "late"}))).await, [Verdict::Duplicate]);
    assert_eq!(document().source["text"], "of 6");
    let routed = of(json!({"index": "routed", "routing": "%{[thing][name]}"}));
    assert_eq!(routed.deliver(&one(6, json!({}))).await, [Verdict::Delivered]);
    node.post("/routed/_refresh", "").ok();
    let hits = node.post("/routed/_search", "{}").ok().json();
    assert_eq!(hits["hits"]["hits"][0]["_routing"], "a/b c");
    // What the server does not know is told as it is; what it knows goes through.
    let alias = of(json!({"parameters": {"require_alias": "true"}}));
    let verdicts = alias.deliver(&one(7, json!({}))).await;
    let known = server.spec().major() > 6 || server.spec().product == Product::OpenSearch;
    assert!(
        matches!(&verdicts[..], [Verdict::Blocked { reason, .. }]
        if *reason == (if known { "index_missing" } else { "not_understood" })),
        "{verdicts:?}"
    );
    Ok(())
}

async fn data_streams(server: Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let options = json!({
        "hosts": [node.url()],
        "data_stream": {"dataset": "aws.vpcflow", "namespace": "test"},
        "retention": "30d",
    });
    let sink = built(&options);
    let spec = server.spec();
    if spec.product == Product::Elasticsearch && spec.major() < 8 {
        // 6 has none, and these nodes of 7 lack them with all of x-pack.
        let verdict = sink.open().await.expect_err("no data streams");
        let Verdict::Blocked { reason, .. } = &verdict else { panic!("{verdict:?}") };
        assert!(matches!(&**reason, "not_supported" | "template_refused"), "{verdict:?}");
        return Ok(());
    }
    sink.open().await.expect("a healthy node");
    sink.open().await.expect("and again");
    assert_eq!(sink.deliver(&plain(1)).await, [Verdict::Delivered]);
    assert_eq!(sink.deliver(&plain(1)).await, [Verdict::Duplicate]);
    let stream = "logs-aws.vpcflow-test";
    assert_eq!(node.count(stream), 1);
    let template = node.get(&format!("/_index_template/{stream}")).ok().json();
    let template = &template["index_templates"][0]["index_template"];
    assert!(template["data_stream"].is_object(), "{template}");
    if spec.product == Product::Elasticsearch {
        assert_eq!(template["template"]["lifecycle"]["data_retention"], "30d");
    }
    // It lies in an index of the stream's (the API that says so is a module, which some of these nodes lack).
    node.post(&format!("/{stream}/_refresh"), "").ok();
    assert!(node.documents(stream)[0].index.starts_with(".ds-logs-aws.vpcflow-test-"));
    let auto = json!({"hosts": [node.url()], "data_stream": {"namespace": "auto"}, "id": "auto"});
    let auto = built(&auto);
    auto.open().await.expect("a healthy node");
    assert_eq!(auto.deliver(&plain(2)).await, [Verdict::Delivered]);
    Ok(())
}

fn built(options: &Value) -> TestSink {
    sink("elasticsearch", options).unwrap_or_else(|errors| panic!("{errors:?}"))
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
