//! flowstone transform that looks addresses up in MaxMind databases as Logstash's geoip filter does.
//!
//! Options, layouts and every document that comes out follow Logstash; how it gets there does not. A database is read
//! into memory once for the whole program and taken anew when its file changes; a record is decoded once, to the JSON
//! text in which sinks write it, and shared by every event whose address it is about.

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
    example: "source = \"srcaddr\"\ntarget = \"src_geoip\"\ndatabase = \"/usr/share/GeoIP/GeoLite2-City.mmdb\"",
    build: options::build,
}
