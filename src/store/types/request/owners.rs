//! The requests that change owners.

use serde_json::Value;

use super::SetLimits;
use crate::clock::Timestamp;
use crate::key::{Lifetime, SettingNames};
use crate::permission::Access;

/// An action on an owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OwnerAction {
    /// Adds so many uses (1 to 2^40 - 1) to the owner's quota.
    AddToQuota(u64),
    /// Supersedes every token that was issued before this moment, which is at most now.
    InvalidateTokens(Timestamp),
    /// Lets the count of the owner's quota begin whole again.
    RefillQuota,
    /// Lifts a suspension, so that its keys are accepted again.
    Resume,
    /// Suspends the owner, so that none of its keys is accepted.
    Suspend,
    /// Changes default settings, `max_access`, `max_keys`, lifetime, tags or limits.
    Update(UpdateOwner),
}

/// A request to change an owner. Each field that isn't set stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateOwner {
    pub(in crate::store) defaults: Option<Value>,
    /// In a box, so that an action isn't much larger than others.
    pub(in crate::store) fixed_defaults: Option<Box<SettingNames>>,
    pub(in crate::store) max_access: Option<Access>,
    pub(in crate::store) max_keys: Option<u32>,
    pub(in crate::store) lifetime: Option<Lifetime>,
    pub(in crate::store) limits: SetLimits,
    pub(in crate::store) tags: Option<Box<[String]>>,
}

impl UpdateOwner {
    /// Starts with no change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes default settings by top-level member: a value sets it, null removes it.
    pub fn defaults(mut self, patch: Value) -> Self {
        self.defaults = Some(patch);
        self
    }

    /// Fixes exactly these of the defaults from now on, also over values that keys already have of
    /// their own. A default that is removed is no longer fixed.
    pub fn fixed_defaults(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fixed_defaults = Some(Box::new(SettingNames::new(names)));
        self
    }

    /// Changes the `max_access`. It narrows the owner's standard keys at once.
    pub fn max_access(mut self, max_access: Access) -> Self {
        self.max_access = Some(max_access);
        self
    }

    /// Changes the lifetime of its keys. Existing keys keep their expiry, even beyond it; it bounds
    /// what is set from now on.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Changes the greatest number of live keys. Existing keys stay, even above it.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }

    /// Replaces all of the owner's tags, as [`CreateOwner::tags`](super::CreateOwner::tags) says.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Removes all tags.
    pub fn clear_tags(mut self) -> Self {
        self.tags = Some(Box::default());
        self
    }

    /// Sets the limits of all its keys together.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}
