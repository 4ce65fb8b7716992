//! How the fields of a flow log are mapped: one table, from which the template of every server version is written.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::lifecycle;
use crate::options::{Codec, Coverage, IndexMode};
use crate::server::{Lifecycle, Server, TemplateDialect};

/// How a field is indexed. Each is spelled alike by every version from Elasticsearch 6 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, an id, a word from a list: found as a whole, counted, sorted.
    Keyword,
    /// Text to search in.
    Text,
    /// An IPv4 or IPv6 address: found by network.
    Ip,
    /// A small number. The typed parser's `6` and grok's `"6"` both fit.
    Integer,
    /// A counter. The typed parser's `1098`, grok's `1098.0` and Java's `1.2345678E7` all fit: a `long` takes a float
    /// with nothing behind its point, and `coerce` is written out because an index setting can turn it off.
    Long,
    /// A coordinate.
    Float,
    /// An instant: ISO, or seconds since 1970 as number or text (`start` of a record that nothing converted).
    Date,
    /// A place: `{"lat": 35.6, "lon": 139.7}`. The object that holds both, never `lat` and `lon` themselves: the latter
    /// is accepted as a mapping and then refuses every document.
    GeoPoint,
}

use Kind::{Date, Float, GeoPoint, Integer, Ip, Keyword, Long, Text};

/// The fields of flow log records, as AWS spells them: VPC (versions 2 to 11), then transit gateway (version 6). The
/// mapping has each in AWS's spelling and with `_` for `-`. The protocol is a name for something and no quantity:
/// as a keyword it stays searchable when somebody translates 6 to `tcp`.
const RECORD: &[(&str, Kind)] = &[
    ("version", Integer),
    ("account-id", Keyword),
    ("interface-id", Keyword),
    ("srcaddr", Ip),
    ("dstaddr", Ip),
    ("srcport", Integer),
    ("dstport", Integer),
    ("protocol", Keyword),
    ("packets", Long),
    ("bytes", Long),
    ("start", Date),
    ("end", Date),
    ("action", Keyword),
    ("log-status", Keyword),
    ("vpc-id", Keyword),
    ("subnet-id", Keyword),
    ("instance-id", Keyword),
    ("tcp-flags", Integer),
    ("type", Keyword),
    ("pkt-srcaddr", Ip),
    ("pkt-dstaddr", Ip),
    ("region", Keyword),
    ("az-id", Keyword),
    ("sublocation-type", Keyword),
    ("sublocation-id", Keyword),
    ("pkt-src-aws-service", Keyword),
    ("pkt-dst-aws-service", Keyword),
    ("flow-direction", Keyword),
    ("traffic-path", Integer),
    ("ecs-cluster-arn", Keyword),
    ("ecs-cluster-name", Keyword),
    ("ecs-container-instance-arn", Keyword),
    ("ecs-container-instance-id", Keyword),
    ("ecs-container-id", Keyword),
    ("ecs-second-container-id", Keyword),
    ("ecs-service-name", Keyword),
    ("ecs-task-definition-arn", Keyword),
    ("ecs-task-arn", Keyword),
    ("ecs-task-id", Keyword),
    ("reject-reason", Keyword),
    ("resource-id", Keyword),
    ("encryption-status", Integer),
    ("instance-tag", Keyword),
    ("instance-tag-2", Keyword),
    ("interface-tag", Keyword),
    ("interface-tag-2", Keyword),
    ("asg-tag", Keyword),
    ("asg-tag-2", Keyword),
    ("interface-type", Keyword),
    ("next-hop-interface-type", Keyword),
    ("next-hop-interface-id", Keyword),
    ("next-hop-subnet-id", Keyword),
    ("next-hop-az-id", Keyword),
    ("next-hop-vpc-id", Keyword),
    ("resource-type", Keyword),
    ("tgw-id", Keyword),
    ("tgw-attachment-id", Keyword),
    ("tgw-src-vpc-account-id", Keyword),
    ("tgw-dst-vpc-account-id", Keyword),
    ("tgw-src-vpc-id", Keyword),
    ("tgw-dst-vpc-id", Keyword),
    ("tgw-src-subnet-id", Keyword),
    ("tgw-dst-subnet-id", Keyword),
    ("tgw-src-eni", Keyword),
    ("tgw-dst-eni", Keyword),
    ("tgw-src-az-id", Keyword),
    ("tgw-dst-az-id", Keyword),
    ("tgw-pair-attachment-id", Keyword),
    ("packets-lost-no-route", Long),
    ("packets-lost-blackhole", Long),
    ("packets-lost-mtu-exceeded", Long),
    ("packets-lost-ttl-expired", Long),
];

