//! The main job on real servers: moto's CloudWatch Logs through AWS's SDK over HTTP, the recipe of `config/vpcflow.toml`
//! as it stands, and an Elasticsearch or OpenSearch. Events come late and out of order, the process is killed and
//! started again; in the end each record is there once, as Logstash would have written it, places and all.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flowstone_testkit::moto::Moto;
use flowstone_testkit::servers::{self, Installed, Node};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::documents::{database, seed_document, vpcflow_document};
use support::{Flowstone, assert_conserved, binary, flow_lines_of, free_port, index_of, metric, metric_of};

fn main() {
    let trial = |name: &str, server: &str, test: fn(&Installed, &Installed) -> Result<(), Failed>| {
        servers::trial_beside(name, servers::by_name(server).expect("known"), servers::moto(), test)
    };
    let mut tests: Vec<Trial> = ["es7", "es9", "os2"]
        .iter()
        .map(|server| trial("each_record_arrives_once_whatever_happens", server, each_record_once))
        .collect();
    tests.push(trial("the_seeds_recipe_writes_what_logstash_would", "es7", seed));
    tests.push(trial("a_month_of_the_past_is_read_by_backfill", "es7", backfill));
    // Each test has nodes of its own: two at a time are what two cores bear.
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, tests).exit();
}

const GROUP: &str = "/vpc/flow";
const REGION: &str = "eu-west-1";
const STREAMS: [&str; 4] = ["eni-1-all", "eni-2-all", "eni-3-all", "eni-4-all"];
/// Records of three days, there before the first start.
const PAST: usize = 12_000;
/// Records of each of the five waves that come while flowstone runs.
const WAVE: usize = 400;

/// A flow log and where its records go: moto, a server, a folder for state.
struct World<'a> {
    moto: Moto<'a>,
    node: &'a Node,
    folder: tempfile::TempDir,
    port: u16,
    /// Every record that was put.
    lines: Vec<String>,
}

impl<'a> World<'a> {
    fn new(moto: &'a Node, node: &'a Node, recipe: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let port = free_port();
        fs::write(folder.path().join("city.mmdb"), database().bytes())?;
        let text = fs::read_to_string(workspace().join("config").join(recipe))?;
        // The folders and the port are this machine's; windows of minutes would make this test last an hour.
        let mut text = text.replace("/var/lib/flowstone", "state");
        text = text.replace("127.0.0.1:9598", &format!("127.0.0.1:{port}"));
        text = text.replace("start_position = \"-1h\"", "start_position = \"-4d\"");
        text = text.replace(
            "type = \"cloudwatch_logs\"\n",
            "type = \"cloudwatch_logs\"\npoll_interval = \"1s\"\nlate_window = \"1m\"\nvisibility_margin = \"5s\"\n",
        );
        fs::write(folder.path().join("flowstone.toml"), text)?;
        let moto = Moto::new(moto, REGION);
        moto.make_group(GROUP, &STREAMS);
        Ok(Self { moto, node, folder, port, lines: Vec::new() })
    }

    /// The flow log of the group, as EC2 knows it.
    fn describe(&self) {
        let network = self.moto.query(
            "ec2",
            &[("Action", "CreateVpc"), ("Version", "2016-11-15"), ("CidrBlock", "10.0.0.0/16")],
        );
        let vpc = between(&network, "<vpcId>", "</vpcId>");
        self.moto.query(
            "ec2",
            &[
                ("Action", "CreateFlowLogs"),
                ("Version", "2016-11-15"),
                ("ResourceType", "VPC"),
                ("ResourceId.1", vpc),
                ("TrafficType", "ALL"),
                ("LogGroupName", GROUP),
                ("MaxAggregationInterval", "60"),
                ("DeliverLogsPermissionArn", "arn:aws:iam::123456789012:role/flow-logs"),
            ],
        );
    }

