//! What one line costs: the seed's pattern, a 20-column pattern with other names in another order, the version 5 line,
//! each with every line matching and with one in ten that does not; and two patterns of other logs.
//!
//! `cargo bench -p transform-grok`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowstone_core::event::Batch;
use flowstone_core::{Clock, ComponentId, Kind, Metrics, Transform, TransformCx};
use flowstone_testkit::{batches, cases};
use serde_json::json;
use transform_grok as _;

const ROWS: usize = 4096;

const SEED: &str = "%{NUMBER:version} %{NOTSPACE:account-id} %{NOTSPACE:interface-id} %{IP:srcaddr} %{IP:dstaddr} \
    %{NOTSPACE:srcport} %{NOTSPACE:dstport} %{NOTSPACE:protocol} %{NUMBER:packets:float} %{NUMBER:bytes:float} \
    %{NOTSPACE:start} %{NOTSPACE:end} %{NOTSPACE:action} %{NOTSPACE:log-status}";

const TWENTY: &str = "%{WORD:verdict} %{INT:first:int} %{INT:last:int} %{IP:client} %{POSINT:client_port:int} %{IP:server} \
    %{POSINT:server_port:int} %{NOTSPACE:vpc} %{NOTSPACE:subnet} %{NOTSPACE:instance} %{NOTSPACE:eni} %{WORD:family} \
    %{NUMBER:octets:int} %{NUMBER:frames:int} %{NONNEGINT:flags:int} %{NOTSPACE:region} %{NOTSPACE:zone} \
    (?:-|%{NOTSPACE:service}) %{WORD:direction} %{NOTSPACE:status}";

const VERSION_5: &str = "%{NUMBER:version} %{NOTSPACE:account-id} %{NOTSPACE:interface-id} %{IP:srcaddr} %{IP:dstaddr} \
    %{NOTSPACE:srcport} %{NOTSPACE:dstport} %{NOTSPACE:protocol} %{NUMBER:packets:float} %{NUMBER:bytes:float} \
    %{NOTSPACE:start} %{NOTSPACE:end} %{NOTSPACE:action} %{NOTSPACE:log-status} %{NOTSPACE:vpc-id} %{NOTSPACE:subnet-id} \
    %{NOTSPACE:instance-id} %{NOTSPACE:tcp-flags} %{NOTSPACE:type} %{IP:pkt-srcaddr} %{IP:pkt-dstaddr} %{NOTSPACE:region} \
    %{NOTSPACE:az-id} %{NOTSPACE:sublocation-type} %{NOTSPACE:sublocation-id} %{NOTSPACE:pkt-src-aws-service} \
    %{NOTSPACE:pkt-dst-aws-service} %{NOTSPACE:flow-direction} %{NOTSPACE:traffic-path}";

struct Case {
    name: &'static str,
    pattern: &'static str,
    line: fn(u64) -> String,
    /// A line that does not match.
    other: fn(u64) -> String,
}

fn address(seed: u64) -> String {
    format!("{}.{}.{}.{}", 10 + seed % 180, seed / 7 % 256, seed / 11 % 256, seed / 13 % 256)
}

fn seed_line(n: u64) -> String {
    let start = 1_551_002_309 + n / 50;
    format!(
        "2 123456789010 eni-0bf6a7b1e940{:05x} {} {} {} {} 6 {} {} {start} {} ACCEPT OK",
        n % 1000,
        address(n * 31),
        address(n * 17 + 5),
        1024 + n * 7 % 60_000,
        [443, 22, 5601, 9200][(n % 4) as usize],
        1 + n % 300,
        40 + n * 977 % 5_000_000,
        start + 60
    )
}

fn no_data(n: u64) -> String {
    format!("2 123456789010 eni-0bf6a7b1e940{:05x} - - - - - - - {n} {} - NODATA", n % 1000, n + 60)
}

fn twenty_line(n: u64) -> String {
    format!(
        "ACCEPT {n} {} {} {} {} 443 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 eni-1235b8ca12345678{} IPv4 {} {} 3 \
         us-east-1 use1-az4 - egress OK",
        n + 60,
        address(n * 3),
        1024 + n % 60_000,
        address(n * 5),
        n % 10,
        n * 31 % 100_000,
        n % 900
    )
}

fn twenty_other(n: u64) -> String {
    format!(
        "ACCEPT {n} {} - - - - vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 eni-1235b8ca12345678{} NODATA",
        n + 60,
        n % 10
    )
}

fn version_5(n: u64) -> String {
    format!(
        "{} vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 3 IPv4 {} {} us-east-1 use1-az4 - - AMAZON - egress 8",
        seed_line(n).replacen('2', "5", 1),
        address(n),
        address(n + 3)
    )
}

fn version_5_other(n: u64) -> String {
    format!("5{} - - - - - - - - us-east-1 use1-az4 - - - - - -", &no_data(n)[1..])
}

fn access(n: u64) -> String {
    format!(
        "{} - - [24/Feb/2015:23:13:42 +0000] \"GET /presentations/{n}/images/kibana-search.png HTTP/1.1\" 200 {} \
         \"http://semicomplete.com/presentations/\" \"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) Chrome/32.0.1700.77\"",
        address(n),
        n * 31
    )
}

fn syslog(n: u64) -> String {
    format!(
        "Mar 16 00:01:25 evita postfix/smtpd[{}]: connect from camomile.cloud9.net[{}]",
        1 + n % 30_000,
        address(n)
    )
}

const CASES: [Case; 5] = [
    Case { name: "seed", pattern: SEED, line: seed_line, other: no_data },
    Case { name: "20 columns", pattern: TWENTY, line: twenty_line, other: twenty_other },
    Case { name: "version 5", pattern: VERSION_5, line: version_5, other: version_5_other },
    Case { name: "access log", pattern: "%{COMBINEDAPACHELOG}", line: access, other: seed_line },
    Case { name: "syslog", pattern: "%{SYSLOGBASE} %{GREEDYDATA:text}", line: syslog, other: seed_line },
];

fn grok(pattern: &str) -> Box<dyn Transform> {
    cases::build("grok", &json!({ "match": { "message": pattern } })).expect("a good pattern").0
}

/// Lines in one page, every `tenth` of which does not match.
fn batch(case: &Case, tenth: bool) -> Batch {
    let line = |row: u64| if tenth && row % 10 == 3 { (case.other)(row) } else { (case.line)(row) };
    batches::lines(&(0..ROWS as u64).map(line).collect::<Vec<_>>(), 0)
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grok");
    group.throughput(Throughput::Elements(ROWS as u64));
    let id = ComponentId { name: "grok".into(), kind: Kind::Transform, type_name: "grok" };
    let metrics = Metrics::new().component(&id);
    for case in &CASES {
        for (name, tenth) in [("all match", false), ("one in ten does not", true)] {
            let mut transform = grok(case.pattern);
            let mut lines = batch(case, tenth);
            let mut probe = lines.share();
            transform.apply(&mut probe, &mut TransformCx::new(&metrics, Clock::Fixed(0)));
            let unmatched = probe.take_unmatched().map_or(0, |rows| rows.count());
            assert_eq!(unmatched, if tenth { ROWS.div_ceil(10) } else { 0 }, "{}", case.name);
            group.bench_function(format!("{}, {name}", case.name), |bencher| {
                bencher.iter_batched_ref(
                    || lines.share(),
                    |batch| transform.apply(batch, &mut TransformCx::new(&metrics, Clock::Fixed(0))),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
