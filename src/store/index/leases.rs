//! Leases of quotas: changes to them under the writer's lock, and give-backs without it.
//!
//! The lock keeps a record in its place meanwhile. Without it a thread could add uses to a record
//! that another key has by then. A give-back asks the slot, or the owner's word, in its place.

use super::index::{Index, IndexWriter};
use super::interned::Owners;
use super::limits::limiter::DroppedLease;
use super::limits::{LeaseWord, Leased, LeftWord, Limiter, Spent};
use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::store::types::reserved::{OwnerRef, Whose};

impl Index {
    /// Gives uses back to the lease of a quota, if quota and period are still those from which they
    /// were taken, and returns the lease as it is then. Otherwise they are forfeited. Takes no lock.
    #[cold]
    pub(in crate::store) fn give_back(
        &self,
        whose: Whose,
        since: Version,
        uses: LeaseWord,
    ) -> Option<Leased> {
        let now = self.clock.now();
        let give_back = |limiter: &Limiter<'_>, is_current: &dyn Fn() -> bool| {
            let is_same = limiter.has_quota() && limiter.since() == since;
            let is_done = is_same && limiter.give_back(uses, now, is_current);
            is_done.then(|| limiter.leased(now)).flatten()
        };
        match whose {
            Whose::Key(id, owner) => self.search(id).find(|packed| {
                let entry = packed.judged_at(Timestamp::MIN)?;
                if owner.is_some_and(|owner| entry.owner != owner.number) {
                    return None;
                }
                let limiter = self.limiter(entry.limited?)?;
                // If this slot isn't the key's any more, the search finds the next.
                give_back(&limiter, &|| packed.seen().validate())
            }),
            Whose::Owner(owner) => {
                let found = self.owner_limiter(owner.number)?;
                if found.owner != owner {
                    return None;
                }
                give_back(&found.limiter, &|| self.validate(&found))
            }
        }
    }

    /// Adds a lease to a quota, and notes the rest beside it. Returns whether the quota is the one of
    /// this version; otherwise does nothing.
    pub(in crate::store) fn put_lease(
        &self,
        whose: Whose,
        since: Version,
        lease: LeaseWord,
        left: LeftWord,
    ) -> bool {
        let writer = self.lock();
        let Some(limiter) = self.current(&writer, whose) else { return false };
        if !limiter.has_quota() || limiter.since() != since {
            return false;
        }
        limiter.add_lease(lease, self.clock.now());
        limiter.note_left(left);
        true
    }

    /// Returns what has to be known of the current quota and its lease to fetch the next one.
    pub(in crate::store) fn leased(&self, whose: Whose, now: Timestamp) -> Option<Leased> {
        self.current(&self.lock(), whose)?.leased(now)
    }

    /// Takes the rest of a quota's lease; returns it with the limits. Uses can still be given back.
    pub(in crate::store) fn take_lease(&self, whose: Whose) -> Option<(LeaseWord, Limiter<'_>)> {
        let writer = self.lock();
        let limiter = self.current(&writer, whose).filter(Limiter::has_quota)?;
        Some((limiter.drain_lease(), limiter))
    }

    /// Spends uses of the current quota's lease, if it has as many. Returns the quota's version too;
    /// `None` without a quota.
    pub(in crate::store) fn spend_lease(
        &self,
        whose: Whose,
        now: Timestamp,
        uses: u32,
    ) -> Option<(Version, Option<Spent>)> {
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

    /// Returns an owner that is there, by its number.
    pub(in crate::store) fn owner_named(&self, owner: &OwnerId) -> Option<OwnerRef> {
        let writer = self.lock();
        let state = writer.owners.get(&self.owners, owner)?;
        self.owners.reference(state.number)
    }

    /// Returns the published limits, which stay so while the caller holds the lock.
    fn current(&self, _: &IndexWriter, whose: Whose) -> Option<Limiter<'_>> {
        match whose {
            Whose::Key(id, owner) => {
                self.limits.key(self.key_record(id, owner.map(|owner| owner.number))?)
            }
            Whose::Owner(owner) => {
                if !self.owners.is_current(owner) {
                    return None;
                }
                self.limits.owner(Owners::record_of(self.owners.word(owner.number)?)?)
            }
        }
    }
}
