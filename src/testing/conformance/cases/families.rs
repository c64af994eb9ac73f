//! All cases of the suite.

use super::{
    atomic, damage, durable, error, order, query_events, query_key_filters, query_keys,
    query_newest_events, query_owners, query_scan, race, request, rule_alerts, rule_counts,
    rule_lapses, rule_names, rule_numeric_ids, rule_owners, rule_preconditions, rule_records,
    rule_store, size, sweep, usage, usage_quota, wait,
};
use crate::testing::conformance::Case;

/// The lists of all files.
const FAMILIES: &[&[Case]] = &[
    atomic::CASES,
    rule_records::CASES,
    rule_preconditions::CASES,
    rule_owners::CASES,
    rule_names::CASES,
    rule_numeric_ids::CASES,
    rule_counts::CASES,
    rule_lapses::CASES,
    rule_store::CASES,
    rule_alerts::CASES,
    sweep::CASES,
    request::CASES,
    damage::CASES,
    order::CASES,
    race::CASES,
    wait::CASES,
    durable::CASES,
    error::CASES,
    query_scan::CASES,
    query_keys::CASES,
    query_key_filters::CASES,
    query_owners::CASES,
    query_events::CASES,
    query_newest_events::CASES,
    size::CASES,
    usage::CASES,
    usage_quota::CASES,
];

/// Lists all cases, family by family.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    FAMILIES.iter().copied().flatten()
}