/// What stands around a record, whatever its names: time, text, GeoIP in the layout of Logstash's `geoip` (below
/// `src_geoip`, `dst_geoip` or `geoip`), where it was read, why it was rejected.
const AROUND: &[(&str, Kind)] = &[
    ("@timestamp", Date),
    ("@version", Keyword),
    ("start_time", Date),
    ("end_time", Date),
    ("message", Text),
    ("tags", Keyword),
    ("src_geoip.ip", Ip),
    ("src_geoip.location", GeoPoint),
    ("src_geoip.latitude", Float),
    ("src_geoip.longitude", Float),
    ("src_geoip.geo.location", GeoPoint),
    ("dst_geoip.ip", Ip),
    ("dst_geoip.location", GeoPoint),
    ("dst_geoip.latitude", Float),
    ("dst_geoip.longitude", Float),
    ("dst_geoip.geo.location", GeoPoint),
    ("geoip.ip", Ip),
    ("geoip.location", GeoPoint),
    ("geoip.latitude", Float),
    ("geoip.longitude", Float),
    ("cloudwatch_logs.ingestion_time", Date),
    ("cloudwatch_logs.event_id", Keyword),
    ("cloudwatch_logs.log_group", Keyword),
    ("cloudwatch_logs.log_stream", Keyword),
    ("rejected.component", Keyword),
    ("rejected.type", Keyword),
    ("rejected.reason", Keyword),
    ("rejected.detail", Text),
    ("rejected.time", Date),
    ("rejected.status", Integer),
    ("rejected.index", Keyword),
];

/// The names of the Elastic Common Schema, typed as it types them.
const ECS: &[(&str, Kind)] = &[
    ("source.address", Keyword),
    ("source.ip", Ip),
    ("source.port", Integer),
    ("source.packets", Long),
    ("source.bytes", Long),
    ("source.nat.ip", Ip),
    ("source.geo.location", GeoPoint),
    ("source.as.number", Long),
    ("destination.address", Keyword),
    ("destination.ip", Ip),
    ("destination.port", Integer),
    ("destination.packets", Long),
    ("destination.bytes", Long),
    ("destination.nat.ip", Ip),
    ("destination.geo.location", GeoPoint),
    ("destination.as.number", Long),
    ("network.bytes", Long),
    ("network.packets", Long),
    ("network.iana_number", Keyword),
    ("network.transport", Keyword),
    ("network.type", Keyword),
    ("network.direction", Keyword),
    ("network.community_id", Keyword),
    ("event.start", Date),
    ("event.end", Date),
    ("event.action", Keyword),
    ("event.outcome", Keyword),
    ("event.kind", Keyword),
    ("event.category", Keyword),
    ("event.type", Keyword),
    ("event.reason", Keyword),
    ("event.original", Text),
    ("related.ip", Ip),
    ("cloud.account.id", Keyword),
    ("cloud.instance.id", Keyword),
    ("cloud.region", Keyword),
    ("cloud.availability_zone", Keyword),
];

/// Fields that an ECS document keeps under `aws.vpcflow`: the record's own, with `_`.
const ECS_REST: &str = "aws.vpcflow";

