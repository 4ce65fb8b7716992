//! How the fields of a flow log are mapped: one table, from which the template of every server version is written.

use serde_json::{Map, Value, json};

use crate::server::TemplateDialect;

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

/// The mapping for every style of names.
fn mapping() -> Value {
    let mut properties = Map::new();
    for &(name, kind) in RECORD {
        put(&mut properties, &[name], kind);
        let snake = name.replace('-', "_");
        put(&mut properties, &[&snake], kind);
        let below: Vec<&str> = ECS_REST.split('.').chain([snake.as_str()]).collect();
        put(&mut properties, &below, kind);
    }
    for &(path, kind) in AROUND.iter().chain(ECS) {
        put(&mut properties, &path.split('.').collect::<Vec<_>>(), kind);
    }
    json!({
        // A text that looks like a date in one document need not in the next.
        "date_detection": false,
        "dynamic_templates": [
            {"geoip_location": {
                "path_match": "*geoip.location", "match_mapping_type": "object", "mapping": Kind::GeoPoint.mapping()
            }},
            {"geo_location": {
                "path_match": "*.geo.location", "match_mapping_type": "object", "mapping": Kind::GeoPoint.mapping()
            }},
            {"text_as_keyword": {
                "match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}
            }},
        ],
        "properties": properties,
    })
}

fn put(properties: &mut Map<String, Value>, names: &[&str], kind: Kind) {
    match names {
        [] => {}
        [name] => {
            properties.insert((*name).to_owned(), kind.mapping());
        }
        [name, below @ ..] => {
            let object = properties.entry(*name).or_insert_with(|| json!({"properties": {}}));
            if let Some(inner) = object["properties"].as_object_mut() {
                put(inner, below, kind);
            }
        }
    }
}

/// The body of the request that installs the template.
pub(crate) fn template(dialect: TemplateDialect, pattern: &str, document_type: &str) -> Value {
    match dialect {
        TemplateDialect::LegacyTyped => {
            json!({"index_patterns": [pattern], "order": 0, "mappings": {document_type: mapping()}})
        }
        TemplateDialect::Legacy => json!({"index_patterns": [pattern], "order": 0, "mappings": mapping()}),
        TemplateDialect::Composable => json!({
            "index_patterns": [pattern],
            // Above a catch-all (0) and below what people write by hand (100 and more), who mean theirs.
            "priority": 10,
            "template": {"mappings": mapping()},
            "_meta": {"description": "VPC flow logs, written by flowstone"},
        }),
    }
}

// === impl Kind ===

impl Kind {
    fn mapping(self) -> Value {
        match self {
            Self::Keyword => json!({"type": "keyword", "ignore_above": 1024}),
            Self::Text => json!({"type": "text", "norms": false}),
            Self::Ip => json!({"type": "ip"}),
            Self::Integer => json!({"type": "integer", "coerce": true}),
            Self::Long => json!({"type": "long", "coerce": true}),
            Self::Float => json!({"type": "float"}),
            Self::Date => json!({"type": "date", "format": "strict_date_optional_time||epoch_second"}),
            Self::GeoPoint => json!({"type": "geo_point"}),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_style_of_a_field_is_mapped_alike() {
        let mapping = mapping();
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
        let properties = &mapping()["properties"];
        for path in ["src_geoip", "dst_geoip", "geoip"] {
            let location = &properties[path]["properties"]["location"];
            assert_eq!(*location, json!({"type": "geo_point"}), "{path}");
        }
        for side in ["source", "destination"] {
            let location = &properties[side]["properties"]["geo"]["properties"]["location"];
            assert_eq!(*location, json!({"type": "geo_point"}), "{side}");
        }
    }

    #[test]
    fn each_dialect_puts_the_mapping_where_its_servers_look_for_it() {
        let mapping = mapping();
        let typed = template(TemplateDialect::LegacyTyped, "flow-*", "doc");
        assert_eq!(typed["mappings"]["doc"], mapping);
        let legacy = template(TemplateDialect::Legacy, "flow-*", "doc");
        assert_eq!(legacy["mappings"], mapping);
        let composable = template(TemplateDialect::Composable, "flow-*", "doc");
        assert_eq!(composable["template"]["mappings"], mapping);
        for template in [typed, legacy, composable] {
            assert_eq!(template["index_patterns"], json!(["flow-*"]));
        }
    }
}
