//! What a successful verification returns.

use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId};
use crate::key::{Gcra, Kind, Prefix, RateStatus};
use crate::permission::{Permission, PermissionSet};

/// Proof that a token was verified: whose key it is and what it may do.
///
/// A plain `'static` value, made by `verify` alone: whoever holds one need not ask again, and need
/// not believe in it for longer than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedKey {
    inner: VerifiedKeyParts,
}

/// What a verified key is made of; crate-private, so that only the store makes grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerifiedKeyParts {
    pub(crate) key: KeyId,
    pub(crate) owner: OwnerId,
    pub(crate) kind: Kind,
    pub(crate) permissions: PermissionSet,
    pub(crate) generation: Generation,
    pub(crate) is_current: bool,
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) prefix: Prefix,
    pub(crate) rate: Option<RateUse>,
}

/// A rate, and how many units of its burst are used up: the numbers that are told are worked out
/// when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateUse {
    pub(crate) rate: Gcra,
    pub(crate) used: u64,
}

impl RateUse {
    /// How many uses may come at once now.
    pub(crate) fn remaining(self) -> u32 {
        self.rate.remaining(self.used)
    }

    pub(crate) fn status(self) -> RateStatus {
        RateStatus {
            rate: self.rate.rate(),
            remaining: self.remaining(),
            reset_after: self.rate.duration(self.used),
        }
    }
}

impl VerifiedKey {
    #[inline]
    pub(crate) fn new(inner: VerifiedKeyParts) -> Self {
        Self { inner }
    }

    /// Which key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.inner.key
    }

    /// For whom it acts.
    #[must_use]
    pub fn owner_id(&self) -> &OwnerId {
        &self.inner.owner
    }

    /// What the key is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// What the key may do now, its owner's maximum access included.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        &self.inner.permissions
    }

    /// Whether the key may do this: one bit test.
    #[must_use]
    #[inline]
    pub fn allows(&self, permission: Permission) -> bool {
        self.inner.permissions.contains(permission)
    }

    /// Which of the key's tokens was presented.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.inner.generation
    }

    /// Whether that is the newest one.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.inner.is_current
    }

    /// When this token ends: at the end of its grace or the key's expiry; `None` for never.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.inner.ends_at
    }

    /// How far the key's rate is used up, or its owner's if less is left of that; `None` if neither
    /// is limited.
    #[must_use]
    pub fn rate(&self) -> Option<RateStatus> {
        self.inner.rate.map(RateUse::status)
    }

    /// What the token begins with.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.inner.prefix
    }
}
