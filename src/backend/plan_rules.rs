//! The rules that a planned change must satisfy together with what is there: names, numbers of keys,
//! numeric ids, and the store's own rules.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Checked, Plan};
use super::replaced::Replaced;
use super::{BackendError, KeyCounts, Rejection, Transaction, new_rules, retirement};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::KeyRecord;

impl Plan<'_> {
    /// No two live keys of an owner have one name, if the store says so. An expired key lapses if
    /// its name is needed.
    pub(super) fn check_names(&mut self, tx: &mut dyn Transaction) -> Checked {
        if !self.metadata.rules.unique_names {
            return Ok(Ok(()));
        }
        let mut taken = BTreeMap::new();
        let mut held = Vec::new();
        for key in self.keys.values().filter_map(|key| key.after.as_ref()) {
            let Some(name) = key.name.as_ref().filter(|_| key.is_live()) else { continue };
            let others = match self.sweeping.binds(&key.owner) {
                // None of them lives on.
                true => Vec::new(),
                false => tx.live_keys_named(&key.owner, name)?,
            };
            // Keys of this change are judged by what they will be.
            let others = others.into_iter().filter(|other| !self.keys.contains_key(other));
            held.extend(others.map(|other| (key.owner, other)));
            if let Some(other) = taken.insert((key.owner, name), key.id) {
                return Ok(Err(Rejection::NameTaken(other)));
            }
        }
        for (owner, other) in held {
            if !self.lapse(tx, &owner, other)? {
                return Ok(Err(Rejection::NameTaken(other)));
            }
        }
        Ok(Ok(()))
    }

    /// Lets a key lapse that this change doesn't name; returns whether it did. An owner's last
    /// standard key doesn't, where the store says that one stays.
    fn lapse(
        &mut self,
        tx: &mut dyn Transaction,
        owner: &OwnerId,
        id: KeyId,
    ) -> Result<bool, BackendError> {
        let (gone, come) = self.counts_of(owner);
        let after = tx.key_counts(owner)?.minus(gone).plus(come).minus(self.lapses.lost_by(owner));
        let is_last = self.metadata.rules.keep_standard_key && after.live_standard <= 1;
        self.lapses.end(tx, id, is_last)
    }

    /// Lets the longest expired keys of an owner lapse until `needed` places are free; returns
    /// whether that many did.
    fn free_places(
        &mut self,
        tx: &mut dyn Transaction,
        owner: &OwnerId,
        mut needed: u64,
    ) -> Result<bool, BackendError> {
        if needed == 0 {
            return Ok(true);
        }
        // Keys of the change itself are passed over, those that lapse already, and at most one
        // that must stay.
        let passed_over = self.keys.len() as u64 + self.lapses.lost_by(owner).live + 1;
        let limit = usize::try_from(needed + passed_over).unwrap_or(usize::MAX);
        for id in self.lapses.candidates(tx, owner, limit)? {
            if needed == 0 {
                break;
            }
            if !self.keys.contains_key(&id)
                && !self.lapses.contains(&id)
                && self.lapse(tx, owner, id)?
            {
                needed -= 1;
            }
        }
        Ok(needed == 0)
    }

    /// Counts the keys of an owner that the change replaces or removes, and those that it puts.
    fn counts_of(&self, owner: &OwnerId) -> (KeyCounts, KeyCounts) {
        let count = |side: fn(&Replaced<KeyRecord>) -> Option<&KeyRecord>| {
            let of_owner = self.keys.values().filter_map(side).filter(|key| key.owner == *owner);
            of_owner.map(KeyCounts::of).fold(KeyCounts::default(), KeyCounts::plus)
        };
        (count(|key| key.before.as_ref()), count(|key| key.after.as_ref()))
    }

    /// Keys have owners, none too many, and the last standard key stays where the store says so.
    /// Expired keys lapse if their places are needed.
    pub(super) fn check_counts(&mut self, tx: &mut dyn Transaction) -> Checked {
        let of_keys = self.keys.values().flat_map(|key| [&key.before, &key.after]).flatten();
        let owners: BTreeSet<OwnerId> =
            of_keys.map(|key| key.owner).chain(self.owners.keys().copied()).collect();
        for id in owners {
            let (gone, come) = self.counts_of(&id);
            let before = match tx.key_counts(&id) {
                // None of those that there are is left.
                Err(error) if error.damage().is_some() && self.sweeping.binds(&id) => {
                    KeyCounts::default()
                }
                counts => counts?,
            };
            let gone = self.sweeping.going(&id, before).unwrap_or(gone);
            let after = before.minus(gone).plus(come);
            let owner = self.owner_after(tx, &id)?;
            let Some(owner) = owner.inspect(|owner| self.incarnations.note(owner)) else {
                let rejection =
                    if come.all > 0 { Rejection::OwnerMissing } else { Rejection::OwnerHasKeys };
                if after.all > 0 {
                    return Ok(Err(rejection));
                }
                continue;
            };
            // An owner may be over its number, where that was lowered; it may not get further.
            let lost = self.lapses.lost_by(&id);
            let excess = after.minus(lost).live.saturating_sub(owner.max_keys.into());
            if after.live > before.live && !self.free_places(tx, &id, excess)? {
                return Ok(Err(Rejection::TooManyKeys { limit: owner.max_keys }));
            }
            let stays = after.minus(self.lapses.lost_by(&id));
            if self.metadata.rules.keep_standard_key && stays.live_standard == 0 {
                return Ok(Err(Rejection::LastStandardKey));
            }
        }
        Ok(Ok(()))
    }

    /// Numeric ids are used once, for ever.
    pub(super) fn assign_numeric_ids(&mut self, tx: &mut dyn Transaction) -> Checked {
        // Asked only by a change that needs it: where the numbers are damaged, a key can be revoked.
        let mut greatest = if self.wishes.is_empty() { 0 } else { tx.greatest_numeric_id()? };
        let mut used = Vec::new();
        for key in self.keys.values().filter(|key| key.before.is_none()) {
            let Some(id) = key.after.as_ref().and_then(|key| key.numeric_id) else { continue };
            if used.contains(&id) || tx.numeric_id_used(id)? {
                return Ok(Err(Rejection::NumericIdTaken(id)));
            }
            used.push(id);
            greatest = greatest.max(id.get());
        }
        for wish in &self.wishes {
            let Ok(id) = NumericId::new(greatest + 1) else {
                return Ok(Err(Rejection::NumericIdsExhausted));
            };
            greatest = id.get();
            self.assigned.push(id);
            if let Some(key) = self.keys.get_mut(wish).and_then(|key| key.after.as_mut()) {
                key.numeric_id = Some(id);
            }
        }
        Ok(Ok(()))
    }

    /// New rules of the store must fit the data, and a retired pepper ends no token unasked.
    pub(super) fn check_metadata(&mut self, tx: &mut dyn Transaction) -> Checked {
        let Some(new) = &self.new_metadata else { return Ok(Ok(())) };
        let fits = new_rules::check(tx, &self.metadata, new, &self.owners, &self.keys)?;
        if fits.is_err() {
            return Ok(fits);
        }
        let ended = retirement::ended(tx, &self.metadata, new, &self.keys, self.at)?;
        let Some((number, used)) = ended else { return Ok(Ok(())) };
        if !used.is_none() && !self.ends_tokens {
            return Ok(Err(Rejection::PepperInUse { number, used }));
        }
        self.ended = used;
        Ok(Ok(()))
    }
}