    /// Puts records, shuffled over the streams; each stream takes them in the order of their times.
    fn put(&mut self, lines: Vec<String>) {
        for (number, stream) in STREAMS.iter().enumerate() {
            let of_stream: Vec<(i64, String)> = (lines.iter().enumerate())
                .filter(|(index, _)| index * 7 % STREAMS.len() == number)
                .map(|(_, line)| (1000 * start_of(line), line.clone()))
                .collect();
            for events in of_stream.chunks(5000) {
                self.moto.put(GROUP, stream, events);
            }
        }
        self.lines.extend(lines);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path()).envs(self.moto.environment());
        command.env("FLOW_LOG_GROUP", GROUP).env("GEOIP_DATABASE", "city.mmdb");
        command
            .env("ELASTICSEARCH_URL", self.node.url())
            .env("PATTERNS_DIR", workspace().join("config/patterns"));
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
        command
    }

    fn start(&self) -> Flowstone {
        Flowstone::start(self.command(&["run", "-c", "flowstone.toml"]))
    }

    /// Waits until so many records are delivered in this run.
    fn wait_for_sent(&self, flowstone: &mut Flowstone, sent: usize) -> Result<(), Failed> {
        let end = Instant::now() + Duration::from_secs(120);
        let of_sink = "component_id=\"es\"";
        while metric_of(self.port, "flowstone_component_sent_events_total", of_sink) < sent as f64 {
            if flowstone.ended() || Instant::now() > end {
                return Err(format!("not {sent} records in 120 s; the log:\n{}", flowstone.log()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until every record is stored.
    fn wait_for_all(&self, flowstone: &mut Flowstone) -> Result<(), Failed> {
        let end = Instant::now() + Duration::from_secs(180);
        loop {
            self.node.refresh("vpcflowlogs-*");
            let stored = self.node.count("vpcflowlogs-*");
            if stored >= self.lines.len() as u64 {
                return Ok(());
            }
            if flowstone.ended() || Instant::now() > end {
                let log = flowstone.log();
                return Err(
                    format!("{stored} of {} records after 180 s; the log:\n{log}", self.lines.len()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Each record is there once, whole, in the index of its day.
    fn compare(&self, document: fn(&str) -> Value, of_source: fn(&mut Value)) {
        let mut expected: BTreeMap<String, Value> = BTreeMap::new();
        for line in &self.lines {
            let document = document(line);
            expected.insert(document["interface-id"].as_str().expect("a text").to_owned(), document);
        }
        assert_eq!(expected.len(), self.lines.len(), "each record has an interface of its own");
        for mut found in self.node.documents("vpcflowlogs-*") {
            of_source(&mut found.source);
            let interface = found.source["interface-id"].as_str().expect("a text").to_owned();
            let wanted = expected.remove(&interface).unwrap_or_else(|| panic!("{interface} is there twice"));
            assert_eq!(found.source, wanted);
            assert_eq!(found.index, index_of(&wanted));
        }
        assert!(expected.is_empty(), "{} records are missing: {:?}", expected.len(), expected.keys().next());
    }
}

fn each_record_once(server: &Installed, moto: &Installed) -> Result<(), Failed> {
    let (node, moto) = (server.start(&[])?, moto.start(&[])?);
    let mut world = World::new(&moto, &node, "vpcflow.toml")?;
    world.describe();
    let now_s = now_s();
    world.put(flow_lines_of(PAST, 0, now_s - 3 * 86_400, 3 * 86_400 - 600));
    // Killed in the middle of the past, and once more.
    for sent in [PAST / 4, PAST / 4] {
        let mut flowstone = world.start();
        world.wait_for_sent(&mut flowstone, sent)?;
        flowstone.kill();
    }
    let mut flowstone = world.start();
    for wave in 0..5u64 {
        // Each wave is of the last minute: the next one brings times that the last has passed.
        let first = (PAST + WAVE * wave as usize) as u64;
        world.put(flow_lines_of(WAVE, first, self::now_s() - 50, 48));
        std::thread::sleep(Duration::from_secs(3));
        if wave == 2 {
            flowstone.kill();
            flowstone = world.start();
        }
    }
    world.wait_for_all(&mut flowstone)?;
    // What is delivered twice over the wire is one document, and a restart does not begin anew.
    let duplicates = metric(world.port, "flowstone_sink_duplicates_total");
    assert!(duplicates < PAST as f64 / 2.0, "{duplicates} records were sent again by a restart");
    assert_conserved(world.port);
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(30));
    world.compare(vpcflow_document, |_| {});
    let dead = fs::read_dir(world.folder.path().join("state"))?.filter_map(Result::ok);
    assert_eq!(dead.filter(|entry| entry.file_name().to_string_lossy().starts_with("dead")).count(), 0);
    Ok(())
}

fn seed(server: &Installed, moto: &Installed) -> Result<(), Failed> {
    let (node, moto) = (server.start(&[])?, moto.start(&[])?);
    let mut world = World::new(&moto, &node, "seed.toml")?;
    world.put(flow_lines_of(3000, 0, now_s() - 3 * 86_400, 3 * 86_400 - 600));
    let mut flowstone = world.start();
    world.wait_for_all(&mut flowstone)?;
    flowstone.signal("TERM");
    flowstone.finish(Duration::from_secs(30));
    // moto numbers its events and dates them by itself.
    world.compare(seed_document, |source| {
        let fields =
            source.as_object_mut().expect("an object").remove("cloudwatch_logs").expect("the input's fields");
        assert_eq!(fields["log_group"], GROUP);
        assert!(STREAMS.iter().any(|stream| fields["log_stream"] == *stream), "{fields}");
        assert!(fields["event_id"].as_str().is_some_and(|id| id.parse::<u32>().is_ok()), "{fields}");
        assert!(fields["ingestion_time"].as_str().is_some_and(|time| time.ends_with('Z')), "{fields}");
    });
    Ok(())
}

fn backfill(server: &Installed, moto: &Installed) -> Result<(), Failed> {
    let (node, moto) = (server.start(&[])?, moto.start(&[])?);
    let mut world = World::new(&moto, &node, "vpcflow.toml")?;
    // `flowstone run` reads what comes from now on, in the same data folder, all the while.
    let path = world.folder.path().join("flowstone.toml");
    fs::write(&path, fs::read_to_string(&path)?.replace("\"-4d\"", "\"end\""))?;
    let mut live = world.start();
    live.wait_for_log("a log group is read from now on", Duration::from_secs(30));
    let now_s = now_s();
    let (from_s, to_s) = (now_s - 5 * 86_400, now_s - 86_400);
    world.put(flow_lines_of(4000, 0, from_s, to_s - from_s));
    // What lies before the stretch is read by a second backfill, what lies after it by none.
    let (before_s, after) = (from_s - 86_400, flow_lines_of(10, 91_000, to_s + 1, 3600));
    let before = flow_lines_of(10, 90_000, before_s, 86_399);
    for lines in [&before, &after] {
        let known = world.lines.len();
        world.put(lines.clone());
        world.lines.truncate(known);
    }
    let iso = |seconds: u64| support::iso(seconds as i64);
    let (earlier, from, to) = (iso(before_s), iso(from_s), iso(to_s));
    let arguments = ["backfill", "-c", "flowstone.toml", "--from", &from, "--to", &to];
    let estimate = world.command(&[&arguments[..], &["--dry-run"]].concat()).output()?;
    let told = String::from_utf8_lossy(&estimate.stdout).into_owned();
    assert!(estimate.status.success() && told.contains("123456789012/eu-west-1//vpc/flow"), "{told}");
    let stretch = |arguments: &[&str], events: &str| {
        let done = world.command(arguments).output().expect("flowstone starts");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && told.contains(&format!("done: {events} events")), "{told}");
        node.refresh("vpcflowlogs-*");
    };
    stretch(&arguments, "4,000");
    world.compare(vpcflow_document, |_| {});
    // Done once is done; another stretch is another matter.
    stretch(&arguments, "0");
    stretch(&["backfill", "-c", "flowstone.toml", "--from", &earlier, "--to", &from], "10");
    world.lines.extend(before);
    world.compare(vpcflow_document, |_| {});
    // The run beside it was not disturbed, and neither is its checkpoint: it goes on with what comes.
    world.put(flow_lines_of(50, 95_000, self::now_s() - 30, 20));
    world.wait_for_all(&mut live)?;
    live.kill();
    let mut live = world.start();
    live.wait_for_log("a log group is read on", Duration::from_secs(30));
    world.put(flow_lines_of(50, 96_000, self::now_s() - 30, 20));
    world.wait_for_all(&mut live)?;
    live.signal("TERM");
    live.finish(Duration::from_secs(30));
    world.compare(vpcflow_document, |_| {});
    Ok(())
}

fn workspace() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The record's `start`, in seconds since the epoch.
fn start_of(line: &str) -> i64 {
    line.split(' ').nth(10).and_then(|start| start.parse().ok()).expect("a record of version 2")
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> &'a str {
    let start = text.find(before).expect(before) + before.len();
    &text[start..start + text[start..].find(behind).expect(behind)]
}
