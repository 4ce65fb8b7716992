//! Logstash's language, as plugins and configurations speak it: conditions, `%{field}` templates, what every filter can
//! add and remove, the date formats of Joda and java.time, and Ruby's reading of numbers.
//!
//! Each is parsed once, with its mistakes told by place, and then runs over a whole batch. Nothing here does I/O.
#![forbid(unsafe_code)]

mod access;
mod calendar;
mod coerce;
mod condition;
mod date_letters;
mod decorate;
mod destinations;
mod expr;
mod java_time;
mod joda;
mod template;

pub use coerce::{to_f, to_i};
pub use condition::{Condition, Selection};
pub use decorate::Decorations;
pub use destinations::Destinations;
pub use expr::ExprError;
pub use flowstone_regex as regex;
pub use joda::{DateFormat, DateToken};
pub use template::{BoundTemplate, Template};
