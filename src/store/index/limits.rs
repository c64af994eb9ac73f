//! The lines in which the limits of keys and owners lie: found by readers, filled by the writer.

use std::net::IpAddr;
use std::sync::atomic::{Ordering, fence};

use super::cells::{Cells, Numbers};
use super::entry::{Entry, Limited, Packed};
use super::interned::Owners;
use super::lease::LeaseWord;
use super::limiter::{Limiter, Shape};
use super::lists::{ListNumbers, Lists};
use super::slot::{Words, tag_of};
use super::view::{Index, IndexError, IndexWriter};
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::Limits;

/// What readers see.
#[derive(Debug)]
pub(super) struct Lines {
    keys: Cells,
    owners: Cells,
    lists: Lists,
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct LineNumbers {
    keys: Numbers,
    owners: Numbers,
    lists: ListNumbers,
}

/// An owner's limits, and what led to them.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct OwnerLimiter<'a> {
    pub(in crate::store) limiter: Limiter<'a>,
    pub(super) owner: u32,
}

/// Whose limits: a key of the owner of this number (of any, if it isn't known), or such an owner.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Whose {
    Key(KeyId, Option<u32>),
    Owner(u32),
}

/// Limits that were put, and whether their line is new.
#[derive(Clone, Copy, Debug)]
pub(super) struct PutLimits {
    pub(super) limited: Option<Limited>,
    pub(super) new: Option<u32>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { keys: Cells::new(), owners: Cells::new(), lists: Lists::new() }
    }
}

impl OwnerLimiter<'_> {
    /// No token of the owner's keys is accepted before this.
    pub(in crate::store) fn not_before(&self) -> Option<Timestamp> {
        self.limiter.first_moment()
    }
}

impl Index {
    /// Has the line of a key's limits fetched, if there is one.
    #[inline]
    pub(in crate::store) fn prefetch_limiter(&self, packed: &Packed<'_>) {
        if let Some(limiter) = packed.limiter() {
            self.lines.keys.prefetch(limiter);
        }
    }

