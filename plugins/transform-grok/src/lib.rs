//! flowstone transform that parses text with grok patterns as Logstash does.
//!
//! A pattern is a regular expression in Oniguruma's syntax in which `%{NUMBER:packets:float}` stands for another
//! pattern whose text becomes a field. The shipped library, the options and every document that comes out follow
//! Logstash; the engines do not: a pattern gets the fastest of three that provably gives the same answer
//! (`flowstone-regex`).

mod columns;
mod library;
mod names;
mod options;
mod pattern;
mod text;
mod transform;

use flowstone_core::prelude::*;
use options::GrokOptions;

register_transform! {
    "grok",
    summary: "parses text with named regular expressions, as Logstash's grok filter does",
    options: GrokOptions,
    example: "match = { message = \"%{IP:srcaddr} %{IP:dstaddr} %{NUMBER:bytes:int}\" }",
    build: options::build,
}
