//! Regular expressions in Oniguruma's syntax: parsing, analysis, and three engines that give the same answers.

pub(crate) mod ast;
pub(crate) mod backtrack;
pub(crate) mod charset;
mod class;
pub(crate) mod error;
pub(crate) mod first;
pub(crate) mod parse;
