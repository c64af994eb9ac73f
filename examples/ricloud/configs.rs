//! Storage and webhook configurations: the places of results, and the receivers of notices. Their
//! contents don't matter to keys. Every organisation has three of each.

use std::ops::RangeInclusive;

use axum::Json;
use serde_json::{Value, json};

use super::faults::Fault;
use super::resource::Id;

const KNOWN: RangeInclusive<u64> = 1..=3;

/// Tests whether a configuration of this number exists. Both sorts have the same numbers.
pub(crate) fn exists(id: u64) -> bool {
    KNOWN.contains(&id)
}

pub(crate) async fn storage(Id(id): Id) -> Result<Json<Value>, Fault> {
    config(id.get(), "storage_config")
}

pub(crate) async fn webhook(Id(id): Id) -> Result<Json<Value>, Fault> {
    config(id.get(), "webhook_config")
}

fn config(id: u64, resource: &str) -> Result<Json<Value>, Fault> {
    let known = exists(id).then(|| Json(json!({"id": id, "resource": resource})));
    known.ok_or_else(Fault::not_found)
}
