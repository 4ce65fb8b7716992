//! Regular expressions in Oniguruma's syntax, Ruby's, with grok's `%{NAME:field:type}` in them where the caller has
//! names: parsing, analysis, and three engines that give the same answers.
#![forbid(unsafe_code)]

mod ast;
mod backtrack;
mod budget;
mod charset;
mod class;
mod cursor;
mod dfa;
mod error;
mod fast;
mod fast_run;
mod first;
mod lazy_dfa;
mod linear;
mod machine;
mod matcher;
mod names;
mod nfa;
mod parse;
mod reference;
mod regex;
mod simplify;

#[cfg(test)]
mod tests;

pub use budget::{Budget, GaveUp};
pub use error::{PatternError, Source};
pub use matcher::{Engine, Matcher, Scratch};
pub use names::{Definitions, NameError};
pub use regex::Regex;
