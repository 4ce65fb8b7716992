//! What cannot be delivered, and who may read what the program writes.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flowstone_testkit::http::{FakeServer, Reply};
use serde_json::{Value, json};
use support::{Flowstone, binary, bulk_server, flow_lines, pipe};

const SOON: Duration = Duration::from_secs(60);

/// Refuses every document.
fn refusing_server() -> FakeServer {
    bulk_server(|request| {
        let item = json!({"create": {"status": 400, "error":
            {"type": "mapper_parsing_exception", "reason": "failed to parse field [n]"}}});
        let items = vec![item; request.ndjson().len() / 2];
        Reply::json(200, json!({"took": 1, "errors": true, "items": items}))
    })
}

fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_letter_of_a_server_that_refused_it_goes_where_its_metadata_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = refusing_server();
    let input = folder.path().join("in.log");
    fs::write(
        &input,
        r#"{"n":1,"@timestamp":"2026-01-02T03:04:05.000Z","@metadata":{"tenant":"acme"}}
{"n":2.0,"@metadata":{"tenant":"umbrella","tier":{"is":3}}}
{"n":3,"@metadata":{"tenant":"acme"}}
"#,
    )
    .unwrap();
    let config = format!(
        r#"
data_dir = "state"

[sources.in]
type = "file"
paths = ["in.log"]
follow = false
decoding = "json"

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
hosts = ["{}"]
index = "x"
version_field = true

[sinks.dead]
type = "file"
inputs = ["es.rejected"]
path = "dead-%{{[@metadata][tenant]}}.ndjson"
"#,
        server.url()
    );
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let (code, _, log) = pipe(&["run", "-c", "flowstone.toml"], folder.path(), b"");
    assert_eq!(code, 0, "{log}");
    let acme = lines_of(&folder.path().join("dead-acme.ndjson"));
    let umbrella = lines_of(&folder.path().join("dead-umbrella.ndjson"));
    assert_eq!((acme.len(), umbrella.len()), (2, 1));
    assert!(!folder.path().join("state/rejected").exists());

    let letter = &umbrella[0];
    let story = &letter["rejected"];
    assert_eq!(letter["n"], json!(2.0));
    assert_eq!(letter.get("@version"), None, "Elasticsearch's documents have it, the event has not");
    assert_eq!((&story["v"], &story["reason"]), (&json!(1), &json!("mapper_parsing_exception")));
    assert_eq!(story["metadata"]["tenant"], "umbrella");
    assert_eq!(story["metadata"]["tier"], json!({"is": 3}));
    assert_eq!(story["source"], "in");
    assert!(story["partition"].is_string() && story["position"].is_u64(), "{story}");
    // The id is the one under which the document was sent.
    let sent = server.bulks();
    let actions: Vec<Value> = sent.iter().flat_map(|bulk| bulk.ndjson()).collect();
    let action = actions.chunks(2).find(|pair| pair[1]["n"] == json!(2.0)).unwrap();
    assert_eq!(story["id"], action[0]["create"]["_id"]);
}

/// Every file and folder below, with its permissions.
fn modes(folder: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), metadata.is_dir(), metadata.permissions().mode() & 0o777));
        if metadata.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

#[test]
fn what_is_written_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "0277"] {
        let folder = tempfile::tempdir().unwrap();
        let lines = flow_lines(10).join("\n") + "\nnoise\n";
        fs::write(folder.path().join("in.log"), lines).unwrap();
        let config = r#"
data_dir = "state"

[sources.in]
type = "file"
paths = ["in.log"]

[transforms.flow]
type = "vpcflow"
inputs = ["in"]

[sinks.out]
type = "file"
inputs = ["flow"]
path = "written/here/out.ndjson"
"#;
        fs::write(folder.path().join("flowstone.toml"), config).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$0\" run -c flowstone.toml")])
            .arg(binary())
            .current_dir(folder.path());
        let mut flowstone = Flowstone::start(command);
        let letters = folder.path().join("state/rejected/flow.ndjson");
        flowstone.wait_until("both files", SOON, || {
            letters.exists() && folder.path().join("written/here/out.ndjson").exists()
        });
        flowstone.signal("TERM");
        flowstone.finish(SOON);
        let mut found = modes(&folder.path().join("state"));
        found.extend(modes(&folder.path().join("written")));
        let files = found.iter().filter(|(_, is_dir, _)| !is_dir).count();
        assert!(files >= 4, "lock, checkpoint, letters, output: {found:?}");
        for (path, is_dir, mode) in found {
            assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "{umask}: {}", path.display());
        }
        let state = fs::metadata(folder.path().join("state")).unwrap();
        assert_eq!(state.permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_file_that_hangs_stops_its_own_sink_only_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.log"), flow_lines(2_000).join("\n") + "\n").unwrap();
    let hanging: Vec<PathBuf> = (0..3).map(|number| folder.path().join(format!("hung-{number}"))).collect();
    let pipes: Vec<fs::File> = hanging
        .iter()
        .map(|path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            // Held open and never read: a write hangs as soon as 64 KiB are in it.
            fs::File::options().read(true).write(true).open(path).unwrap()
        })
        .collect();
    let mut config = r#"
data_dir = "state"
shutdown_timeout = "1s"

[sources.in]
type = "file"
paths = ["in.log"]

[sinks.out]
type = "file"
inputs = ["in"]
path = "out.ndjson"
"#
    .to_owned();
    for number in 0..3 {
        config.push_str(&format!(
            "\n[sinks.hung{number}]\ntype = \"file\"\ninputs = [\"in\"]\npath = \"hung-{number}\"\n"
        ));
    }
    let mut flowstone = Flowstone::run(folder.path(), &config);
    let written = || fs::read_to_string(folder.path().join("out.ndjson")).unwrap_or_default();
    flowstone
        .wait_until("all lines of the sink that does not hang", SOON, || written().lines().count() >= 2_000);
    flowstone.signal("TERM");
    assert_eq!(flowstone.wait(SOON).code(), Some(1), "what hangs is undelivered");
    drop(pipes);
}
