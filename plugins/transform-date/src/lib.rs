//! `date` reads dates out of a field and makes them the event's time, as Logstash's filter of that name does: epoch
//! seconds and milliseconds, ISO 8601, TAI64N and patterns in Joda-Time's letters.
//!
//! A batch is read column by column and the instants go into one column. What Joda-Time accepts is accepted here and
//! nothing else; time zones are those of the machine's database, read by jiff.

mod bucket;
mod calendar;
mod epoch;
mod format;
mod iso;
mod names;
mod offset;
mod options;
mod pattern;
mod transform;
mod zone;

use flowstone_core::prelude::*;
use options::DateOptions;

register_transform! {
    "date",
    summary: "reads a date out of a field and makes it the event's time",
    options: DateOptions,
    example: "match = [\"start\", \"UNIX\"]\ntarget = \"start_time\"",
    build: options::build,
}
