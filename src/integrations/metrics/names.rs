//! Names and descriptions of the metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const VERIFICATIONS: &str = "keyhasp_verifications_total";
pub(super) const RECHECKS: &str = "keyhasp_rechecks_total";
pub(super) const CALLS: &str = "keyhasp_calls_total";
pub(super) const CALL_SECONDS: &str = "keyhasp_call_duration_seconds";
pub(super) const COMMITS: &str = "keyhasp_commits_total";
pub(super) const COMMIT_SECONDS: &str = "keyhasp_commit_duration_seconds";
pub(super) const COMMIT_CHANGES: &str = "keyhasp_commit_changes";
pub(super) const USAGE_WRITES: &str = "keyhasp_usage_writes_total";
pub(super) const LEASE_WRITES: &str = "keyhasp_lease_writes_total";
#[cfg(feature = "tower")]
pub(super) const REQUESTS: &str = "keyhasp_requests_total";
pub(super) const INDEX_TOKENS: &str = "keyhasp_index_tokens";
pub(super) const STALENESS_SECONDS: &str = "keyhasp_staleness_seconds";
pub(super) const READY: &str = "keyhasp_ready";
pub(super) const PROBLEMS: &str = "keyhasp_problems";
pub(super) const THREAD_FAILING: &str = "keyhasp_thread_failing";
pub(super) const LAST_EVENT: &str = "keyhasp_last_event";
pub(super) const LAST_WRITE: &str = "keyhasp_last_write_timestamp_seconds";
pub(super) const FILE_BYTES: &str = "keyhasp_file_bytes";
pub(super) const LOG_BYTES: &str = "keyhasp_log_bytes";
pub(super) const FREE_BYTES: &str = "keyhasp_free_bytes";

/// The label that holds the name of a background thread.
pub(super) const THREAD: &str = "thread";
/// The label that holds an outcome.
pub(super) const OUTCOME: &str = "outcome";
/// The label that holds the name of a management call.
pub(super) const CALL: &str = "call";

pub(super) fn describe_store() {
    describe_counter!(VERIFICATIONS, Unit::Count, "Verifications, by outcome");
    describe_counter!(RECHECKS, Unit::Count, "Rechecks of verified keys, by outcome");
    describe_counter!(CALLS, Unit::Count, "Management calls, by name and outcome");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Duration of a management call");
    describe_gauge!(INDEX_TOKENS, Unit::Count, "Live tokens in the verification index");
    describe_gauge!(
        STALENESS_SECONDS,
        Unit::Seconds,
        "Age of the last look at other processes' commits"
    );
    describe_gauge!(READY, Unit::Count, "1 if the store can answer for every key, 0 if not");
    describe_gauge!(PROBLEMS, Unit::Count, "Reasons for which an operator has to look");
    describe_gauge!(THREAD_FAILING, Unit::Count, "1 if a background thread's work fails, 0 if not");
    describe_gauge!(LAST_EVENT, Unit::Count, "Number of the newest event");
    describe_gauge!(LAST_WRITE, Unit::Seconds, "Unix time of the last durable write");
    describe_gauge!(FILE_BYTES, Unit::Bytes, "Size of the database without its log");
    describe_gauge!(LOG_BYTES, Unit::Bytes, "Size of the write-ahead log");
    describe_gauge!(FREE_BYTES, Unit::Bytes, "Room that is left on the file system");
}

pub(super) fn describe_backend() {
    describe_counter!(COMMITS, Unit::Count, "Commits of changes, by outcome");
    describe_counter!(USAGE_WRITES, Unit::Count, "Writes of usage figures, by outcome");
    describe_counter!(LEASE_WRITES, Unit::Count, "Writes of quota leases, by outcome");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Duration of a commit");
    describe_histogram!(COMMIT_CHANGES, Unit::Count, "Changes that one commit joined");
}

#[cfg(feature = "tower")]
pub(super) fn describe_layer() {
    describe_counter!(REQUESTS, Unit::Count, "Requests that the layer judged, by outcome");
}
