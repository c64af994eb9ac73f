//! What a key or an owner may use.

use crate::clock::Timestamp;
use crate::key::{Network, Quota, Rate};

/// Limits to be set or lifted, of a key or of an owner for all its keys together: what isn't named
/// stays as it is, which for what is created means without a limit.
///
/// What an administrator has set, an owner may tighten, which leaves it the administrator's, but
/// neither loosen nor lift. What an owner has set is its own until an administrator sets it, be it
/// to the same. An owner's limits are set by administrators alone.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SetLimits {
    pub(in crate::store) not_before: Option<Option<Timestamp>>,
    pub(in crate::store) networks: Option<Vec<Network>>,
    pub(in crate::store) rate: Option<Option<Rate>>,
    pub(in crate::store) quota: Option<Option<Quota>>,
}

impl SetLimits {
    /// Sets nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No token is accepted before this moment.
    pub fn not_before(mut self, from: Timestamp) -> Self {
        self.not_before = Some(Some(from));
        self
    }

    /// Tokens are accepted at once.
    pub fn clear_not_before(mut self) -> Self {
        self.not_before = Some(None);
        self
    }

    /// Tokens are accepted from these networks alone, at most 64; none stands for any.
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.networks = Some(networks.into_iter().collect());
        self
    }

    /// How often.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(Some(rate));
        self
    }

    /// As often as one likes.
    pub fn clear_rate(mut self) -> Self {
        self.rate = Some(None);
        self
    }

    /// How many times in all, or in each day, week or month. It begins a new count; an
    /// administrator's also where it is the same as before. An owner that sets the same as before
    /// changes nothing, and one that tightens an administrator's refills nothing.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(Some(quota));
        self
    }

    /// As many times as one likes.
    pub fn clear_quota(mut self) -> Self {
        self.quota = Some(None);
        self
    }
}
