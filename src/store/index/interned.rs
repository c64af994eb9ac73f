//! Owners and permission sets by number.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::entry::MAX_SET;
use super::pages::Pages;
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::permission::PermissionSet;

/// What readers need of an owner: its id, and what holds for all of its keys.
#[derive(Debug)]
pub(super) struct OwnerCell {
    pub(super) id: OnceLock<OwnerId>,
    pub(super) flags: AtomicU8,
}

/// The owners by number. A number is given once: a reader may still hold it.
#[derive(Debug)]
pub(super) struct Owners {
    cells: Pages<OwnerCell, { 1 << 16 }>,
    /// One bit for each owner, set if any of its flags is: small enough to stay in a cache.
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
    /// The number of the permission set of its ceiling.
    pub(super) ceiling: u32,
    pub(super) issue_mark: Option<Timestamp>,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self { cells: Pages::new(), flagged: Pages::new() }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&OwnerCell> {
        self.cells.get(number)
    }

    /// An owner's flags.
    #[inline]
    pub(super) fn flags(&self, number: u32) -> Option<u8> {
        let bits = self.flagged.get(number >> 6)?.load(Ordering::Acquire);
        if bits >> (number & 63) & 1 == 0 {
            return Some(0);
        }
        Some(self.get(number)?.flags.load(Ordering::Acquire))
    }

    /// Sets an owner's flags. For the writer.
    pub(super) fn set_flags(&self, number: u32, flags: u8) -> Option<()> {
        self.get(number)?.flags.store(flags, Ordering::Release);
        let word = self.flagged.get_or_make(number >> 6, || AtomicU64::new(0))?;
        let bit = 1 << (number & 63);
        if flags == 0 {
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
        ceiling: u32,
        issue_mark: Option<Timestamp>,
        flags: u8,
    ) -> Option<OwnerState> {
        let number = self.by_id.get(&id).map_or(self.next, |state| state.number);
        let make = || OwnerCell { id: OnceLock::new(), flags: AtomicU8::new(0) };
        let cell = owners.cells.get_or_make(number, make)?;
        cell.id.get_or_init(|| id);
        owners.set_flags(number, flags)?;
        self.next = self.next.max(number + 1);
        let state = OwnerState { number, ceiling, issue_mark };
        self.by_id.insert(id, state);
        Some(state)
    }

    pub(super) fn remove(&mut self, id: &OwnerId) {
        self.by_id.remove(id);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&OwnerId) -> bool) {
        self.by_id.retain(|id, _| keep(id));
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
    /// The number of a set; that of the empty set when numbers are used up.
    pub(super) fn put(&mut self, sets: &Sets, set: PermissionSet) -> u32 {
        if set.is_empty() {
            return 0;
        }
        if let Some(number) = self.0.get(&set) {
            return *number;
        }
        let next = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        let cell = sets.0.get_or_make(next, OnceLock::new).filter(|_| next <= MAX_SET);
        let Some(cell) = cell else { return 0 };
        cell.get_or_init(|| set);
        self.0.insert(set, next);
        next
    }
}
