//! The event of flowstone: a [`Batch`] of columns with a row face.
//!
//! Per-event maps are what makes log shippers slow, so events travel in batches: one [`Schema`], one [`Column`]
//! per field, strings as references into shared [`Page`]s. A plugin author need not know that: the row face
//! ([`Batch::rows`]) reads and writes fields of one event at a time and is the documented way. Columns are for
//! the few transforms that every record passes.
//!
//! This crate does no I/O, spawns nothing and contains no `unsafe`.
#![forbid(unsafe_code)]

mod batch;
mod bits;
mod column;
mod fields;
mod float;
mod id;
mod ndjson;
mod object;
mod objects;
mod out;
mod overlay;
mod page;
mod path;
mod prefetch;
mod row;
mod schema;
mod tags;
mod time;
mod value;

pub use batch::{Act, Batch, Reject};
pub use bits::BitSet;
pub use column::{ABSENT_FLOAT_BITS, ABSENT_INT, ABSENT_TAGS, Cell, Column, StrRef};
pub use fields::SetError;
pub use float::{format_java_f64, java_f64};
pub use id::RowId;
pub use ndjson::{EncodeOptions, JsonRows, write_json_cell, write_json_str, write_json_value};
pub use object::{MemberName, ObjectText, ObjectWriter};
pub use objects::{ObjectArena, ObjectCell, Objects};
pub use out::Digits;
pub use page::{Page, needs_escape};
pub use path::{METADATA, Path, PathError, TIMESTAMP, VERSION};
pub use prefetch::prefetch;
pub use row::{Row, RowView};
pub use schema::Schema;
pub use time::{Civil, format_iso_millis, parse_iso_millis, push_iso_millis};
pub use value::{Map, Value};
