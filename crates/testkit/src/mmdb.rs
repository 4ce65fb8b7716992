//! A small writer of MaxMind databases (specification 2.0), so that every rule can be shown on a database made for it.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};

/// A database in the making.
pub struct Mmdb {
    database_type: String,
    ip_version: u16,
    record_size: u16,
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
    /// Where each value lies that was written before: texts, and records whole.
    known: HashMap<Vec<u8>, u32>,
    floats_are_short: bool,
    maps_are_shared: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Child {
    Nothing,
    Node(u32),
    Data(u32),
}

// === impl Mmdb ===

impl Mmdb {
    /// An empty database of both kinds of address.
    pub fn new(database_type: &str) -> Self {
        Self {
            database_type: database_type.to_owned(),
            ip_version: 6,
            record_size: 28,
            nodes: vec![[Child::Nothing; 2]],
            data: Vec::new(),
            known: HashMap::new(),
            floats_are_short: false,
            maps_are_shared: false,
        }
    }

    /// IPv4 only.
    pub fn v4_only(mut self) -> Self {
        self.ip_version = 4;
        self
    }

    /// With numbers of so many bits in the tree.
    pub fn record_size(mut self, bits: u16) -> Self {
        self.record_size = bits;
        self
    }

    /// With floats of 32 bits.
    pub fn short_floats(mut self) -> Self {
        self.floats_are_short = true;
        self
    }

    /// With maps and lists that records point at, as MaxMind's own writer has them.
    pub fn shared_maps(mut self) -> Self {
        self.maps_are_shared = true;
        self
    }

    /// With this record for a network.
    pub fn with(mut self, network: &str, record: Json) -> Self {
        self.insert(network, &record);
        self
    }

