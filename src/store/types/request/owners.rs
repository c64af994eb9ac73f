//! What is done to owners.

use super::CreateKey;
use super::SetLimits;
use crate::clock::Timestamp;
use crate::permission::Access;
use serde_json::Value;

/// An owner to be created.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CreateOwner {
    pub(in crate::store) first_key: Option<CreateKey>,
    pub(in crate::store) defaults: Option<Value>,
    pub(in crate::store) max_access: Option<Access>,
    pub(in crate::store) max_keys: Option<u32>,
    pub(in crate::store) limits: SetLimits,
}

impl CreateOwner {
    /// An owner with its first standard key, in the same change.
    pub fn with_key(first_key: CreateKey) -> Self {
        Self { first_key: Some(first_key), ..Self::default() }
    }

    /// An owner without a key.
    pub fn without_key() -> Self {
        Self::default()
    }

    /// Settings that hold for its keys where they don't say otherwise.
    pub fn defaults(mut self, defaults: Value) -> Self {
        self.defaults = Some(defaults);
        self
    }

    /// What its standard keys may do at most; `Full` unless told.
    pub fn max_access(mut self, max_access: Access) -> Self {
        self.max_access = Some(max_access);
        self
    }

    /// How many unrevoked keys it may have: 1,000 unless told.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }

    /// What all its keys together may use.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// What is done to an owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OwnerAction {
    /// Every token issued before this moment, at most now, is superseded.
    InvalidateTokens(Timestamp),
    /// Its keys are accepted again.
    Resume,
    /// None of its keys is accepted.
    Suspend,
    /// Defaults, maximum access, number of keys, limits.
    Update(UpdateOwner),
}

/// A change of an owner: what isn't named stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateOwner {
    pub(in crate::store) defaults: Option<Value>,
    pub(in crate::store) max_access: Option<Access>,
    pub(in crate::store) max_keys: Option<u32>,
    pub(in crate::store) limits: SetLimits,
}

impl UpdateOwner {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Default settings by top-level name: a value sets it, null takes it away.
    pub fn defaults(mut self, patch: Value) -> Self {
        self.defaults = Some(patch);
        self
    }

    /// Another maximum access; it narrows the owner's standard keys at once.
    pub fn max_access(mut self, max_access: Access) -> Self {
        self.max_access = Some(max_access);
        self
    }

    /// Another number of unrevoked keys; those that are there stay.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }

    /// What all its keys together may use.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}
