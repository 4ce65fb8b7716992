//! The whole source as the engine drives it, on real files and a clock that the test moves.
//!
//! What each line is given out as is collected like a sink collects it: a document for each id. [`rig`] says what no
//! run may ever do; the other modules are the ways in which files are written, rotated and lost.

mod edges;
mod finding;
mod histories;
mod lines;
mod measure;
mod restarts;
mod rig;
mod rotation;

use source_file as _;
