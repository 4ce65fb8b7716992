//! Regular expressions in Oniguruma's syntax: parsing, analysis, and three engines that give the same answers.

pub(crate) mod ast;
pub(crate) mod backtrack;
pub(crate) mod charset;
mod class;
mod dfa;
pub(crate) mod error;
pub(crate) mod fast;
pub(crate) mod fast_run;
pub(crate) mod first;
pub(crate) mod linear;
mod nfa;
pub(crate) mod parse;
pub(crate) mod simplify;

#[cfg(test)]
mod tests;
