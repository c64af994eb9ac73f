//! What the metrics are called, and what they say.

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

/// The label of what came of something.
pub(super) const OUTCOME: &str = "outcome";
/// The label of a management call's name.
pub(super) const CALL: &str = "call";

pub(super) fn describe_store() {
    describe_counter!(VERIFICATIONS, Unit::Count, "Tokens judged, by outcome");
    describe_counter!(CALLS, Unit::Count, "Management calls, by name and outcome");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "How long a management call took");
    describe_gauge!(INDEX_TOKENS, Unit::Count, "Live tokens in the verification index");
    describe_gauge!(
        STALENESS_SECONDS,
        Unit::Seconds,
        "How old what is known of other processes is"
    );
    describe_gauge!(READY, Unit::Count, "1 if the store can answer for every key, else 0");
}

pub(super) fn describe_backend() {
    describe_counter!(COMMITS, Unit::Count, "Durable steps, by outcome");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "How long a durable step took");
    describe_histogram!(COMMIT_CHANGES, Unit::Count, "How many callers' changes one step joined");
}
