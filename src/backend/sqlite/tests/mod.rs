//! Tests of what shows from inside alone: plans of queries, damaged rows, failing commits,
//! recovery. What shows through the contract is in `tests/sqlite` and in the conformance suite.

mod connections;
mod damage;
mod failures;
mod fixtures;
mod free_pages;
mod many;
mod network;
mod plans;
mod recovery;
