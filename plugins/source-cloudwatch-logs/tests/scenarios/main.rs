//! What the source promises, by the source itself over a simulated service: the ledger's own property test is in
//! `src/properties.rs`.

mod accounts;
mod backfill;
mod groups;
mod reading;
mod rig;
mod trouble;
