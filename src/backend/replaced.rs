//! A record before and after a change.

use crate::clock::Timestamp;
use crate::key::{Grant, Limits, QuotaState, VersionedQuota};

/// A record that a change creates, replaces or removes.
pub(super) struct Replaced<T> {
    pub(super) before: Option<T>,
    pub(super) after: Option<T>,
}

impl<T> Replaced<T> {
    /// Returns the quota before and after.
    pub(super) fn quotas(&self, limits: impl Fn(&T) -> &Limits) -> [Option<VersionedQuota>; 2] {
        let quota = |record: &T| Some(limits(record).quota?.value);
        [&self.before, &self.after].map(|record| record.as_ref().and_then(quota))
    }
}

/// Returns the quota that a change sets, which then has another version.
pub(super) fn quota_set(
    before: Option<VersionedQuota>,
    after: Option<VersionedQuota>,
) -> Option<VersionedQuota> {
    let is_same = |before: VersionedQuota, after: &VersionedQuota| {
        before.quota_version == after.quota_version
    };
    after.filter(|after| before.is_none_or(|before| !is_same(before, after)))
}

/// Computes the state of a quota that is set, or that replaces another one, whose state is stored. A
/// state that is lost goes on as used up.
pub(super) fn quota_state(
    before: Option<VersionedQuota>,
    after: VersionedQuota,
    stored: Option<QuotaState>,
    (grant, at): (Option<Grant>, Timestamp),
) -> QuotaState {
    let Some(before) = before else { return after.unbegun() };
    let counted = before.own_state(stored).unwrap_or(before.used_up(at));
    after.replacing(before, Some(counted), grant, at)
}
