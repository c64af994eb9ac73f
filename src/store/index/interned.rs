//! Owners and permission sets by number.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::entry::MAX_SET;
use super::memory::pages::Pages;
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::permission::PermissionSet;

/// What readers need of an owner: its id, and what holds for all of its keys.
#[derive(Debug)]
pub(super) struct OwnerCell {
    pub(super) id: OnceLock<OwnerId>,
    /// Its flags, and above them the number of the line with its limits and 1; in one word, so that
    /// an owner takes no more memory for it.
    word: AtomicU32,
}

/// How many bits of an owner's word are flags.
const FLAG_BITS: u32 = 8;
const FLAGS: u32 = (1 << FLAG_BITS) - 1;

/// The owners by number. A number is given once: a reader may still hold it.
#[derive(Debug)]
pub(super) struct Owners {
    cells: Pages<OwnerCell, { 1 << 16 }>,
    /// One bit for each owner, set if its word isn't 0: small enough to stay in a cache.
    flagged: Pages<AtomicU64, { 1 << 13 }>,
}

/// The writer's side: numbers by id, and what cuts the tokens of an owner's keys.
#[derive(Debug, Default)]
pub(super) struct OwnerNumbers {
    by_id: HashMap<OwnerId, OwnerState>,
    next: u32,
}

/// What cuts the tokens of an owner's keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerState {
    pub(super) number: u32,
    /// The number of the permission set of its maximum access.
    pub(super) max_access: u32,
    pub(super) tokens_valid_from: Option<Timestamp>,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self { cells: Pages::new(), flagged: Pages::new() }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&OwnerCell> {
        self.cells.get(number)
    }

    /// An owner's word: 0 if nothing stands against its keys, and nothing limits them.
    #[inline]
    pub(super) fn word(&self, number: u32) -> Option<u32> {
        let bits = self.flagged.get(number >> 6)?.load(Ordering::Acquire);
        if bits >> (number & 63) & 1 == 0 {
            return Some(0);
        }
        Some(self.get(number)?.word.load(Ordering::Acquire))
    }

    /// The flags of an owner's word.
    #[inline]
    pub(super) fn flags_of(word: u32) -> u8 {
        // The lowest bits.
        #[allow(clippy::cast_possible_truncation)]
        let flags = (word & FLAGS) as u8;
        flags
    }

    /// The line with an owner's limits, if it has any, by its word.
    #[inline]
    pub(super) fn limiter_of(word: u32) -> Option<u32> {
        (word >> FLAG_BITS).checked_sub(1)
    }

    /// Sets an owner's flags. For the writer.
    pub(super) fn set_flags(&self, number: u32, flags: u8) -> Option<()> {
        let limiter = self.get(number)?.word.load(Ordering::Relaxed) & !FLAGS;
        self.set(number, limiter | u32::from(flags))
    }

    /// Sets where an owner's limits lie; `None` past the greatest number. For the writer.
    pub(super) fn set_limiter(&self, number: u32, limiter: Option<u32>) -> Option<()> {
        let limiter = limiter.map_or(Some(0), |limiter| limiter.checked_add(1))?;
        let shifted = limiter.checked_mul(1 << FLAG_BITS)?;
        self.set(number, shifted | self.get(number)?.word.load(Ordering::Relaxed) & FLAGS)
    }

    fn set(&self, number: u32, new: u32) -> Option<()> {
        self.get(number)?.word.store(new, Ordering::Release);
        let word = self.flagged.get_or_make(number >> 6, || AtomicU64::new(0))?;
        let bit = 1 << (number & 63);
        if new == 0 {
            word.fetch_and(!bit, Ordering::AcqRel);
        } else {
            word.fetch_or(bit, Ordering::AcqRel);
        }
        Some(())
    }
}

impl OwnerNumbers {
    pub(super) fn get(&self, id: &OwnerId) -> Option<OwnerState> {
        self.by_id.get(id).copied()
    }

    /// Notes an owner, new or changed. `None` when all numbers are used up.
    pub(super) fn put(
        &mut self,
        owners: &Owners,
        id: OwnerId,
        max_access: u32,
        tokens_valid_from: Option<Timestamp>,
        flags: u8,
    ) -> Option<OwnerState> {
        let number = self.by_id.get(&id).map_or(self.next, |state| state.number);
        let make = || OwnerCell { id: OnceLock::new(), word: AtomicU32::new(0) };
        let cell = owners.cells.get_or_make(number, make)?;
        cell.id.get_or_init(|| id);
        owners.set_flags(number, flags)?;
        self.next = self.next.max(number + 1);
        let state = OwnerState { number, max_access, tokens_valid_from };
        self.by_id.insert(id, state);
        Some(state)
    }

    pub(super) fn remove(&mut self, id: &OwnerId) -> Option<OwnerState> {
        self.by_id.remove(id)
    }

    /// Forgets all but some; those that were forgotten.
    pub(super) fn retain(&mut self, keep: impl Fn(&OwnerId) -> bool) -> Vec<OwnerState> {
        self.by_id.extract_if(|id, _| !keep(id)).map(|(_, state)| state).collect()
    }
}

/// The permission sets by number; 0 is the empty one.
#[derive(Debug)]
pub(super) struct Sets(Pages<OnceLock<PermissionSet>, { 1 << 12 }>);

/// The writer's side: numbers by set.
#[derive(Debug, Default)]
pub(super) struct SetNumbers(HashMap<PermissionSet, u32>);

impl Sets {
    pub(super) fn new() -> Self {
        Self(Pages::new())
    }

    /// The set of a number; the empty one for a number never given.
    #[inline]
    pub(super) fn get(&self, number: u32) -> PermissionSet {
        self.0.get(number).and_then(OnceLock::get).copied().unwrap_or_default()
    }
}

impl SetNumbers {
    /// The number of a set; `None` when all numbers are used up.
    pub(super) fn put(&mut self, sets: &Sets, set: PermissionSet) -> Option<u32> {
        if set.is_empty() {
            return Some(0);
        }
        if let Some(number) = self.0.get(&set) {
            return Some(*number);
        }
        let next = u32::try_from(self.0.len() + 1).ok().filter(|next| *next <= MAX_SET)?;
        sets.0.get_or_make(next, OnceLock::new)?.get_or_init(|| set);
        self.0.insert(set, next);
        Some(next)
    }
}
