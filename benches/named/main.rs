//! Single calls by name, for tuning one of them: `cargo bench -p keyhasp-named -- verify/hit`.
//!
//! The figures that the project promises are ratios, and come from the bench `ratios`. Here
//! criterion measures every call alone, and compares it with the run before.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used)]

mod lifecycle;
#[path = "../ratios/synthetic.rs"]
mod synthetic;
mod verify;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, verify::benches, lifecycle::benches);
criterion_main!(benches);
