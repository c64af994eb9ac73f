//! Names and descriptions of the metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const VERIFICATIONS: &str = "keyhasp_verifications_total";
pub(super) const CALLS: &str = "keyhasp_calls_total";
pub(super) const CALL_SECONDS: &str = "keyhasp_call_seconds";
pub(super) const COMMITS: &str = "keyhasp_commits_total";
pub(super) const COMMIT_SECONDS: &str = "keyhasp_commit_seconds";
pub(super) const COMMIT_CHANGES: &str = "keyhasp_commit_changes";
pub(super) const INDEX_TOKENS: &str = "keyhasp_index_tokens";
pub(super) const STALENESS_SECONDS: &str = "keyhasp_staleness_seconds";
pub(super) const READY: &str = "keyhasp_ready";

/// The label that holds an outcome.
pub(super) const OUTCOME: &str = "outcome";
/// The label that holds the name of a management call.
pub(super) const CALL: &str = "call";

pub(super) fn describe_store() {
    describe_counter!(VERIFICATIONS, Unit::Count, "Verifications, by outcome");
    describe_counter!(CALLS, Unit::Count, "Management calls, by name and outcome");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Duration of a management call");
    describe_gauge!(INDEX_TOKENS, Unit::Count, "Live tokens in the verification index");
    describe_gauge!(
        STALENESS_SECONDS,
        Unit::Seconds,
        "Age of the last look at other processes' commits"
    );
    describe_gauge!(READY, Unit::Count, "1 if the store can answer for every key, 0 if not");
}

pub(super) fn describe_backend() {
    describe_counter!(COMMITS, Unit::Count, "Commits of changes, by outcome");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Duration of a commit");
    describe_histogram!(COMMIT_CHANGES, Unit::Count, "Changes that one commit joined");
}