    /// The limits of a key, but for its first moment. They count if the slot says afterwards that
    /// it [`is_still`](Packed::is_still) what it was.
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
            if self.is_still(&found) {
                return Some(found);
            }
        }
    }

    /// Whether an owner's limits are still these.
    pub(in crate::store) fn is_still(&self, owner: &OwnerLimiter<'_>) -> bool {
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
    pub(in crate::store) fn untake(&self, whose: Whose, from: &Limiter<'_>, units: u64) {
        let writer = self.lock();
        let now = self.in_force(&writer, whose);
        if let Some(now) = now.filter(|now| (now.number, now.shape) == (from.number, from.shape)) {
            now.untake(units);
        }
    }

    /// Adds to the lease of a quota, if it is the one of this version, and spends of it; whether
    /// there was as much, or `None` if the quota is another one.
    #[cold]
    pub(in crate::store) fn add_lease(
        &self,
        whose: Whose,
        since: u64,
        lease: LeaseWord,
        (now, uses): (Timestamp, u64),
    ) -> Option<bool> {
        let writer = self.lock();
        let limiter = self.in_force(&writer, whose)?;
        let is_same = limiter.has_quota() && limiter.since() == since;
        is_same.then(|| limiter.add_lease(lease, now, uses))
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

    fn key_limiter(&self, _: &IndexWriter, id: KeyId, owner: Option<u32>) -> Option<u32> {
        let contents = self.table.contents(tag_of(id.as_u128()));
        let mut entries = contents.iter().map(Entry::unpack);
        let own = entries.find(|entry| owner.is_none_or(|owner| entry.owner == owner))?;
        own.limited?.limiter
    }

    /// Puts the limits of a key; the line stays the same if they are the same. Its tokens must name
    /// it next, or [`take_back`](Self::take_back) be called.
    pub(super) fn put_key_limits(
        &self,
        writer: &mut IndexWriter,
        key: &ScannedKey,
        owner: u32,
    ) -> Result<PutLimits, IndexError> {
        let nothing = PutLimits { limited: None, new: None };
        // A revoked key is never used again.
        let Some(limits) = key.limits.as_deref().filter(|_| !key.revoked) else {
            return Ok(nothing);
        };
        let shape = shape(&self.lines, &mut writer.lines, limits)?;
        let shape = shape.map(|shape| shape.of_key(&key.owner));
        let before = self.key_limiter(writer, key.id, Some(owner));
        let before = before.and_then(|before| read(&self.lines.keys, before));
        let (number, is_new) = self.put_line(writer, shape, before, LinesOf::Keys)?;
        let not_before = limits.not_before.map(|limit| limit.value);
        // The beginning of time limits nothing.
        let not_before = not_before.filter(|at| *at > Timestamp::MIN);
        let is_limited = number.is_some() || not_before.is_some();
        let limited = is_limited.then_some(Limited { not_before, limiter: number });
        Ok(PutLimits { limited, new: number.filter(|_| is_new) })
    }

    /// Puts the limits of an owner, which hold at once.
    pub(super) fn put_owner_limits(
        &self,
        writer: &mut IndexWriter,
        owner: u32,
        limits: &Limits,
    ) -> Result<(), IndexError> {
        let before = Owners::limiter_of(self.owners.word(owner).ok_or(IndexError::Full)?);
        let not_before = limits.not_before.map(|limit| limit.value);
        let not_before = not_before.filter(|at| *at > Timestamp::MIN);
        let shape = shape(&self.lines, &mut writer.lines, limits)?
            .or(not_before.map(|_| Shape::default()))
            .map(|shape| shape.of_owner(not_before));
        let old = before.and_then(|before| read(&self.lines.owners, before));
        let (number, is_new) = self.put_line(writer, shape, old, LinesOf::Owners)?;
        if number == before {
            return Ok(());
        }
        if self.owners.set_limiter(owner, number).is_none() {
            if let Some(new) = number.filter(|_| is_new) {
                self.free(writer, new, LinesOf::Owners);
            }
            return Err(IndexError::Full);
        }
        if let Some(before) = before {
            self.free(writer, before, LinesOf::Owners);
        }
        Ok(())
    }

    /// Ends the limits of an owner that is gone.
    pub(super) fn end_owner_limits(&self, writer: &mut IndexWriter, owner: u32) {
        let number = self.owners.word(owner).and_then(Owners::limiter_of);
        if let Some(number) = number
            && self.owners.set_limiter(owner, None).is_some()
        {
            self.free(writer, number, LinesOf::Owners);
        }
    }

    /// A new line was not named by any token.
    pub(super) fn take_back(&self, writer: &mut IndexWriter, put: PutLimits) {
        if let Some(number) = put.new {
            self.free(writer, number, LinesOf::Keys);
        }
    }

    /// Frees the lines that tokens named which are gone, unless others name them now.
    pub(super) fn free_lines<'a>(
        &self,
        writer: &mut IndexWriter,
        gone: impl Iterator<Item = &'a Words>,
        named: &[Words],
    ) {
        let limiter = |words: &Words| Entry::unpack(words).limited?.limiter;
        let mut gone: Vec<u32> = gone.filter_map(limiter).collect();
        if gone.is_empty() {
            return;
        }
        gone.sort_unstable();
        gone.dedup();
        gone.retain(|number| named.iter().all(|words| limiter(words) != Some(*number)));
        gone.into_iter().for_each(|number| self.free(writer, number, LinesOf::Keys));
    }

    /// The line of a shape, and whether it is a new one. Takes over the shape's list.
    fn put_line(
        &self,
        writer: &mut IndexWriter,
        shape: Option<Shape>,
        before: Option<Limiter<'_>>,
        of: LinesOf,
    ) -> Result<(Option<u32>, bool), IndexError> {
        let Some(shape) = shape else { return Ok((None, false)) };
        let lines = &mut writer.lines;
        if let Some(before) = before.filter(|before| before.shape.is_same(&shape)) {
            if let Some(list) = shape.list() {
                lines.lists.give_back(&self.lines.lists, list);
            }
            return Ok((Some(before.number), false));
        }
        let taken = match of {
            LinesOf::Keys => lines.keys.take(&self.lines.keys),
            LinesOf::Owners => lines.owners.take(&self.lines.owners),
        };
        let Some((number, cell)) = taken else {
            if let Some(list) = shape.list() {
                lines.lists.give_back(&self.lines.lists, list);
            }
            return Err(IndexError::Full);
        };
        let now = self.clock.now();
        match of {
            LinesOf::Keys => Limiter::fill(cell, shape, before.as_ref(), now),
            LinesOf::Owners => Limiter::fill_counted(cell, shape, before.as_ref(), now),
        }
        Ok((Some(number), true))
    }

    fn free(&self, writer: &mut IndexWriter, number: u32, of: LinesOf) {
        let lines = &mut writer.lines;
        let (cells, numbers) = match of {
            LinesOf::Keys => (&self.lines.keys, &mut lines.keys),
            LinesOf::Owners => (&self.lines.owners, &mut lines.owners),
        };
        if let Some(list) = read(cells, number).and_then(|limiter| limiter.shape.list()) {
            lines.lists.give_back(&self.lines.lists, list);
        }
        numbers.give_back(number);
    }

    /// How many lines keys and owners have, and how many lists there are; how many lines there
    /// are, used or not.
    #[cfg(test)]
    pub(super) fn count_lines(&self) -> ([usize; 3], [usize; 3]) {
        let writer = self.lock();
        let LineNumbers { keys, owners, lists } = &writer.lines;
        let ((keys, all_keys), (owners, all_owners)) = (keys.count(), owners.count());
        let (lists, all_lists) = lists.count();
        ([keys, owners, lists], [all_keys, all_owners, all_lists])
    }
}

/// Which lines.
#[derive(Clone, Copy, Debug)]
enum LinesOf {
    Keys,
    Owners,
}

fn read(cells: &Cells, number: u32) -> Option<Limiter<'_>> {
    Some(Limiter::read(cells.get(number)?, number))
}

/// What limits are judged by; their list is referred to once more.
fn shape(
    lines: &Lines,
    numbers: &mut LineNumbers,
    limits: &Limits,
) -> Result<Option<Shape>, IndexError> {
    let list = match &limits.networks {
        Some(networks) => {
            let list = numbers.lists.put(&lines.lists, &networks.value);
            Some(list.ok_or(IndexError::Full)?)
        }
        None => None,
    };
    Ok(Shape::new(limits, list))
}
