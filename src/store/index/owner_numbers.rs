//! The writer's side of the owners: numbers by id, and the rules by which entries are made.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::entry::{MAX_OWNER, MAX_SET};
use super::interned::Owners;
use super::memory::slab::SlabNumbers;
use super::memory::vectors::make_room;
use crate::id::OwnerId;
use crate::key::TokensValidFrom;

/// The numbers of the owners that are there, and which are free.
///
/// A number is freed by [`release`](Self::release), once its owner is gone and neither a slot nor the
/// walk through stale slots names it.
#[derive(Debug)]
pub(super) struct OwnerNumbers {
    /// Numbers alone: an id lies in its slab entry, once.
    by_id: HashTable<u32>,
    hasher: RandomState,
    /// The rules of each owner, by its number.
    states: Vec<StoredState>,
    /// The moments of the owners that have one; few do.
    tokens_valid_from: HashMap<u32, TokensValidFrom>,
    pub(super) numbers: SlabNumbers,
}

/// The rules of an owner in one word: the number of a set in the lowest bits, then the epoch and the switch.
#[derive(Clone, Copy, Debug, Default)]
struct StoredState(u32);

const EPOCH_AT: u32 = 24;
const SUSPENDED_AT: u32 = 28;
const _: () = assert!(MAX_SET < 1 << EPOCH_AT);

/// The rules of an owner by which the entries of its keys are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerState {
    pub(super) number: u32,
    /// The number of the permission set of its maximum access.
    pub(super) max_access: u32,
    pub(super) tokens_valid_from: TokensValidFrom,
    /// The epoch in which slots are filled now.
    pub(super) epoch: u8,
    /// The owner's switch, as it should be: its flag may still be set.
    pub(super) suspended: bool,
}

/// The rules of an owner that its record says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnerRules {
    pub(super) max_access: u32,
    pub(super) tokens_valid_from: TokensValidFrom,
    pub(super) suspended: bool,
}

impl StoredState {
    fn new(max_access: u32, epoch: u8, suspended: bool) -> Self {
        Self(max_access | u32::from(epoch) << EPOCH_AT | u32::from(suspended) << SUSPENDED_AT)
    }

    fn max_access(self) -> u32 {
        self.0 & ((1 << EPOCH_AT) - 1)
    }

    fn epoch(self) -> u8 {
        // Cut to the width of an epoch.
        #[allow(clippy::cast_possible_truncation)]
        let epoch = (self.0 >> EPOCH_AT & ((1 << (SUSPENDED_AT - EPOCH_AT)) - 1)) as u8;
        epoch
    }

    fn suspended(self) -> bool {
        self.0 >> SUSPENDED_AT == 1
    }
}

impl OwnerState {
    /// Whether slots that were filled by these rules aren't as others say.
    pub(super) fn differs(&self, rules: OwnerRules) -> bool {
        let known = (self.max_access, self.tokens_valid_from);
        known != (rules.max_access, rules.tokens_valid_from)
    }
}

impl Default for OwnerNumbers {
    fn default() -> Self {
        Self {
            by_id: HashTable::new(),
            hasher: RandomState::default(),
            states: Vec::new(),
            tokens_valid_from: HashMap::new(),
            numbers: SlabNumbers::up_to(MAX_OWNER),
        }
    }
}

impl OwnerNumbers {
    pub(super) fn get(&self, owners: &Owners, id: &OwnerId) -> Option<OwnerState> {
        let is_its = |number: &u32| owners.id(*number).as_ref() == Some(id);
        let number = self.by_id.find(self.hasher.hash_one(id), is_its)?;
        self.state(*number)
    }

    /// Returns the rules of an owner that is there.
    pub(super) fn state(&self, number: u32) -> Option<OwnerState> {
        let stored = *self.states.get(number as usize)?;
        Some(OwnerState {
            number,
            max_access: stored.max_access(),
            tokens_valid_from: self.tokens_valid_from.get(&number).copied().unwrap_or_default(),
            epoch: stored.epoch(),
            suspended: stored.suspended(),
        })
    }

    /// Puts an owner, new or changed. `None` when all numbers are used up.
    pub(super) fn put(
        &mut self,
        owners: &Owners,
        id: &OwnerId,
        rules: OwnerRules,
        flags: u8,
    ) -> Option<OwnerState> {
        let (number, epoch) = match self.get(owners, id) {
            Some(before) => {
                owners.set_flags(before.number, flags)?;
                (before.number, before.epoch)
            }
            None => (self.give(owners, id, flags)?, 0),
        };
        let OwnerRules { max_access, tokens_valid_from, suspended } = rules;
        make_room(&mut self.states, number as usize);
        self.states[number as usize] = StoredState::new(max_access, epoch, suspended);
        if tokens_valid_from == TokensValidFrom::default() {
            self.tokens_valid_from.remove(&number);
        } else {
            self.tokens_valid_from.insert(number, tokens_valid_from);
        }
        self.state(number)
    }

    fn give(&mut self, owners: &Owners, id: &OwnerId, flags: u8) -> Option<u32> {
        let (number, entry) = self.numbers.acquire(owners.ids())?;
        if owners.give((number, entry), id, flags).is_none() {
            self.numbers.release(number);
            return None;
        }
        let hasher = &self.hasher;
        let hash = |number: &u32| owners.id(*number).map_or(0, |id| hasher.hash_one(id));
        self.by_id.insert_unique(hasher.hash_one(id), number, hash);
        Some(number)
    }

    /// Sets the epoch in which an owner's slots are filled from now on.
    pub(super) fn set_epoch(&mut self, number: u32, epoch: u8) {
        if let Some(state) = self.states.get_mut(number as usize) {
            *state = StoredState::new(state.max_access(), epoch, state.suspended());
        }
    }

    /// Removes an owner. Its number isn't free yet.
    pub(super) fn remove(&mut self, owners: &Owners, id: &OwnerId) -> Option<OwnerState> {
        let is_its = |number: &u32| owners.id(*number).as_ref() == Some(id);
        let found = self.by_id.find_entry(self.hasher.hash_one(id), is_its).ok()?;
        let (number, _) = found.remove();
        self.removed(number)
    }

    /// Removes the owners for which `keep` fails, and returns them. Their numbers aren't free yet.
    pub(super) fn retain(
        &mut self,
        owners: &Owners,
        keep: impl Fn(&OwnerId) -> bool,
    ) -> Vec<(OwnerId, OwnerState)> {
        let goes = |number: &mut u32| owners.id(*number).is_none_or(|id| !keep(&id));
        let gone: Vec<u32> = self.by_id.extract_if(goes).collect();
        let removed = |number| Some((owners.id(number)?, self.removed(number)?));
        gone.into_iter().filter_map(removed).collect()
    }

    fn removed(&mut self, number: u32) -> Option<OwnerState> {
        let state = self.state(number);
        self.tokens_valid_from.remove(&number);
        state
    }

    /// Frees the number of an owner that was removed. Nothing names it any more.
    pub(super) fn release(&mut self, owners: &Owners, number: u32) {
        owners.clear(number);
        self.numbers.release(number);
    }
}
