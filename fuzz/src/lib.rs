//! The bodies of the fuzz targets, which the crate's test `fuzz` shares.

#[path = "../../tests/fuzz/targets/mod.rs"]
pub mod targets;
