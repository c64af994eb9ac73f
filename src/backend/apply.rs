//! The rules of a commit, decided in one place for every backend.
//!
//! [`apply`] reads through a [`Transaction`], decides, and only then writes: a refused change has
//! written nothing, so that a backend needs no undo for one change among others.

use std::collections::{BTreeMap, BTreeSet};

use super::incarnations::Incarnations;
use super::lapses::Lapses;
use super::new_rules;
use super::quarantines::Quarantines;
use super::replaced::{Replaced, quota_set, quota_state};
use super::requests::Requests;
use super::retirement;
use super::{
    Applied, BackendError, Change, KeyCounts, Operation, PepperUse, Precondition, Rejection,
    Transaction, UsageSubject, Write,
};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};

/// Applies one change, or refuses it having written nothing. A change that has to read a damaged
/// record is refused alone: those of other callers in its batch take effect.
///
/// # Errors
/// [`BackendError`] of the transaction; the batch is abandoned then.
pub fn apply(
    tx: &mut dyn Transaction,
    change: &Change,
) -> Result<Result<Applied, Rejection>, BackendError> {
    match Plan::decide(tx, change) {
        Ok(Ok(plan)) => plan.write(tx, change).map(Ok),
        Ok(Err(rejection)) => Ok(Err(rejection)),
        Err(error) => match error.damage() {
            Some(damage) => Ok(Err(Rejection::Damaged(Box::new(damage.clone())))),
            None => Err(error),
        },
    }
}

type Checked<T = ()> = Result<Result<T, Rejection>, BackendError>;

/// The effect of a change on each record that it names.
struct Plan<'a> {
    metadata: StoreMetadata,
    new_metadata: Option<StoreMetadata>,
    owners: BTreeMap<OwnerId, Replaced<OwnerRecord>>,
    keys: BTreeMap<KeyId, Replaced<KeyRecord>>,
    /// Expired keys that the change doesn't name, and whose place or name it needs.
    lapses: Lapses<'a>,
    /// Keys whose numeric id is to be assigned, in order.
    wishes: Vec<KeyId>,
    assigned: Vec<NumericId>,
    /// The usage that this change writes: alerts, and counts of quotas that were replaced.
    usage: BTreeMap<UsageSubject, Usage>,
    requests: Requests,
    quarantines: Quarantines<'a>,
    incarnations: Incarnations,
    /// The moment of the change.
    at: Timestamp,
    /// Whether the change may end live tokens by retiring their pepper, and those that it ends.
    ends_tokens: bool,
    ended: PepperUse,
}

