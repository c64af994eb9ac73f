//! The request that sets limits.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::key::{Network, Quota, Rate};

/// A request to set or clear limits: of a key, or of an owner for all its keys together. Each limit
/// that isn't set stays as it is; a new key or owner starts without limits.
///
/// An owner may tighten a limit that an administrator has set, but not loosen or clear it. The
/// tightened limit still counts as the administrator's. A limit that the owner has set is the
/// owner's until an administrator sets it, even to the same value. Only an administrator sets the
/// limits of an owner.
///
/// Limits of one key don't bind its owner, who can revoke the key and create another without them.
/// What binds an owner is set on the owner: its limits, its lifetime, its `max_access`, its
/// `max_keys` and its fixed defaults.
#[derive(Clone, Debug, Default, Serialize)]
#[must_use]
pub struct SetLimits {
    pub(in crate::store) not_before: Option<Option<Timestamp>>,
    pub(in crate::store) networks: Option<Option<Vec<Network>>>,
    pub(in crate::store) rate: Option<Option<Rate>>,
    pub(in crate::store) quota: Option<Option<Quota>>,
}

impl SetLimits {
    /// Starts with no change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts no token before this moment.
    pub fn not_before(mut self, from: Timestamp) -> Self {
        self.not_before = Some(Some(from));
        self
    }

    /// Removes the `not_before`: tokens are accepted at once.
    pub fn clear_not_before(mut self) -> Self {
        self.not_before = Some(None);
        self
    }

    /// Accepts tokens from these networks alone, 1 to 64. An empty list is an error: it would lock
    /// the key out, and [`clear_networks`](Self::clear_networks) lifts the limit.
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.networks = Some(Some(networks.into_iter().collect()));
        self
    }

    /// Removes the networks: tokens are accepted from everywhere.
    pub fn clear_networks(mut self) -> Self {
        self.networks = Some(None);
        self
    }

    /// Sets the rate: how often tokens may be used.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(Some(rate));
        self
    }

    /// Removes the rate.
    pub fn clear_rate(mut self) -> Self {
        self.rate = Some(None);
        self
    }

    /// Sets the quota: how many uses are allowed in all, or in each day, week or month. The count of
    /// the running period goes on: the same quota once more changes nothing, and of 100 uses of
    /// which 90 are used, none are left under 50. `refill_quota` and `add_to_quota` give more.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(Some(quota));
        self
    }

    /// Removes the quota.
    pub fn clear_quota(mut self) -> Self {
        self.quota = Some(None);
        self
    }
}