    /// Gives a network this record; a narrower one that was there before is covered.
    pub fn insert(&mut self, network: &str, record: &Json) {
        let (address, length) = network.split_once('/').expect("a network");
        let length: u32 = length.parse().expect("a length");
        let (bits, length) = match address.parse::<IpAddr>().expect("an address") {
            IpAddr::V4(ip) if self.ip_version == 4 => (u128::from(u32::from(ip)) << 96, length),
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), length + 96),
            IpAddr::V6(ip) => (u128::from(ip), length),
        };
        let mut encoded = Vec::new();
        self.encode(record, &mut encoded);
        let place = self.keep(encoded);
        let mut node = 0;
        for depth in 0..length {
            let bit = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                self.nodes[node][bit] = Child::Data(place);
                return;
            }
            node = match self.nodes[node][bit] {
                Child::Node(next) => next as usize,
                // A wider network was there: what is not covered keeps it.
                wider => {
                    self.nodes.push([wider; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][bit] = Child::Node(next as u32);
                    next
                }
            };
        }
    }

    /// With a tree of so many nodes, each of which leads to the next one on both sides, and the last to nothing: two
    /// to the power of `nodes` ways.
    pub fn ladder(mut self, nodes: u32) -> Self {
        self.nodes = (1..nodes).map(|next| [Child::Node(next); 2]).collect();
        self.nodes.push([Child::Nothing; 2]);
        self
    }

    fn keep(&mut self, encoded: Vec<u8>) -> u32 {
        if let Some(place) = self.known.get(&encoded) {
            return *place;
        }
        let place = self.data.len() as u32;
        self.data.extend_from_slice(&encoded);
        self.known.insert(encoded, place);
        place
    }

    fn encode(&mut self, value: &Json, out: &mut Vec<u8>) {
        match value {
            Json::String(text) => {
                let mut encoded = Vec::new();
                control(2, text.len(), &mut encoded);
                encoded.extend_from_slice(text.as_bytes());
                // Texts are written once and pointed at, as MaxMind's own writer has it.
                if text.len() > 3 {
                    let place = self.keep(encoded);
                    pointer(place, out);
                } else {
                    out.extend(encoded);
                }
            }
            Json::Number(number) => match number.as_u64() {
                Some(number) => whole(if number > u64::from(u32::MAX) { U64 } else { U32 }, number, out),
                None if self.floats_are_short => {
                    control(15, 4, out);
                    out.extend((number.as_f64().expect("a float") as f32).to_be_bytes());
                }
                None => {
                    control(3, 8, out);
                    out.extend(number.as_f64().expect("a float").to_be_bytes());
                }
            },
            Json::Bool(flag) => control(14, usize::from(*flag), out),
            Json::Array(items) => {
                control(11, items.len(), out);
                items.iter().for_each(|item| self.encode(item, out));
            }
            Json::Object(members) => {
                control(7, members.len(), out);
                for (name, value) in members {
                    self.encode(&Json::from(name.as_str()), out);
                    if self.maps_are_shared && (value.is_object() || value.is_array()) {
                        let mut encoded = Vec::new();
                        self.encode(value, &mut encoded);
                        pointer(self.keep(encoded), out);
                    } else {
                        self.encode(value, out);
                    }
                }
            }
            Json::Null => panic!("the format has no null"),
        }
    }

    /// The file.
    pub fn bytes(mut self) -> Vec<u8> {
        let count = self.nodes.len() as u32;
        let number = |child: Child| match child {
            Child::Nothing => count,
            Child::Node(node) => node,
            Child::Data(place) => count + 16 + place,
        };
        let mut file = Vec::new();
        for node in &self.nodes {
            let [left, right] = node.map(number);
            let [a, b] = [left.to_be_bytes(), right.to_be_bytes()];
            match self.record_size {
                24 => file.extend([a[1], a[2], a[3], b[1], b[2], b[3]]),
                28 => file.extend([a[1], a[2], a[3], a[0] << 4 | b[0], b[1], b[2], b[3]]),
                32 => file.extend(a.into_iter().chain(b)),
                other => panic!("{other} bits"),
            }
        }
        file.extend([0; 16]);
        file.append(&mut self.data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        // Metadata have a data section of their own; nothing in it is pointed at.
        let mut metadata = Vec::new();
        control(7, 9, &mut metadata);
        let text = |text: &str, out: &mut Vec<u8>| {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        };
        // The types are part of the format.
        for (name, kind, number) in [
            ("binary_format_major_version", U16, 2),
            ("binary_format_minor_version", U16, 0),
            ("build_epoch", U64, 1_764_000_000),
            ("ip_version", U16, u64::from(self.ip_version)),
            ("node_count", U32, u64::from(count)),
            ("record_size", U16, u64::from(self.record_size)),
        ] {
            text(name, &mut metadata);
            whole(kind, number, &mut metadata);
        }
        text("database_type", &mut metadata);
        text(&self.database_type, &mut metadata);
        text("description", &mut metadata);
        control(7, 0, &mut metadata);
        text("languages", &mut metadata);
        control(11, 0, &mut metadata);
        file.extend(metadata);
        file
    }
}

const U16: u8 = 5;
const U32: u8 = 6;
const U64: u8 = 9;

/// A whole number without the zeros in front.
fn whole(kind: u8, number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(8);
    control(kind, 8 - start, out);
    out.extend_from_slice(&bytes[start..]);
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (first, rest) = match size {
        0..29 => (size as u8, Vec::new()),
        29..285 => (29, vec![(size - 29) as u8]),
        285..65_821 => (30, ((size - 285) as u16).to_be_bytes().to_vec()),
        _ => (31, ((size - 65_821) as u32).to_be_bytes()[1..].to_vec()),
    };
    if kind <= 7 {
        out.push(kind << 5 | first);
    } else {
        out.extend([first, kind - 7]);
    }
    out.extend(rest);
}

