//! One running server: started, asked, killed, restarted.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Family, Installed, Needs, Product, ServerSpec, available, switched_on};
use crate::http::{Client, Response};

/// A server that answers on `127.0.0.1`, with helpers to ask it; the verbs are those of [`Client`], to which it
/// derefs. All of them panic when the server does not answer or refuses: in a test that is the failure to report.
#[derive(Debug)]
pub struct Node {
    client: Client,
    /// `None`: somebody else's server, which is only asked.
    own: Option<Own>,
}

/// A document as the server holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The index that it is in: behind an alias or a data stream the one that was written to.
    pub index: String,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: Value,
}

/// Why a node did not start, with the last lines of its log.
#[derive(Debug)]
pub struct StartError(String);

/// A node of ours.
#[derive(Debug)]
struct Own {
    installed: Installed,
    settings: Vec<String>,
    port: u16,
    home: TempDir,
    child: Option<Child>,
}

/// From no answer to an answer; a busy machine of two cores takes 4 to 10 s.
const START: Duration = Duration::from_secs(120);

// === impl Node ===

impl Node {
    /// Starts a node of this server, preparing the server if need be; see [`available`] and [`Installed::start`].
    pub fn start(spec: &'static ServerSpec, settings: &[&str]) -> Result<Self, StartError> {
        let installed = available(spec).map_err(|missing| StartError(missing.to_string()))?;
        Self::launch(&installed, settings)
    }

    /// A server that runs already, as `http://HOST:PORT`. It can be asked, but not killed or restarted.
    pub fn external(url: &str) -> io::Result<Self> {
        Ok(Self { client: Client::new(url)?, own: None })
    }

    /// The server of `FLOWSTONE_ES_URL`, if that is set. Panics when it is no URL that [`Node::external`] takes.
    pub fn from_env() -> Option<Self> {
        let url = std::env::var("FLOWSTONE_ES_URL").ok().filter(|url| !url.is_empty())?;
        Some(Self::external(&url).unwrap_or_else(|e| panic!("FLOWSTONE_ES_URL: {e}")))
    }

    pub(super) fn launch(installed: &Installed, settings: &[&str]) -> Result<Self, StartError> {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut tries = 3; // somebody may take the port between its choice and the node's start
        loop {
            let home =
                tempfile::Builder::new().prefix("flowstone-node-").tempdir().map_err(StartError::io)?;
            let port = free_port()?;
            let own =
                Own { installed: installed.clone(), settings: settings.clone(), port, home, child: None };
            let client = Client::new(&format!("http://127.0.0.1:{port}")).map_err(StartError::io)?;
            let mut node = Self { client, own: Some(own) };
            match node.run() {
                Err(e) if port_is_taken(&e.0) && tries > 1 => tries -= 1,
                other => return other.map(|()| node),
            }
        }
    }

    /// `http://127.0.0.1:PORT`; the same after a restart.
    pub fn url(&self) -> String {
        self.client.url()
    }

