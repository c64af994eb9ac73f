//! The result of a successful verification.

use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId};
use crate::key::{Gcra, Kind, Prefix, RateStatus};
use crate::permission::{Permission, PermissionSet};

/// Proof that a token was verified: its key, the key's owner and the key's permissions.
///
/// Only a verification makes one. It is a plain `'static` value, and it describes the key at that
/// moment: use it for one request, then verify again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedKey {
    inner: VerifiedKeyParts,
}

/// The fields of a verified key. Crate-private, so that only the store makes verified keys.
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
    pub(crate) quota_left: QuotaLeft,
}

/// The rest of a quota. One word, since a verified key is copied a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaLeft(u64);

impl QuotaLeft {
    /// There is no quota, or its rest isn't known.
    pub(crate) const UNKNOWN: Self = Self(u64::MAX);

    pub(crate) fn new(left: Option<u64>) -> Self {
        left.map_or(Self::UNKNOWN, Self)
    }

    fn known(self) -> Option<u64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

/// A rate, and the used units of its burst. The figures for the caller are computed on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateUse {
    pub(crate) rate: Gcra,
    pub(crate) used: u64,
}

impl RateUse {
    /// Returns the number of uses that may come at once now.
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

    /// Returns the id of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.inner.key
    }

    /// Returns the id of the key's owner.
    #[must_use]
    pub fn owner_id(&self) -> &OwnerId {
        &self.inner.owner
    }

    /// Returns the kind of the key: standard or trial.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Returns the permissions of the key, after its owner's `max_access` has cut them.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        &self.inner.permissions
    }

    /// Tests a permission of the key: one bit test. False for a permission of another catalogue
    /// than the store's.
    #[must_use]
    #[inline]
    pub fn allows(&self, permission: Permission) -> bool {
        self.inner.permissions.contains(permission)
    }

    /// Returns the generation of the presented token.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.inner.generation
    }

    /// Tests whether the presented token is the key's newest one.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.inner.is_current
    }

    /// Returns the moment at which this token ends: the end of its grace or the key's expiry,
    /// whichever comes first. `None` if it never ends.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.inner.ends_at
    }

    /// Returns the state of the rate limit: the key's, or its owner's if that has fewer uses left.
    /// `None` if neither has a rate.
    #[must_use]
    pub fn rate(&self) -> Option<RateStatus> {
        self.inner.rate.map(RateUse::status)
    }

    /// Returns how many uses the quota has left: the key's, or its owner's if that has fewer. It counts the
    /// uses that this process has leased, and those that were left beside them when it last leased some:
    /// where several processes share the database, others may have used more since. `None` if neither
    /// has a quota, or if this process doesn't know, as with more than 2^32 - 2 uses.
    #[must_use]
    pub fn quota_left(&self) -> Option<u64> {
        self.inner.quota_left.known()
    }

    /// Returns the prefix of the token.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.inner.prefix
    }
}