/// What our template says beside the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) shards: Option<u32>,
    pub(crate) replicas: Option<u32>,
    pub(crate) codec: Codec,
    pub(crate) mode: IndexMode,
    pub(crate) retention: Option<Duration>,
    pub(crate) data_stream: bool,
}

/// Rows are searchable so long after they came: a second, the default, makes a segment each.
const REFRESH: &str = "5s";

// === impl Settings ===

impl Settings {
    fn json(&self, policy: Option<&str>) -> Value {
        let mut index = json!({
            "refresh_interval": REFRESH,
            // What is looked at is mostly new; rows that lie by time compress better, too.
            "sort": {"field": "@timestamp", "order": "desc"},
        });
        if self.codec == Codec::BestCompression {
            index["codec"] = "best_compression".into();
        }
        if self.mode == IndexMode::Logsdb {
            index["mode"] = "logsdb".into();
        }
        if let Some(shards) = self.shards {
            index["number_of_shards"] = shards.into();
        }
        if let Some(replicas) = self.replicas {
            index["number_of_replicas"] = replicas.into();
        }
        if let Some(policy) = policy {
            index["lifecycle"] = json!({"name": policy});
        }
        json!({"index": index})
    }
}

/// The mapping for every style of names. `indexed`: whether numbers must be indexed to be found.
fn mapping(indexed: bool) -> Value {
    let mut properties = Map::new();
    for &(name, kind) in RECORD {
        put(&mut properties, &[name], kind, indexed);
        let snake = name.replace('-', "_");
        put(&mut properties, &[&snake], kind, indexed);
        let below: Vec<&str> = ECS_REST.split('.').chain([snake.as_str()]).collect();
        put(&mut properties, &below, kind, indexed);
    }
    for &(path, kind) in AROUND.iter().chain(ECS) {
        put(&mut properties, &path.split('.').collect::<Vec<_>>(), kind, indexed);
    }
    json!({
        // A text that looks like a date in one document need not in the next.
        "date_detection": false,
        "dynamic_templates": [
            {"geoip_location": {
                "path_match": "*geoip.location", "match_mapping_type": "object", "mapping": Kind::GeoPoint.mapping(indexed)
            }},
            {"geo_location": {
                "path_match": "*.geo.location", "match_mapping_type": "object", "mapping": Kind::GeoPoint.mapping(indexed)
            }},
            {"text_as_keyword": {
                "match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}
            }},
        ],
        "properties": properties,
    })
}

fn put(properties: &mut Map<String, Value>, names: &[&str], kind: Kind, indexed: bool) {
    match names {
        [] => {}
        [name] => {
            properties.insert((*name).to_owned(), kind.mapping(indexed));
        }
        [name, below @ ..] => {
            let object = properties.entry(*name).or_insert_with(|| json!({"properties": {}}));
            if let Some(inner) = object["properties"].as_object_mut() {
                put(inner, below, kind, indexed);
            }
        }
    }
}

/// The body of the request that installs the template.
pub(crate) fn template(
    server: &Server,
    coverage: &Coverage,
    document_type: &str,
    settings: &Settings,
    lifecycle: Option<Lifecycle>,
) -> Value {
    let policy = (lifecycle == Some(Lifecycle::Ilm)).then_some(coverage.name.as_str());
    let (pattern, index) = (&coverage.pattern, settings.json(policy));
    let mapping = mapping(!server.searches_doc_values());
    let dialect = server.template_dialect();
    let mut template = match dialect {
        TemplateDialect::LegacyTyped => {
            json!({"index_patterns": [pattern], "order": 0, "settings": index, "mappings": {document_type: mapping}})
        }
        TemplateDialect::Legacy => {
            json!({"index_patterns": [pattern], "order": 0, "settings": index, "mappings": mapping})
        }
        TemplateDialect::Composable => {
            let mut template = json!({
                "index_patterns": [pattern],
                // Above a catch-all (0), and below what people write by hand (100 and more), who mean theirs; of a data
                // stream above Elastic's own for `logs-*-*` (100).
                "priority": if settings.data_stream { DATA_STREAM_PRIORITY } else { 10 },
                "template": {"settings": index, "mappings": mapping},
            });
            if settings.data_stream {
                template["data_stream"] = json!({});
            }
            if let (Some(Lifecycle::DataStream), Some(retention)) = (lifecycle, settings.retention) {
                template["template"]["lifecycle"] = json!({"data_retention": lifecycle::span(retention)});
            }
            template
        }
    };
    let mark = json!({"version": env!("CARGO_PKG_VERSION"), "hash": hash(&template)});
    let meta = json!({"description": "VPC flow logs, written by flowstone", "flowstone": mark});
    match dialect {
        TemplateDialect::LegacyTyped => template["mappings"][document_type]["_meta"] = meta,
        TemplateDialect::Legacy => template["mappings"]["_meta"] = meta,
        TemplateDialect::Composable => template["_meta"] = meta,
    }
    template
}

