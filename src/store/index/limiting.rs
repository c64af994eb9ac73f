//! The limits of keys and owners, as a verification reads them.

use std::net::IpAddr;
use std::sync::atomic::{Ordering, fence};

use super::entry::{Limited, Packed};
use super::index::Index;
use super::interned::{OwnerFlags, Owners};
use super::limits::Limiter;
use crate::clock::Timestamp;
use crate::store::types::reserved::OwnerRef;

/// The limits of an owner, and the owner.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct OwnerLimiter<'a> {
    pub(in crate::store) limiter: Limiter<'a>,
    pub(in crate::store) owner: OwnerRef,
}

impl OwnerLimiter<'_> {
    /// The time before which no token of the owner's keys is accepted.
    pub(in crate::store) fn not_before(&self) -> Option<Timestamp> {
        self.limiter.not_before()
    }
}

impl Index {
    /// Prefetches the limit record of an entry, if it has one.
    #[inline]
    pub(in crate::store) fn prefetch_limiter(&self, packed: &Packed<'_>) {
        if let Some(record) = packed.record() {
            self.limits.prefetch(record);
        }
    }

    /// Reads the limits of a key, except its `not_before`. They count if the slot's
    /// [`ReadVersion`](super::ReadVersion) is still the same afterwards.
    #[inline]
    pub(in crate::store) fn limiter(&self, limited: Limited) -> Option<Limiter<'_>> {
        self.limits.key(limited.record?)
    }

    /// Reads the limits of an owner, all of one time.
    pub(in crate::store) fn owner_limiter(&self, owner: u32) -> Option<OwnerLimiter<'_>> {
        loop {
            let record = Owners::record_of(self.owners.word(owner)?)?;
            let limiter = self.limits.owner(record)?;
            // After the record: with a later owner's count, the word below is no longer this one.
            let found = OwnerLimiter { limiter, owner: self.owners.reference(owner)? };
            // Otherwise a writer has put others.
            if self.validate(&found) {
                return Some(found);
            }
        }
    }

    /// Whether an owner was removed, and its keys with it.
    pub(in crate::store) fn is_owner_gone(&self, owner: u32) -> bool {
        self.owners.word(owner).is_none_or(|word| OwnerFlags::from_word(word).gone)
    }

    /// Whether an owner's limits are still these.
    pub(in crate::store) fn validate(&self, owner: &OwnerLimiter<'_>) -> bool {
        // Acquire fence: pairs with the Release fence in `SlabEntry::fill`. If a word came from a
        // later filling, the loads below see the changed owner's word and fill count. Without it an
        // owner is judged by words of two fillings, or by another owner's.
        fence(Ordering::Acquire);
        let word = self.owners.word(owner.owner.number).unwrap_or_default();
        owner.limiter.validate() && Owners::record_of(word) == Some(owner.limiter.number)
    }

    /// Whether an address lies in the networks of these limits; `None` if they have none. The
    /// answer counts if the limits do.
    pub(in crate::store) fn contain(
        &self,
        limiter: &Limiter<'_>,
        address: Option<IpAddr>,
    ) -> Option<bool> {
        self.limits.contain(limiter, address)
    }
}
