//! The cases, a file for each group of promises.
//!
//! A file lists its cases with `list!`, and [`FAMILIES`] lists the files. A function that is in no
//! list is never used, and doesn't compile.
#![deny(dead_code)]

use super::Failure;
use super::case::Case;

mod atomic;
mod durable;
mod error;
mod order;
mod query_events;
mod query_keys;
mod query_owners;
mod query_scan;
mod race;
mod rule_counts;
mod rule_external_ids;
mod rule_names;
mod rule_owners;
mod rule_preconditions;
mod rule_records;
mod rule_store;
mod size;
mod wait;

/// The lists of all files.
pub(super) const FAMILIES: &[&[Case]] = &[
    atomic::CASES,
    rule_records::CASES,
    rule_preconditions::CASES,
    rule_owners::CASES,
    rule_names::CASES,
    rule_external_ids::CASES,
    rule_counts::CASES,
    rule_store::CASES,
    order::CASES,
    race::CASES,
    wait::CASES,
    durable::CASES,
    error::CASES,
    query_scan::CASES,
    query_keys::CASES,
    query_owners::CASES,
    query_events::CASES,
    size::CASES,
];

/// A record that should have been shown.
#[track_caller]
fn missing(what: &str, id: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what} {id} isn't shown"))
}