/// Above Elastic's own template for `logs-*-*`.
pub(crate) const DATA_STREAM_PRIORITY: u64 = 200;

/// What a template says, whichever server says it: settings as text, mappings without our own mark, in an order.
pub(crate) fn hash(template: &Value) -> String {
    let inner = template.get("template").unwrap_or(template);
    let mut said: Vec<(String, String)> = Vec::new();
    flatten("", &inner["settings"], &mut said);
    for (name, _) in &mut said {
        if !name.starts_with("index.") {
            name.insert_str(0, "index.");
        }
    }
    flatten("mappings", &inner["mappings"], &mut said);
    flatten("patterns", &template["index_patterns"], &mut said);
    flatten("retention", &inner["lifecycle"]["data_retention"], &mut said);
    said.retain(|(name, _)| !name.contains("._meta."));
    said.sort_unstable();
    let digest = digest(&SHA256, format!("{said:?}").as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each value of a tree as text, by its path.
fn flatten(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(&below(name), value, into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, into));
        }
        Value::Null => {}
        Value::String(text) => into.push((path.to_owned(), text.clone())),
        other => into.push((path.to_owned(), other.to_string())),
    }
}

// === impl Kind ===

impl Kind {
    /// A number that need not be indexed is found by its doc values: a few times slower alone, as fast within a time.
    fn mapping(self, indexed: bool) -> Value {
        let mut mapping = match self {
            Self::Keyword => json!({"type": "keyword", "ignore_above": 1024}),
            Self::Text => json!({"type": "text", "norms": false}),
            Self::Ip => json!({"type": "ip"}),
            Self::Integer => json!({"type": "integer", "coerce": true}),
            Self::Long => json!({"type": "long", "coerce": true}),
            Self::Float => json!({"type": "float"}),
            Self::Date => json!({"type": "date", "format": "strict_date_optional_time||epoch_second"}),
            Self::GeoPoint => json!({"type": "geo_point"}),
        };
        if !indexed && matches!(self, Self::Integer | Self::Long | Self::Float) {
            mapping["index"] = false.into();
        }
        mapping
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_style_of_a_field_is_mapped_alike() {
        let mapping = mapping(true);
        let properties = &mapping["properties"];
        for &(name, _) in RECORD {
            let snake = name.replace('-', "_");
            assert_eq!(properties[name], properties[&snake], "{name}");
            assert_eq!(
                properties[name], properties["aws"]["properties"]["vpcflow"]["properties"][&snake],
                "{name}"
            );
        }
    }

    #[test]
    fn the_tables_name_no_field_twice() {
        let mut seen = HashSet::new();
        for &(name, _) in RECORD.iter().chain(AROUND).chain(ECS) {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn locations_are_points_and_their_numbers_are_not() {
        let properties = &mapping(false)["properties"];
        for path in ["src_geoip", "dst_geoip", "geoip"] {
            let location = &properties[path]["properties"]["location"];
            assert_eq!(*location, json!({"type": "geo_point"}), "{path}");
        }
        for side in ["source", "destination"] {
            let location = &properties[side]["properties"]["geo"]["properties"]["location"];
            assert_eq!(*location, json!({"type": "geo_point"}), "{side}");
        }
    }

    fn server(number: &str) -> Server {
        Server::of_root(format!(r#"{{"version":{{"number":"{number}"}}}}"#).as_bytes()).unwrap()
    }

    fn settings() -> Settings {
        Settings {
            shards: None,
            replicas: None,
            codec: Codec::BestCompression,
            mode: IndexMode::Standard,
            retention: None,
            data_stream: false,
        }
    }

    fn coverage() -> Coverage {
        Coverage { name: "flow".to_owned(), pattern: "flow-*".to_owned() }
    }

    #[test]
    fn each_dialect_puts_mapping_and_settings_where_its_servers_look_for_them() {
        let of = |number: &str| template(&server(number), &coverage(), "doc", &settings(), None);
        let (typed, legacy, composable) = (of("6.8.23"), of("7.7.0"), of("8.19.21"));
        for (mappings, settings) in [
            (&typed["mappings"]["doc"], &typed["settings"]),
            (&legacy["mappings"], &legacy["settings"]),
            (&composable["template"]["mappings"], &composable["template"]["settings"]),
        ] {
            assert_eq!(mappings["properties"]["srcaddr"], json!({"type": "ip"}));
            assert_eq!(settings["index"]["codec"], "best_compression");
            assert_eq!(settings["index"]["sort"], json!({"field": "@timestamp", "order": "desc"}));
        }
        for template in [&typed, &legacy, &composable] {
            assert_eq!(template["index_patterns"], json!(["flow-*"]));
        }
        let port = |mappings: &Value| mappings["properties"]["dstport"]["index"].clone();
        assert_eq!(
            (port(&legacy["mappings"]), port(&composable["template"]["mappings"])),
            (Value::Null, json!(false))
        );
    }

    #[test]
    fn settings_and_life_cycles_are_said_as_each_server_knows_them() {
        let month = Some(Duration::from_secs(30 * 86_400));
        let settings = Settings {
            shards: Some(3),
            replicas: Some(0),
            codec: Codec::Default,
            mode: IndexMode::Logsdb,
            retention: month,
            data_stream: true,
        };
        let template =
            template(&server("8.19.21"), &coverage(), "doc", &settings, Some(Lifecycle::DataStream));
        let index = &template["template"]["settings"]["index"];
        assert_eq!(
            (&index["number_of_shards"], &index["number_of_replicas"], &index["mode"], &index["codec"]),
            (&json!(3), &json!(0), &json!("logsdb"), &Value::Null)
        );
        assert_eq!(template["template"]["lifecycle"], json!({"data_retention": "30d"}));
        assert_eq!((&template["data_stream"], &template["priority"]), (&json!({}), &json!(200)));
        let ilm = super::template(&server("7.10.2"), &coverage(), "doc", &settings, Some(Lifecycle::Ilm));
        assert_eq!(ilm["template"]["settings"]["index"]["lifecycle"]["name"], "flow");
    }

    #[test]
    fn a_template_has_one_hash_however_a_server_says_it_back() {
        let ours = template(&server("8.19.21"), &coverage(), "doc", &settings(), None);
        let mut back = ours.clone();
        back["template"]["settings"] = json!({
            "index.codec": "best_compression",
            "index": {"refresh_interval": "5s", "sort": {"order": "desc", "field": "@timestamp"}},
        });
        back["composed_of"] = json!([]);
        assert_eq!(hash(&back), hash(&ours));
        assert_eq!(ours["_meta"]["flowstone"]["hash"], hash(&ours));
        back["template"]["mappings"]["properties"]["mine"] = json!({"type": "keyword"});
        assert_ne!(hash(&back), hash(&ours));
    }
}
