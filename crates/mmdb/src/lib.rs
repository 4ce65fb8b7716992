//! A reader of MaxMind DB files that looks addresses up in bulk and reads records where they lie, by their offsets.
//!
//! It takes the bytes of a file: it does no I/O, spawns nothing and contains no `unsafe`.
#![forbid(unsafe_code)]

mod data;
mod database;
mod record;
mod tree;

pub use data::Damaged;
pub use database::Database;
pub use record::{AreaCache, Record};
