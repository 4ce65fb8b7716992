//! Our template on every version, what it finds, and the ways to write: operations, data streams.

use flowstone_core::Verdict;
use flowstone_testkit::servers::{Installed, Product};
use flowstone_testkit::sinks::events;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{built, event, plain, to};

pub(crate) async fn templates(server: Installed) -> Result<(), Failed> {
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

pub(crate) async fn renewal(server: Installed) -> Result<(), Failed> {
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

pub(crate) async fn queries(server: Installed) -> Result<(), Failed> {
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

pub(crate) async fn operations(server: Installed) -> Result<(), Failed> {
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

pub(crate) async fn data_streams(server: Installed) -> Result<(), Failed> {
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
