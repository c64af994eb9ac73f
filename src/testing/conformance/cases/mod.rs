//! The cases, a file for each group of promises.
//!
//! A file lists its cases with `list!`, and `families` lists the files. A
//! function that is in no list is never used, and does not compile.
#![deny(dead_code)]

mod atomic;
mod damage;
mod durable;
mod error;
mod families;
mod order;
mod query_events;
mod query_key_filters;
mod query_keys;
mod query_newest_events;
mod query_owners;
mod query_scan;
mod race;
mod request;
mod rule_alerts;
mod rule_counts;
mod rule_lapses;
mod rule_names;
mod rule_numeric_ids;
mod rule_owners;
mod rule_preconditions;
mod rule_records;
mod rule_store;
mod size;
mod sweep;
mod usage;
mod usage_quota;
mod wait;

pub use families::cases;
