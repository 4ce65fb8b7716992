//! Bytes to lines to batches, for every source of lines: cut at newlines without a copy, given ids, decoded as text or
//! as JSON; out of gzip, and with AWS's header lines known. And the way back: [`SharedLineFiles`], files that lines are appended to.
//!
//! A source reads bytes, from wherever, into [`Lines`] and takes batches out. Nothing here is spawned.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod cut;
mod decode;
mod gzip;
mod header;
mod line_files;
mod lines;
mod unsynced;

pub use decode::INVALID_UTF8_TAG;
pub use gzip::GzipMembers;
pub use header::flow_log_format;
pub use line_files::{LineFileOptions, SharedLineFiles, WriteError, is_out_of_descriptors};
pub use lines::{Decoding, LONG_LINE_HEAD, LineBatch, LineIds, LineOptions, Lines};