impl<'a> Plan<'a> {
    fn decide(tx: &mut dyn Transaction, change: &'a Change) -> Checked<Self> {
        let mut plan = match Self::read(tx, change)? {
            Ok(plan) => plan,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let checks =
            [Self::check_names, Self::check_counts, Self::assign_numeric_ids, Self::check_metadata];
        for check in checks {
            if let Err(rejection) = check(&mut plan, tx)? {
                return Ok(Err(rejection));
            }
        }
        Ok(Ok(plan))
    }

    /// Reads the records that the change affects; checks versions and preconditions. An alert names
    /// its key's version, so that no alert is kept for a key that is gone.
    fn read(tx: &mut dyn Transaction, change: &'a Change) -> Checked<Self> {
        let requests = match Requests::read(tx, change)? {
            Ok(requests) => requests,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let created = change.created_metadata();
        let metadata = match (tx.metadata()?, created) {
            (Some(metadata), None) => metadata,
            (None, Some(created)) => created.clone(),
            (Some(_), Some(_)) => return Ok(Err(Rejection::StoreExists)),
            (None, None) => return Ok(Err(Rejection::StoreMissing)),
        };
        let mut plan = Self {
            metadata,
            new_metadata: created.cloned(),
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            lapses: Lapses::new(change),
            wishes: Vec::new(),
            assigned: Vec::new(),
            usage: BTreeMap::new(),
            requests,
            quarantines: Quarantines::default(),
            incarnations: Incarnations::default(),
            at: change.operations.first().map_or(Timestamp::MIN, |made| made.event.at),
            ends_tokens: change.ends_tokens,
            ended: PepperUse::default(),
        };
        for precondition in &change.preconditions {
            let (expected, found) = match precondition {
                Precondition::StoreMetadata(version) => (*version, Some(plan.metadata.version)),
                Precondition::Key(id, version) => (*version, tx.key(*id)?.map(|key| key.version)),
                Precondition::CreatedKeys(creator, expected) => {
                    let found: BTreeSet<KeyId> =
                        tx.keys_created_by(*creator)?.into_iter().collect();
                    if found == expected.iter().copied().collect() {
                        continue;
                    }
                    return Ok(Err(Rejection::KeysChanged));
                }
                Precondition::LiveKeys(id, expected) => {
                    if tx.key_counts(id)?.live == *expected {
                        continue;
                    }
                    return Ok(Err(Rejection::KeysChanged));
                }
                Precondition::Owner(id, version) => {
                    (*version, tx.owner(id)?.map(|owner| owner.version))
                }
                Precondition::Incarnation(id, expected) => {
                    match plan.incarnations.check(tx, id, *expected)? {
                        Ok(()) => continue,
                        Err(rejection) => return Ok(Err(rejection)),
                    }
                }
            };
            if found != Some(expected) {
                let of = precondition.clone();
                return Ok(Err(Rejection::Conflict { expected, found, of }));
            }
        }
        for operation in &change.operations {
            if let Err(rejection) = plan.take(tx, &operation.write, operation.event.at)? {
                return Ok(Err(rejection));
            }
            plan.take_quota(tx, operation)?;
        }
        Ok(Ok(plan))
    }

    fn take(&mut self, tx: &mut dyn Transaction, write: &'a Write, at: Timestamp) -> Checked {
        match write {
            Write::Nothing | Write::CreateMetadata(_) => Ok(Ok(())),
            Write::Quarantine(_) | Write::RemoveDamagedKey(_) => self.quarantines.take(tx, write),
            Write::CreateKey(create) => {
                let id = create.record.id;
                if tx.key(id)?.is_some() || self.keys.contains_key(&id) {
                    return Ok(Err(Rejection::KeyExists(id)));
                }
                if create.next_numeric_id {
                    self.wishes.push(id);
                }
                let after = Some(create.record.clone());
                self.keys.insert(id, Replaced { before: None, after });
                Ok(Ok(()))
            }
            Write::CreateOwner(owner) => {
                if tx.owner(&owner.id)?.is_some() || self.owners.contains_key(&owner.id) {
                    return Ok(Err(Rejection::OwnerExists));
                }
                let after = Some((**owner).clone());
                self.owners.insert(owner.id, Replaced { before: None, after });
                Ok(Ok(()))
            }
            Write::ReplaceKey(key) | Write::GrantKeyUses(key, _) => {
                self.take_key(tx, key.id, key.version.replaced(), Some(key))
            }
            Write::RemoveKey(id, version) => self.take_key(tx, *id, *version, None),
            Write::ReplaceOwner(owner) | Write::GrantOwnerUses(owner, _) => {
                self.take_owner(tx, owner.id, owner.version.replaced(), Some(owner))
            }
            Write::RemoveOwner(id, version) => self.take_owner(tx, *id, *version, None),
            Write::ReplaceMetadata(metadata) => {
                let (expected, found) = (metadata.version.replaced(), self.metadata.version);
                if found != expected {
                    let of = Precondition::StoreMetadata(expected);
                    return Ok(Err(Rejection::Conflict { expected, found: Some(found), of }));
                }
                self.new_metadata = Some((**metadata).clone());
                Ok(Ok(()))
            }
            Write::RecordAlert(id, alert) => {
                let of = UsageSubject::Key(*id);
                let mut usage = self.usage_of(tx, &of)?;
                if !usage.alert_state.note(*alert, at) {
                    return Ok(Err(Rejection::AlreadyAlerted(*id)));
                }
                self.usage.insert(of, usage);
                Ok(Ok(()))
            }
        }
    }

    /// The usage as it will be.
    fn usage_of(&self, tx: &mut dyn Transaction, of: &UsageSubject) -> Result<Usage, BackendError> {
        match self.usage.get(of) {
            Some(usage) => Ok(*usage),
            None => Ok(tx.usage(of)?.unwrap_or_default()),
        }
    }

    /// Begins the count of a quota that is set, and lets it go on under the quota that replaces it. The
    /// count is read and written in this commit: a lease that another process takes comes before it or
    /// after it. A count that is damaged or lost goes on as used up.
    fn take_quota(
        &mut self,
        tx: &mut dyn Transaction,
        operation: &Operation,
    ) -> Result<(), BackendError> {
        let (of, grant) = match &operation.write {
            Write::CreateKey(create) => (UsageSubject::Key(create.record.id), None),
            Write::ReplaceKey(key) => (UsageSubject::Key(key.id), None),
            Write::GrantKeyUses(key, grant) => (UsageSubject::Key(key.id), Some(*grant)),
            Write::CreateOwner(owner) | Write::ReplaceOwner(owner) => {
                (UsageSubject::Owner(owner.id), None)
            }
            Write::GrantOwnerUses(owner, grant) => (UsageSubject::Owner(owner.id), Some(*grant)),
            _ => return Ok(()),
        };
        let [before, after] = match &of {
            UsageSubject::Key(id) => self.keys.get(id).map(|key| key.quotas(|key| &key.limits)),
            UsageSubject::Owner(id) => {
                self.owners.get(id).map(|owner| owner.quotas(|owner| &owner.limits))
            }
        }
        .unwrap_or_default();
        let Some(after) = quota_set(before, after) else { return Ok(()) };
        let usage = match self.usage_of(tx, &of) {
            Err(error) if error.damage().is_some() => Usage::default(),
            usage => usage?,
        };
        let state = quota_state(before, after, usage.quota, (grant, operation.event.at));
        self.usage.insert(of, Usage { quota: Some(state), ..usage });
        Ok(())
    }

    fn take_key(
        &mut self,
        tx: &mut dyn Transaction,
        id: KeyId,
        expected: Version,
        after: Option<&KeyRecord>,
    ) -> Checked {
        let before = tx.key(id)?;
        let found = before.as_ref().map(|key| key.version);
        if found != Some(expected) {
            let of = Precondition::Key(id, expected);
            return Ok(Err(Rejection::Conflict { expected, found, of }));
        }
        self.keys.insert(id, Replaced { before, after: after.cloned() });
        Ok(Ok(()))
    }

    fn take_owner(
        &mut self,
        tx: &mut dyn Transaction,
        id: OwnerId,
        expected: Version,
        after: Option<&OwnerRecord>,
    ) -> Checked {
        let before = tx.owner(&id)?;
        let found = before.as_ref().map(|owner| owner.version);
        if found != Some(expected) {
            let of = Precondition::Owner(id, expected);
            return Ok(Err(Rejection::Conflict { expected, found, of }));
        }
        if let Err(rejection) = self.incarnations.replace(before.as_ref(), after) {
            return Ok(Err(rejection));
        }
        self.owners.insert(id, Replaced { before, after: after.cloned() });
        Ok(Ok(()))
    }

    /// The owner of a key as it will be.
    fn owner_after(
        &self,
        tx: &mut dyn Transaction,
        id: &OwnerId,
    ) -> Result<Option<OwnerRecord>, BackendError> {
        match self.owners.get(id) {
            Some(replaced) => Ok(replaced.after.clone()),
            None => tx.owner(id),
        }
    }

    /// No two live keys of an owner have one name, if the store says so. An expired key lapses if
    /// its name is needed.
    fn check_names(&mut self, tx: &mut dyn Transaction) -> Checked {
        if !self.metadata.rules.unique_names {
            return Ok(Ok(()));
        }
        let mut taken = BTreeMap::new();
        let mut held = Vec::new();
        for key in self.keys.values().filter_map(|key| key.after.as_ref()) {
            let Some(name) = key.name.as_ref().filter(|_| key.is_live()) else { continue };
            let others = tx.live_keys_named(&key.owner, name)?;
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
    fn check_counts(&mut self, tx: &mut dyn Transaction) -> Checked {
        let of_keys = self.keys.values().flat_map(|key| [&key.before, &key.after]).flatten();
        let owners: BTreeSet<OwnerId> =
            of_keys.map(|key| key.owner).chain(self.owners.keys().copied()).collect();
        for id in owners {
            let (gone, come) = self.counts_of(&id);
            let before = tx.key_counts(&id)?;
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
    fn assign_numeric_ids(&mut self, tx: &mut dyn Transaction) -> Checked {
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
    fn check_metadata(&mut self, tx: &mut dyn Transaction) -> Checked {
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

    fn write(mut self, tx: &mut dyn Transaction, change: &Change) -> Result<Applied, BackendError> {
        if let Some(metadata) = &self.new_metadata {
            tx.put_metadata(metadata)?;
        }
        // Created owners before their keys, removed owners after them.
        let (stay, go): (Vec<_>, Vec<_>) =
            self.owners.values().partition(|owner| owner.after.is_some());
        for owner in stay {
            tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
        }
        for (id, key) in &self.keys {
            tx.put_key(key.before.as_ref(), key.after.as_ref())?;
            if key.after.is_none() {
                tx.put_usage(&UsageSubject::Key(*id), None)?;
            }
        }
        for owner in go {
            tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
            if let Some(gone) = &owner.before {
                tx.put_usage(&UsageSubject::Owner(gone.id), None)?;
            }
        }
        for (of, usage) in &self.usage {
            tx.put_usage(of, Some(usage))?;
        }
        self.quarantines.write(tx)?;
        let lapses = self.lapses.write(tx)?;
        self.requests.write(tx, change)?;
        let first_event = tx.last_event()? + 1;
        let mut sequence = first_event;
        for draft in lapses.iter().chain(change.operations.iter().map(|made| &made.event)) {
            let incarnation = self.incarnations.of(tx, draft.owner);
            let incarnation = self.quarantines.tolerate(incarnation)?;
            tx.append_event(&Event { sequence, incarnation, draft: draft.clone() })?;
            sequence += 1;
        }
        Ok(Applied {
            first_event,
            last_event: sequence - 1,
            numeric_ids: self.assigned,
            lapsed: self.lapses.into_keys(),
            ended: self.ended,
        })
    }
}