fn pointer(place: u32, out: &mut Vec<u8>) {
    match place {
        0..2048 => out.extend([0x20 | (place >> 8) as u8, place as u8]),
        2048..526_336 => {
            let [_, a, b, c] = (place - 2048).to_be_bytes();
            out.extend([0x28 | a, b, c]);
        }
        526_336..134_744_064 => {
            let [a, b, c, d] = (place - 526_336).to_be_bytes();
            out.extend([0x30 | a, b, c, d]);
        }
        _ => {
            out.push(0x38);
            out.extend(place.to_be_bytes());
        }
    }
}

/// A record of a City database, as MaxMind's have it.
pub fn city(
    name: &str,
    country: (&str, &str),
    region: (&str, &str),
    [latitude, longitude]: [f64; 2],
) -> Json {
    json!({
        "city": { "geoname_id": 2_643_743, "names": { "de": format!("{name}burg"), "en": name } },
        "continent": { "code": "EU", "geoname_id": 6_255_148, "names": { "en": "Europe" } },
        "country": { "iso_code": country.0, "names": { "en": country.1, "fr": "quelque part" } },
        "location": { "accuracy_radius": 10, "latitude": latitude, "longitude": longitude, "metro_code": 819, "time_zone": "Europe/London" },
        "postal": { "code": "OX1" },
        "registered_country": { "iso_code": "US", "names": { "en": "United States" } },
        "subdivisions": [{ "iso_code": "XX", "names": { "en": "wide" } }, { "iso_code": region.0, "names": { "en": region.1 } }],
    })
}

/// What Logstash makes of a City record, by the tables of its documentation and the slow way; nothing where it knows
/// no place. Shares nothing with the transform, which is compared with it.
pub fn logstash_object(record: &Json, ip: IpAddr, ecs: bool) -> Option<Json> {
    let ip = in_full(ip);
    let text = |pointer: &str| record.pointer(pointer).filter(|value| value.is_string()).cloned();
    let number = |pointer: &str| record.pointer(pointer).and_then(Json::as_f64).map(Json::from);
    let (lat, lon) = (number("/location/latitude"), number("/location/longitude"));
    if lat.is_none() && lon.is_none() {
        return None;
    }
    let last = record["subdivisions"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let country = text("/country/iso_code");
    let region = last["iso_code"].as_str().map(Json::from);
    let joined = country.as_ref().zip(region.as_ref()).map(|(country, region)| {
        Json::from(format!(
            "{}-{}",
            country.as_str().unwrap_or_default(),
            region.as_str().unwrap_or_default()
        ))
    });
    let point = lat.clone().zip(lon.clone()).map(|(lat, lon)| json!({ "lat": lat, "lon": lon }));
    let dma = record.pointer("/location/metro_code").cloned();
    let present = |members: Vec<(&str, Option<Json>)>| {
        let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        members.collect::<Map<String, Json>>()
    };
    let mut both = vec![
        ("city_name", text("/city/names/en")),
        ("continent_code", text("/continent/code")),
        ("country_name", text("/country/names/en")),
        ("postal_code", text("/postal/code")),
        ("region_name", last["names"]["en"].as_str().map(Json::from)),
        ("timezone", text("/location/time_zone")),
    ];
    Some(if ecs {
        let location = point.or_else(|| Some(Json::Object(present(vec![("lat", lat), ("lon", lon)]))));
        both.extend([("country_iso_code", country), ("region_iso_code", joined), ("location", location)]);
        let mut document = json!({ "ip": ip, "geo": present(both) });
        if let Some(dma) = dma {
            document["mmdb"] = json!({ "dma_code": dma });
        }
        document
    } else {
        both.extend([
            ("ip", Some(Json::from(ip))),
            ("country_code2", country.clone()),
            ("country_code3", country),
            ("region_code", region),
            ("location", point),
            ("latitude", lat),
            ("longitude", lon),
            ("dma_code", dma),
        ]);
        Json::Object(present(both))
    })
}

/// An IPv6 address with all its groups.
fn in_full(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|group| format!("{group:x}")).join(":"),
    }
}