    /// Which server this is; `None` for an external one.
    pub fn spec(&self) -> Option<&'static ServerSpec> {
        self.own.as_ref().map(|own| own.installed.spec())
    }

    /// The file with the output of the node, all its starts one after the other. Panics for an external server.
    pub fn log(&self) -> PathBuf {
        let own = self.own.as_ref().expect("a node of ours: the log of an external server is not here");
        own.log()
    }

    /// The process, to stop it (`SIGSTOP`) for example; `None` while it is killed or for an external server.
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().and_then(|own| own.child.as_ref()).map(Child::id)
    }

    /// Ends the node with SIGKILL; its data and its port stay for [`Node::restart`]. Panics for an external server.
    pub fn kill(&mut self) {
        self.own.as_mut().expect("a node of ours: an external server is not killed").kill();
    }

    /// Starts the node again on the same data and the same port, killing it first if it runs. Panics for an
    /// external server.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        self.run()
    }

    /// [`Node::restart`] with other settings. Panics for an external server.
    pub fn restart_with(&mut self, settings: &[&str]) -> Result<(), StartError> {
        let own = self.own.as_mut().expect("a node of ours: an external server is not restarted");
        own.settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        self.restart()
    }

    fn run(&mut self) -> Result<(), StartError> {
        let own = self.own.as_mut().expect("called for nodes of ours");
        own.spawn()?;
        let end = Instant::now() + START;
        let path = match own.installed.spec().product {
            Product::Moto => "/moto-api/data.json",
            // Indices that were there come back after the port: until then a search would lack them.
            _ => "/_cluster/health?wait_for_status=yellow&timeout=60s",
        };
        loop {
            match self.client.request("GET", path, &[], b"") {
                Ok(reply) if reply.status == 200 => return Ok(()),
                answer if Instant::now() > end => {
                    return Err(own.failure(&format!("gave no answer in {START:?}, last {answer:?}")));
                }
                _ => {}
            }
            if let Some(status) = own.exited().map_err(StartError::io)? {
                return Err(own.failure(&format!("ended with {status}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes everything that was written visible to searches.
    pub fn refresh(&self, index: &str) {
        let reply = self.post(&format!("/{index}/_refresh"), "");
        assert!(
            reply.status == 404 || reply.status < 300,
            "refresh of {index}: {} {}",
            reply.status,
            reply.body
        );
    }

    /// How many documents there are, after a refresh; 0 when the index does not exist. `index` may be a pattern,
    /// an alias or a data stream.
    pub fn count(&self, index: &str) -> u64 {
        self.refresh(index);
        let reply = until_shards_started(|| self.get(&format!("/{index}/_count")));
        match reply.status {
            404 => 0,
            _ => reply.ok().json()["count"].as_u64().expect("a count"),
        }
    }

    /// All documents, after a refresh, ordered by index and id; none when the index does not exist. Scrolls, so
    /// there is no limit but memory; no index setting or mapping is needed.
    pub fn documents(&self, index: &str) -> Vec<Document> {
        self.refresh(index);
        let query = json!({"size": 5000, "sort": ["_doc"]});
        let search = || self.post(&format!("/{index}/_search?scroll=1m"), query.to_string());
        let mut reply = until_shards_started(search);
        let mut documents = Vec::new();
        if reply.status == 404 {
            return documents;
        }
        loop {
            let mut page = reply.ok().json();
            assert_eq!(page["_shards"]["failed"], 0, "a search of {index} failed on a shard: {page}");
            let scroll = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
            let hits = page["hits"]["hits"].as_array_mut().expect("hits");
            if hits.is_empty() {
                let all = json!({"scroll_id": [scroll["scroll_id"]]}).to_string();
                let headers = [("Content-Type", "application/json")];
                let _ = self.client.request("DELETE", "/_search/scroll", &headers, all.as_bytes());
                break;
            }
            documents.extend(hits.iter_mut().map(|hit| Document {
                index: hit["_index"].as_str().expect("an index").to_owned(),
                id: hit["_id"].as_str().expect("an id").to_owned(),
                source: hit["_source"].take(),
            }));
            reply = self.post("/_search/scroll", scroll.to_string());
        }
        documents.sort_by(|a, b| (&a.index, &a.id).cmp(&(&b.index, &b.id)));
        documents
    }

    /// `version.number` of `GET /`.
    pub fn version(&self) -> String {
        self.get("/").ok().json()["version"]["number"].as_str().expect("a version").to_owned()
    }
}

impl Deref for Node {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

// === impl Own ===

impl Own {
    fn spawn(&mut self) -> Result<(), StartError> {
        let home = self.home.path();
        let log = File::options().create(true).append(true).open(self.log()).map_err(StartError::io)?;
        let mut command =
            command(&self.installed, home, self.port, &self.settings).map_err(StartError::io)?;
        command.stdin(Stdio::piped()).stdout(log.try_clone().map_err(StartError::io)?).stderr(log);
        self.child = Some(command.spawn().map_err(StartError::io)?);
        Ok(())
    }

    fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("output.log")
    }

    fn failure(&self, what: &str) -> StartError {
        let mut text = format!("{} {what}; its log ends with", self.installed.spec);
        let lines: Vec<String> = match File::open(self.log()) {
            Ok(log) => BufReader::new(log).lines().map_while(Result::ok).collect(),
            Err(e) => vec![e.to_string()],
        };
        for line in &lines[lines.len().saturating_sub(40)..] {
            text.push_str("\n  ");
            text.push_str(line);
        }
        StartError(text)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
        if switched_on("FLOWSTONE_KEEP_NODES") {
            self.home.disable_cleanup(true);
            eprintln!("{} left its data and log in {}", self.installed.spec, self.home.path().display());
        }
    }
}

// === impl StartError ===

impl StartError {
    fn io(e: io::Error) -> Self {
        Self(e.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

// === the process ===

impl Installed {
    /// Runs this server in the foreground, on `port` of 127.0.0.1 and with data of its own, until it ends or our
    /// standard input closes or this process dies. Its output goes to ours.
    pub fn run(&self, port: u16, settings: &[String]) -> Result<ExitStatus, StartError> {
        let home = tempfile::Builder::new().prefix("flowstone-node-").tempdir().map_err(StartError::io)?;
        let mut command = command(self, home.path(), port, settings).map_err(StartError::io)?;
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(StartError::io)?;
        let its_input = child.stdin.take();
        // Not a shared standard input: that would stay open when we are killed. The thread ends with the process.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            drop(its_input);
        });
        child.wait().map_err(StartError::io)
    }
}

fn command(installed: &Installed, home: &Path, port: u16, settings: &[String]) -> io::Result<Command> {
    let (spec, dir) = (installed.spec, &installed.dir);
    let temporary = home.join("tmp");
    std::fs::create_dir_all(&temporary)?;
    let mut command = Command::new(&installed.program);
    let Needs::Java(java) = spec.needs else {
        // Keys of the environment are the client's, not the server's.
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_SESSION_TOKEN");
        let remove = if switched_on("FLOWSTONE_KEEP_NODES") { "0" } else { "1" };
        command.current_dir(home).env("TMPDIR", temporary).arg(dir.join("launcher.py")).arg(home).arg(remove);
        command.arg(port.to_string()).args(settings);
        return Ok(command);
    };
    command.current_dir(home).env("ES_HOME", home).env_remove("JAVA_TOOL_OPTIONS");
    command.args(["-Xms256m", "-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto"]);
    command.args(["-Djava.awt.headless=true", "-Dlog4j2.disable.jmx=true", "-Dio.netty.noUnsafe=true"]);
    command.arg("--add-opens=java.base/java.nio=ALL-UNNAMED");
    command.arg(format!("-Djava.io.tmpdir={}", temporary.display()));
    if !switched_on("FLOWSTONE_KEEP_NODES") {
        command.arg("-Dflowstone.testkit.remove=true"); // when the owner is gone and cannot
    }
    command.arg(format!("-Dlog4j2.configurationFile={}", dir.join("log4j2.properties").display()));
    let (jars, launcher) = (dir.join("jars"), dir.join("launcher"));
    let family = match spec.family {
        Family::Package => unreachable!("it needs no Java"),
        Family::Six | Family::Seven => {
            command.arg("-cp").arg(format!("{}:{}/*", launcher.display(), jars.display()));
            if spec.family == Family::Six { "six" } else { "seven" }
        }
        Family::Modular => {
            let modules = home.join("modules");
            if !modules.exists() {
                std::os::unix::fs::symlink(dir.join("modules"), modules)?;
            }
            std::fs::create_dir_all(home.join("plugins"))?;
            let native = dir.with_file_name("native");
            command.arg(format!("-Des.nativelibs.path={}", native.display()));
            command.arg("-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false"); // not on Central
            command.arg("--module-path").arg(&jars);
            command.args(["--add-modules", "ALL-MODULE-PATH,jdk.net,java.management,jdk.management"]);
            if java >= 21 {
                command.arg("--enable-native-access=ALL-UNNAMED,org.apache.lucene.core,org.elasticsearch.nativeaccess");
                command.arg("--add-modules=jdk.incubator.vector");
            }
            command.arg("-cp").arg(&launcher);
            "modular"
        }
    };
    command.arg("Launcher").arg(family).arg(home).arg(port.to_string()).args(settings);
    Ok(command)
}

/// Whether a log says that somebody else has the port.
fn port_is_taken(log: &str) -> bool {
    log.contains("BindException") || log.contains("is in use by another program") // Java; moto's werkzeug
}

/// A port that is free, from below those that outgoing connections get: none of them takes it while its node is
/// down.
fn free_port() -> Result<u16, StartError> {
    for _ in 0..100 {
        let port = fastrand::u16(10_240..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(StartError("found no free port between 10240 and 32000 on 127.0.0.1".to_owned()))
}

/// What `ask` answers once it is no longer 503: a search of an index whose shards are still being started, because
/// it was made a moment ago or the node was, is answered so (Elasticsearch 8 and 9).
fn until_shards_started(ask: impl Fn() -> Response) -> Response {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let reply = ask();
        if reply.status != 503 || Instant::now() > end {
            return reply;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{FakeServer, Reply};

    #[test]
    fn an_index_that_does_not_exist_has_no_documents() {
        let server =
            FakeServer::start(|_| Reply::json(404, r#"{"error":{"type":"index_not_found_exception"}}"#));
        let node = Node::external(&server.url()).unwrap();
        assert_eq!(node.count("absent"), 0);
        assert!(node.documents("absent").is_empty());
        assert!(node.spec().is_none() && node.pid().is_none());
    }

    #[test]
    fn an_external_server_has_a_plain_url() {
        for url in ["https://x:9200", "http://user:secret@x:9200", "x:9200"] {
            assert!(Node::external(url).is_err(), "{url}");
        }
        assert_eq!(Node::external("http://localhost").unwrap().url(), "http://localhost:80");
        assert_eq!(Node::external("http://localhost:9200/es/").unwrap().url(), "http://localhost:9200/es");
    }
}
