//! The lines in which the limits of keys and owners lie: found by readers, and spent from.

use std::net::IpAddr;
use std::sync::atomic::{Ordering, fence};

use super::lease::{LeaseWord, LeftWord};
use super::limiter::{Limiter, QuotaMark};
use super::networks::{ListNumbers, Lists};
use super::placement::{LONG, Places, Stretches};
use super::records::{Cells, Numbers};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::store::index::entry::{Entry, Limited, Packed};
use crate::store::index::hash_table::slot::tag_of;
use crate::store::index::interned::Owners;
use crate::store::index::verification_index::{Index, IndexWriter};

/// What readers see.
#[derive(Debug)]
pub(in crate::store::index) struct Lines {
    pub(in crate::store::index) keys: Cells,
    pub(in crate::store::index) owners: Cells,
    pub(in crate::store::index) lists: Lists,
    pub(in crate::store::index) stretches: Stretches,
}

/// The writer's side.
#[derive(Debug, Default)]
pub(in crate::store::index) struct LineNumbers {
    pub(in crate::store::index) keys: Places,
    pub(in crate::store::index) owners: Numbers,
    pub(in crate::store::index) lists: ListNumbers,
}

/// An owner's limits, and what led to them.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct OwnerLimiter<'a> {
    pub(in crate::store) limiter: Limiter<'a>,
    pub(in crate::store::index) owner: u32,
}

/// Whose limits: a key of the owner of this number (of any, if it isn't known), or such an owner.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Whose {
    Key(KeyId, Option<u32>),
    Owner(u32),
}

impl Lines {
    pub(in crate::store::index) fn new() -> Self {
        Self {
            keys: Cells::new(),
            owners: Cells::new(),
            lists: Lists::new(),
            stretches: Stretches::default(),
        }
    }
}

impl OwnerLimiter<'_> {
    /// No token of the owner's keys is accepted before this.
    pub(in crate::store) fn not_before(&self) -> Option<Timestamp> {
        self.limiter.first_moment()
    }
}

impl Index {
    /// Has the lines fetched of which one may hold a key's limits.
    #[inline]
    pub(in crate::store::index) fn prefetch_stretch(&self, tag: u64) {
        if let Some(first) = self.lines.stretches.of(tag) {
            self.lines.keys.prefetch_some(first, LONG as usize);
        }
    }

    /// Has the line of a key's limits fetched, if there is one.
    #[inline]
    pub(in crate::store) fn prefetch_limiter(&self, packed: &Packed<'_>) {
        if let Some(limiter) = packed.limiter() {
            self.lines.keys.prefetch(limiter);
        }
    }

    /// The limits of a key, but for its first moment. They count if the slot says afterwards that
    /// it [`validate`](crate::store::index::ReadVersion::validate) what it was.
    #[inline]
    pub(in crate::store) fn limiter(&self, limited: Limited) -> Option<Limiter<'_>> {
        let number = limited.limiter?;
        Some(Limiter::read(self.lines.keys.get(number)?, number))
    }

    /// The limits of an owner, as they were together.
    pub(in crate::store) fn owner_limiter(&self, owner: u32) -> Option<OwnerLimiter<'_>> {
        loop {
            let number = Owners::limiter_of(self.owners.word(owner)?)?;
            let limiter = Limiter::read_counted(self.lines.owners.get(number)?, number);
            let found = OwnerLimiter { limiter, owner };
            // Otherwise a writer has put others.
            if self.validate(&found) {
                return Some(found);
            }
        }
    }

    /// Whether an owner's limits are still these.
    pub(in crate::store) fn validate(&self, owner: &OwnerLimiter<'_>) -> bool {
        // As with a slot: if a word was of a later filling, this makes visible what came before.
        fence(Ordering::Acquire);
        let word = self.owners.word(owner.owner).unwrap_or_default();
        owner.limiter.is_as_counted() && Owners::limiter_of(word) == Some(owner.limiter.number)
    }

    /// Whether an address lies in the networks of these limits; `None` if they have none. It counts
    /// as [`limiter`](Self::limiter) does.
    pub(in crate::store) fn contain(
        &self,
        limiter: &Limiter<'_>,
        address: Option<IpAddr>,
    ) -> Option<bool> {
        let list = limiter.shape.list()?;
        Some(address.is_some_and(|address| self.lines.lists.contain(list, address)))
    }

    /// Gives back units of a rate, if the limits are still those from which they were taken.
    #[cold]
    pub(in crate::store) fn refund_rate(&self, whose: Whose, from: &Limiter<'_>, units: u64) {
        let writer = self.lock();
        let now = self.in_force(&writer, whose);
        if let Some(now) = now.filter(|now| (now.number, now.shape) == (from.number, from.shape)) {
            now.refund(units);
        }
    }

    /// Puts a new lease of a quota to what there is of one, if it is this quota still; whether it is.
    /// Notes what is left beside it.
    pub(in crate::store) fn put_lease(
        &self,
        whose: Whose,
        quota: QuotaMark,
        lease: LeaseWord,
        left: LeftWord,
    ) -> bool {
        let writer = self.lock();
        let Some(limiter) = self.of_quota(&writer, whose, quota) else { return false };
        limiter.add_lease(lease);
        limiter.note_left(left);
        true
    }

    /// Gives back uses of a lease, if it is still the same quota.
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
            limiter.add_lease(lease);
        }
    }

    /// Which quota there is.
    pub(in crate::store) fn quota(&self, whose: Whose) -> Option<QuotaMark> {
        self.in_force(&self.lock(), whose)?.quota()
    }

    fn of_quota(
        &self,
        writer: &IndexWriter,
        whose: Whose,
        quota: QuotaMark,
    ) -> Option<Limiter<'_>> {
        self.in_force(writer, whose).filter(|limiter| limiter.quota() == Some(quota))
    }

    /// Takes what is left of the lease of a quota; with the limits that it was of.
    pub(in crate::store) fn take_lease(&self, whose: Whose) -> Option<(LeaseWord, Limiter<'_>)> {
        let writer = self.lock();
        let limiter = self.in_force(&writer, whose).filter(Limiter::has_quota)?;
        Some((limiter.take_lease(), limiter))
    }

    /// The number of an owner.
    pub(in crate::store) fn owner_number(&self, owner: &OwnerId) -> Option<u32> {
        self.lock().owners.get(owner).map(|state| state.number)
    }

    /// The limits that hold now; for as long as no other writer comes.
    fn in_force(&self, writer: &IndexWriter, whose: Whose) -> Option<Limiter<'_>> {
        let (cells, number) = match whose {
            Whose::Key(id, owner) => (&self.lines.keys, self.key_limiter(writer, id, owner)?),
            Whose::Owner(owner) => {
                (&self.lines.owners, Owners::limiter_of(self.owners.word(owner)?)?)
            }
        };
        Some(Limiter::read(cells.get(number)?, number))
    }

    /// The line of a key's limits.
    pub(in crate::store::index) fn key_limiter(
        &self,
        _: &IndexWriter,
        id: KeyId,
        owner: Option<u32>,
    ) -> Option<u32> {
        let contents = self.table.contents(tag_of(id.as_u128()));
        let mut entries = contents.iter().map(Entry::unpack);
        let own = entries.find(|entry| owner.is_none_or(|owner| entry.owner == owner))?;
        own.limited?.limiter
    }
}

/// A line, if there is one of this number.
pub(in crate::store::index) fn read(cells: &Cells, number: u32) -> Option<Limiter<'_>> {
    Some(Limiter::read(cells.get(number)?, number))
}
