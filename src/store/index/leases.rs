//! Leases and refunds: changes to the rest of limits, under the writer's lock.
//!
//! The lock keeps a record in its place meanwhile. Without it a thread could add uses to a record
//! that another key has by then.

use super::index::{Index, IndexWriter};
use super::interned::Owners;
use super::limits::limiter::{DroppedLease, QuotaMark};
use super::limits::{LeaseWord, LeftWord, Limiter};
use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};

/// The holder of limits: a key, with its owner's number if that is known, or an owner by its
/// number.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Whose {
    Key(KeyId, Option<u32>),
    Owner(u32),
}

impl Index {
    /// Refunds units of a rate, if the limits are still those from which they were taken.
    #[cold]
    pub(in crate::store) fn refund_rate(&self, whose: Whose, from: &Limiter<'_>, units: u64) {
        let writer = self.lock();
        let now = self.current(&writer, whose);
        if let Some(now) = now.filter(|now| (now.number, now.spec) == (from.number, from.spec)) {
            now.refund(units);
        }
    }

    /// Adds a lease to a quota, and notes the rest beside it. Returns whether the quota is still
    /// this one; otherwise does nothing.
    pub(in crate::store) fn put_lease(
        &self,
        whose: Whose,
        quota: QuotaMark,
        lease: LeaseWord,
        left: LeftWord,
    ) -> bool {
        let writer = self.lock();
        let Some(limiter) = self.of_quota(&writer, whose, quota) else { return false };
        limiter.add_lease(lease, self.clock.now());
        limiter.note_left(left);
        true
    }

    /// Refunds uses of a lease, if the quota is still the same.
    #[cold]
    pub(in crate::store) fn refund_lease(
        &self,
        whose: Whose,
        from: &Limiter<'_>,
        lease: LeaseWord,
    ) {
        let writer = self.lock();
        let now = from.quota().and_then(|quota| self.of_quota(&writer, whose, quota));
        if let Some(limiter) = now {
            limiter.add_lease(lease, self.clock.now());
        }
    }

    /// Returns the identity of the current quota.
    pub(in crate::store) fn quota(&self, whose: Whose) -> Option<QuotaMark> {
        self.current(&self.lock(), whose)?.quota()
    }

    /// Takes the rest of a quota's lease; returns it with the limits.
    pub(in crate::store) fn take_lease(&self, whose: Whose) -> Option<(LeaseWord, Limiter<'_>)> {
        let writer = self.lock();
        let limiter = self.current(&writer, whose).filter(Limiter::has_quota)?;
        Some((limiter.take_lease(), limiter))
    }

    /// Gives uses of a lease back, if the quota and the period are still the same.
    pub(in crate::store) fn give_back_uses(
        &self,
        whose: Whose,
        since: Version,
        lease: LeaseWord,
        now: Timestamp,
    ) {
        let writer = self.lock();
        let limiter = self.current(&writer, whose).filter(|limiter| {
            limiter.has_quota() && limiter.since() == since && limiter.lease().is_same_period(lease)
        });
        if let Some(limiter) = limiter {
            limiter.add_lease(lease, now);
        }
    }

    /// Spends uses of the current quota's lease, if it has as many. Returns the quota's version and
    /// the lease after that; `None` without a quota.
    pub(in crate::store) fn spend_lease(
        &self,
        whose: Whose,
        now: Timestamp,
        uses: u32,
    ) -> Option<(Version, Option<LeaseWord>)> {
        let writer = self.lock();
        let limiter = self.current(&writer, whose).filter(Limiter::has_quota)?;
        Some((limiter.since(), limiter.spend(now, uses)))
    }

    /// Forgets what was left beside a lease.
    pub(in crate::store) fn forget_left(&self, whose: Whose) {
        let writer = self.lock();
        if let Some(limiter) = self.current(&writer, whose) {
            limiter.note_left(LeftWord::UNKNOWN);
        }
    }

    /// Takes the rest of a quota's lease if it is void.
    pub(in crate::store) fn take_void_lease(
        &self,
        whose: Whose,
        now: Timestamp,
    ) -> Option<DroppedLease> {
        let writer = self.lock();
        self.current(&writer, whose)?.take_void_lease(now)
    }

    /// Takes the rests of the leases of quotas that were replaced.
    pub(in crate::store) fn take_dropped_leases(&self) -> Vec<(UsageSubject, DroppedLease)> {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Returns the number of an owner.
    pub(in crate::store) fn owner_number(&self, owner: &OwnerId) -> Option<u32> {
        self.lock().owners.get(owner).map(|state| state.number)
    }

    fn of_quota(
        &self,
        writer: &IndexWriter,
        whose: Whose,
        quota: QuotaMark,
    ) -> Option<Limiter<'_>> {
        self.current(writer, whose).filter(|limiter| limiter.quota() == Some(quota))
    }

    /// Returns the published limits, which stay so while the caller holds the lock.
    fn current(&self, _: &IndexWriter, whose: Whose) -> Option<Limiter<'_>> {
        match whose {
            Whose::Key(id, owner) => self.limits.key(self.key_record(id, owner)?),
            Whose::Owner(owner) => self.limits.owner(Owners::record_of(self.owners.word(owner)?)?),
        }
    }
}
