//! Every server starts, takes documents, is killed and comes back with them; moto starts and ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flowstone_testkit::chaos::{ChaosProxy, Fault, Rule};
use flowstone_testkit::http::Client;
use flowstone_testkit::servers::{self, Installed, Node, Product};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let tests: Vec<Trial> = servers::all()
        .iter()
        .flat_map(|spec| {
            [
                servers::trial("documents_survive_a_kill", spec, documents_survive_a_kill),
                servers::trial("settings_reach_the_node", spec, settings_reach_the_node),
                servers::trial("a_held_bulk_is_on_the_server_all_the_same", spec, a_held_bulk),
                servers::trial("a_node_ends_with_its_owner", spec, a_node_ends_with_its_owner),
            ]
        })
        .chain([
            servers::trial("answers_as_aws_does", servers::moto(), answers_as_aws_does),
            servers::trial("a_node_ends_with_its_owner", servers::moto(), a_node_ends_with_its_owner),
        ])
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A bulk request of rows with these numbers, as this server wants it.
fn bulk(server: &Installed, numbers: std::ops::Range<usize>) -> String {
    let of_type = if server.spec().needs_type() { r#","_type":"_doc""# } else { "" };
    numbers
        .map(|n| {
            format!("{{\"create\":{{\"_index\":\"rows\"{of_type},\"_id\":\"{n:05}\"}}}}\n{{\"n\":{n}}}\n")
        })
        .collect()
}

fn documents_survive_a_kill(server: &Installed) -> Result<(), Failed> {
    let begin = Instant::now();
    let mut node = server.start(&[])?;
    let started = begin.elapsed();
    let root = node.get("/").ok().json();
    assert_eq!(root["version"]["number"], server.spec().version);
    assert_eq!(root["version"]["distribution"] == "opensearch", server.spec().product == Product::OpenSearch);
    assert_eq!(node.count("rows"), 0);
    assert!(node.documents("rows").is_empty());

    let reply = node.post("/_bulk", bulk(server, 0..12_000)).ok().json();
    assert_eq!(reply["errors"], false, "{reply}");
    let url = node.url();
    let begin = Instant::now();
    node.kill();
    assert!(node.request("GET", "/", &[], b"").is_err(), "killed");
    node.restart()?;
    eprintln!("{}: started in {started:.1?}, again in {:.1?}", server.spec(), begin.elapsed());

    assert_eq!(node.url(), url);
    assert_eq!(node.count("rows"), 12_000);
    let documents = node.documents("ro*");
    assert_eq!(documents.len(), 12_000);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!((document.index.as_str(), &document.id), ("rows", &format!("{n:05}")));
        assert_eq!(document.source["n"], n);
    }
    node.delete("/rows").ok();
    assert_eq!(node.count("rows"), 0);
    Ok(())
}

fn settings_reach_the_node(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&["http.max_content_length=1mb"])?;
    let proxy = ChaosProxy::start(&node.url())?;
    for client in [&*node, &Client::new(&proxy.url())?] {
        let reply = client.post("/_bulk", bulk(server, 0..40_000));
        assert_eq!((reply.status, reply.body.as_str()), (413, ""));
    }
    assert_eq!(proxy.bulks()[0].server_status, Some(413));
    Ok(())
}

fn a_held_bulk(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let proxy = ChaosProxy::start(&node.url())?;
    proxy.rule(Rule::bulk(Fault::Hold));
    let client = Client::new(&proxy.url())?;
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| client.post("/_bulk", bulk(server, 0..10)));
        assert!(proxy.wait_until(Duration::from_secs(20), |now| now.held == 1));
        assert_eq!(node.count("rows"), 10);
        proxy.clear();
        assert_eq!(reply.join().unwrap().ok().json()["errors"], false);
    });
    proxy.rule(Rule::bulk(Fault::RefuseItems { refuse: 1, of: 2 }));
    let reply = client.post("/_bulk", bulk(server, 5..15)).ok().json();
    let statuses: Vec<u64> = reply["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["create"]["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [429, 409, 429, 409, 429, 201, 429, 201, 429, 201]);
    assert_eq!(node.count("rows"), 13);
    Ok(())
}

fn answers_as_aws_does(server: &Installed) -> Result<(), Failed> {
    let node = server.start(&[])?;
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    let of_sts = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sts/aws4_request, Signature=0"),
    ];
    let reply = node.request("POST", "/", &of_sts, form.as_bytes())?;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.body.contains("<Account>123456789012</Account>"), "{}", reply.body);
    let url = node.url();
    drop(node);
    assert!(Client::new(&url)?.request("GET", "/moto-api/data.json", &[], b"").is_err(), "dropped");
    Ok(())
}

/// A node in the hands of another process, `flowstone-servers run`, which is killed.
fn a_node_ends_with_its_owner(server: &Installed) -> Result<(), Failed> {
    let temporary = tempfile::tempdir()?;
    let left = || std::fs::read_dir(temporary.path()).map_or(0, Iterator::count);
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut owner = Command::new(env!("CARGO_BIN_EXE_flowstone-servers"))
        .args(["run", server.spec().name, &port.to_string()])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let node = Node::external(&format!("http://127.0.0.1:{port}"))?;
    let path = if server.spec().product == Product::Moto { "/moto-api/data.json" } else { "/" };
    let answers = || node.request("GET", path, &[], b"").is_ok();
    let within = |what: &str, is_so: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    within("it answers", &answers);
    assert_eq!(left(), 1, "its data");
    if server.spec().product != Product::Moto {
        assert_eq!(node.version(), server.spec().version);
    }
    let its_input = owner.stdin.take(); // stays open: it must be the death that ends the node
    owner.kill()?;
    owner.wait()?;
    within("it is gone, and its data with it", &|| !answers() && left() == 0);
    drop(its_input);
    Ok(())
}
