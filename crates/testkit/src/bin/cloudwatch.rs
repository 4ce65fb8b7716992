//! `flowstone-cloudwatch`: serves a generated log group as CloudWatch Logs does, for benches and by hand.

use std::collections::HashMap;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use flowstone_aws::FlowLog;
use flowstone_event::format_iso_millis;
use flowstone_testkit::cloudwatch::{Behaviour, FlowTraffic, ServerOptions, SimulatedLogs, SimulatedServer};

const USAGE: &str = "\
usage: flowstone-cloudwatch PORT [--OPTION VALUE ..]

Serves a log group of generated flow logs on 127.0.0.1:PORT (0 takes a free port) until standard input closes. The same
options give the same events. They are made when they are read, so that a large group takes no memory.

  --group NAME          the log group; /vpc/flow if not set
  --per-day EVENTS      10000000 if not set
  --days DAYS           so many days of events; 1 if not set
  --until TIME          where they end, milliseconds since the epoch; seven hours ago if not set, so that even the
                        latest of them have arrived (one that has not is not seen yet), and no sweep is to come
  --live true           go on from there for ever, instead of ending
  --streams NUMBER      network interfaces; 50 if not set
  --aggregation SECONDS the flow log's MaxAggregationInterval; 60 if not set
  --account ID          123456789012 if not set
  --region NAME         eu-west-1 if not set; decides the quota
  --quota CALLS         FilterLogEvents a second; the region's if not set, 0 for no limit
  --latency MS          how long a call takes; 0 if not set
  --throttled SHARE     of the calls, from 0 to 1; likewise --unavailable, --empty-pages, --short-pages
  --seed NUMBER         of all chance; 1 if not set";

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const SETTLED_MS: i64 = 7 * 3_600_000;
/// Events of a live group end then, in effect never.
const FAR_MS: i64 = 4_102_444_800_000; // 2100-01-01

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Options that were given and not yet asked for.
struct Options<'a>(HashMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    fn read(args: &'a [String]) -> Result<Self, String> {
        let mut options = HashMap::new();
        for pair in args.chunks(2) {
            let [name, value] = pair else { return Err(format!("{}: expected a value behind it", pair[0])) };
            let name =
                name.strip_prefix("--").ok_or_else(|| format!("{name}: expected an option\n{USAGE}"))?;
            if options.insert(name, value.as_str()).is_some() {
                return Err(format!("--{name} is given twice"));
            }
        }
        Ok(Self(options))
    }

    fn take<T: FromStr>(&mut self, name: &str, by_default: T) -> Result<T, String> {
        match self.0.remove(name) {
            None => Ok(by_default),
            Some(text) => {
                text.parse().map_err(|_| format!("--{name} {text}: expected another kind of value"))
            }
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let [port, rest @ ..] = args else { return Err(USAGE.to_owned()) };
    let port = port.parse().map_err(|_| format!("{port}: expected a port\n{USAGE}"))?;
    let mut options = Options::read(rest)?;
    let now_ms = ServerOptions::default().clock.now_ms();

    let group = options.take("group", "/vpc/flow".to_owned())?;
    let per_day: f64 = options.take("per-day", 10_000_000.0)?;
    let days: f64 = options.take("days", 1.0)?;
    let until_ms = options.take("until", now_ms - SETTLED_MS)?.div_euclid(MINUTE_MS) * MINUTE_MS;
    let from_ms = until_ms - (days * DAY_MS as f64) as i64 / MINUTE_MS * MINUTE_MS;
    let live: bool = options.take("live", false)?;
    let behaviour = Behaviour {
        account: options.take("account", "123456789012".to_owned())?,
        region: options.take("region", "eu-west-1".to_owned())?,
        per_second: match options.take("quota", -1.0)? {
            0.0 => Some(f64::INFINITY),
            quota if quota > 0.0 => Some(quota),
            _ => None,
        },
        throttled: options.take("throttled", 0.0)?,
        unavailable: options.take("unavailable", 0.0)?,
        empty_pages: options.take("empty-pages", 0.0)?,
        short_pages: options.take("short-pages", 0.0)?,
        seed: options.take("seed", 1)?,
        ..Behaviour::default()
    };
    let traffic = FlowTraffic {
        aggregation_ms: options.take("aggregation", 60)? * 1000,
        per_second: per_day / 86_400.0,
        streams: options.take("streams", 50)?,
        seed: behaviour.seed,
        ..FlowTraffic::default()
    };
    let latency = Duration::from_millis(options.take("latency", 0)?);
    if let Some(name) = options.0.keys().next() {
        return Err(format!("--{name}: there is no such option\n{USAGE}"));
    }
    let positive = per_day > 0.0 && from_ms < until_ms && traffic.streams > 0 && traffic.aggregation_ms > 0;
    if !positive {
        return Err("--per-day, --days, --streams and --aggregation: expected more than nothing".to_owned());
    }

    let service = SimulatedLogs::new(behaviour);
    let made = traffic.made(from_ms, if live { FAR_MS } else { until_ms });
    service.create_made_group(&group, traffic.stream_names(), made);
    let flow_log = FlowLog {
        id: "fl-0123456789abcdef0".to_owned(),
        format: DEFAULT_FORMAT.to_owned(),
        aggregation_s: (traffic.aggregation_ms / 1000) as u32,
        created_ms: Some(from_ms),
    };
    service.set_flow_logs(&group, vec![flow_log]);
    let options = ServerOptions { port, latency, ..ServerOptions::default() };
    let server = SimulatedServer::with(&service, options).map_err(|e| format!("127.0.0.1:{port}: {e}"))?;

    let (from, until) = (format_iso_millis(from_ms), format_iso_millis(until_ms));
    let count = traffic.count(from_ms, until_ms);
    let goes_on = if live { ", and goes on" } else { "" };
    say(&format!("# {group} at {} has {count} events from {from} to {until}{goes_on}", server.url()));
    for (name, value) in server.environment() {
        say(&format!("export {name}={value}"));
    }
    // Ends with its owner, also when that is killed.
    stdin().read_to_end(&mut Vec::new()).map_err(|e| format!("standard input: {e}"))?;
    let calls = service.calls();
    say(&format!(
        "# {} pages with {} events; {} calls throttled, {} refused",
        calls.pages, calls.events, calls.throttled, calls.failed
    ));
    Ok(())
}

/// The format of a flow log that was made without one.
const DEFAULT_FORMAT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} \
                              ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
    let _ = stdout().flush();
}
