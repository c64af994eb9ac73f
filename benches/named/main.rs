//! Single calls by name, for whoever tunes one of them: `cargo bench --bench named -- verify/hit`.
//!
//! The figures that the project promises are ratios, and come from the bench `ratios`. Here every
//! call is measured alone, by criterion, which also compares it with the run before.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used)]

mod lifecycle;
#[path = "../ratios/synthetic.rs"]
mod synthetic;
mod verify;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, verify::benches, lifecycle::benches);
criterion_main!(benches);
