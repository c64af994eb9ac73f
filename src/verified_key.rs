//! The result of a successful verification.

use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId};
use crate::key::{Gcra, Kind, LimitHolder, Prefix, QuotaStatus, RateStatus};
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
    pub(crate) left: LimitsLeft,
}

/// What the limits of a key and its owner have left. The figures for a caller are computed on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitsLeft {
    pub(crate) rate: Option<RateUse>,
    pub(crate) quota: QuotaLeft,
}

impl LimitsLeft {
    /// There is neither a rate nor a quota whose rest is known.
    pub(crate) const NOTHING_KNOWN: Self = Self { rate: None, quota: QuotaLeft::UNKNOWN };

    pub(crate) fn rate(self) -> Option<RateStatus> {
        self.rate.map(RateUse::status)
    }

    pub(crate) fn quota(self) -> Option<QuotaStatus> {
        self.quota.status()
    }
}

/// The holder, in the words below. They are packed, since a verified key is copied a lot.
const fn owner_bit(holder: LimitHolder, at: u32) -> u64 {
    match holder {
        LimitHolder::Key => 0,
        LimitHolder::Owner => 1 << at,
    }
}

const fn holder_of(word: u64, at: u32) -> LimitHolder {
    if word >> at & 1 == 0 { LimitHolder::Key } else { LimitHolder::Owner }
}

/// The rest of a quota in a word: the uses, whether it is the owner's, and the day of its refill, for
/// periods begin at midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaLeft(u64);

impl QuotaLeft {
    /// There is no quota, or its rest isn't known.
    pub(crate) const UNKNOWN: Self = Self(u64::MAX);

    const OWNER_AT: u32 = 40;
    /// More than two words of 32 bits can hold together, a lease and the rest beside it.
    const USES: u64 = (1 << Self::OWNER_AT) - 1;
    const DAY_AT: u32 = 42;
    /// The day of a quota that is never refilled: later than every [`Timestamp`].
    const NEVER: u64 = (1 << (64 - Self::DAY_AT)) - 1;
    const DAY: u64 = 24 * 60 * 60 * 1_000;

    pub(crate) fn new(holder: LimitHolder, uses: u64, refilled_at: Option<Timestamp>) -> Self {
        let day = refilled_at.map_or(Self::NEVER, |at| at.as_millis() / Self::DAY);
        // Less than the greatest number: with that it would be unknown.
        let uses = uses.min(Self::USES - 1);
        Self(day << Self::DAY_AT | owner_bit(holder, Self::OWNER_AT) | uses)
    }

    fn status(self) -> Option<QuotaStatus> {
        let Self(word) = self;
        let day = word >> Self::DAY_AT;
        (self != Self::UNKNOWN).then(|| QuotaStatus {
            holder: holder_of(word, Self::OWNER_AT),
            remaining: word & Self::USES,
            refilled_at: (day != Self::NEVER).then(|| Timestamp::clamped_millis(day * Self::DAY)),
        })
    }
}

/// A rate, and the used units of its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateUse {
    rate: Gcra,
    /// The units, at most 2^55, and whether the rate is the owner's.
    used: u64,
}

impl RateUse {
    const OWNER_AT: u32 = 63;

    #[inline]
    pub(crate) fn new(holder: LimitHolder, rate: Gcra, used: u64) -> Self {
        Self { rate, used: used | owner_bit(holder, Self::OWNER_AT) }
    }

    #[inline]
    fn used(self) -> u64 {
        self.used & !(1 << Self::OWNER_AT)
    }

    /// Returns the number of uses that may come at once now.
    pub(crate) fn remaining(self) -> u32 {
        self.rate.remaining(self.used())
    }

    pub(crate) fn status(self) -> RateStatus {
        RateStatus {
            holder: holder_of(self.used, Self::OWNER_AT),
            rate: self.rate.rate(),
            remaining: self.remaining(),
            reset_after: self.rate.duration(self.used()),
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
        self.inner.left.rate()
    }

    /// Returns what the quota has left: the key's, or its owner's if that has fewer uses. It counts the
    /// uses that this process has leased, and those that were left beside them when it last leased some:
    /// where several processes share the database, others may have used more since. `None` if neither
    /// has a quota, or if this process doesn't know, as with more than 2^32 - 2 uses. If it knows of one
    /// of two quotas, it returns that.
    #[must_use]
    pub fn quota(&self) -> Option<QuotaStatus> {
        self.inner.left.quota()
    }

    /// Returns the rest of the limits, as it is kept for the answer.
    #[cfg(feature = "tower")]
    pub(crate) fn left(&self) -> LimitsLeft {
        self.inner.left
    }

    /// Returns the prefix of the token.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.inner.prefix
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_keep_what_is_left(
            owners in any::<bool>(), uses in 0..QuotaLeft::USES, day in prop::option::of(0..2_932_897_u64),
            used in 0..=1_u64 << 55,
        ) {
            let holder = if owners { LimitHolder::Owner } else { LimitHolder::Key };
            let refilled_at = day.map(|day| Timestamp::from_millis(day * QuotaLeft::DAY).unwrap());
            let status = QuotaLeft::new(holder, uses, refilled_at).status();
            prop_assert_eq!(status, Some(QuotaStatus { holder, remaining: uses, refilled_at }));
            let rate = Gcra::new(1, 1, 1 << 55).unwrap();
            let (status, plain) = (RateUse::new(holder, rate, used).status(), rate.duration(used));
            prop_assert_eq!((status.holder, status.reset_after), (holder, plain));
        }
    }

    #[test]
    fn corners() {
        assert_eq!(QuotaLeft::UNKNOWN.status(), None);
        for (holder, uses) in [(LimitHolder::Key, u64::MAX), (LimitHolder::Owner, QuotaLeft::USES)]
        {
            let most = QuotaLeft::new(holder, uses, None).status().unwrap();
            assert_eq!((most.holder, most.remaining), (holder, QuotaLeft::USES - 1));
        }
    }

    /// Each verification copies it a few times.
    #[test]
    fn it_has_no_more_than_its_fields() {
        assert_eq!((size_of::<LimitsLeft>(), size_of::<VerifiedKey>()), (32, 208));
    }
}
