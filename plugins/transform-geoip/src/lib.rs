//! flowstone transform that looks addresses up in MaxMind databases as Logstash's geoip filter does.
//!
//! Options, layouts and documents are Logstash's; the implementation is not. A database is read into memory once for the
//! whole program and reloaded when its file changes. A record is decoded once, to the JSON text in which sinks write it,
//! and that text is shared by all events with an address of the record.

mod address;
mod cache;
mod database;
mod field;
mod kind;
mod look;
mod open;
mod options;
mod render;
mod transform;
mod write;

use flowstone_core::prelude::*;
use options::GeoipOptions;

register_transform! {
    "geoip",
    summary: "looks addresses up in MaxMind databases: where they are, whose they are",
    options: GeoipOptions,
    metrics: transform::GeoipMetrics,
    example: "source = \"srcaddr\"\ntarget = \"src_geoip\"\ndatabase = \"/usr/share/GeoIP/GeoLite2-City.mmdb\"",
    build: options::build,
}
