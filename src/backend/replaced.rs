//! A record before and after a change.

use crate::key::{Limits, VersionedQuota};

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
