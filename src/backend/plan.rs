//! The effect of a change on each record that it names, read and checked against the versions that it
//! expects.

use std::collections::{BTreeMap, BTreeSet};

use super::incarnations::Incarnations;
use super::lapses::Lapses;
use super::quarantines::Quarantines;
use super::replaced::{Replaced, quota_set, quota_state};
use super::requests::Requests;
use super::sweeping::Sweeping;
use super::swept::Swept;
use super::{
    BackendError, Change, Operation, PepperUse, Precondition, Rejection, Transaction, UsageSubject,
    Write,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, SweepKind, TokensValidFrom, Usage};

pub(super) type Checked<T = ()> = Result<Result<T, Rejection>, BackendError>;

/// The effect of a change on each record that it names.
pub(super) struct Plan<'a> {
    pub(super) metadata: StoreMetadata,
    pub(super) new_metadata: Option<StoreMetadata>,
    pub(super) owners: BTreeMap<OwnerId, Replaced<OwnerRecord>>,
    pub(super) keys: BTreeMap<KeyId, Replaced<KeyRecord>>,
    /// Expired keys that the change doesn't name, and whose place or name it needs.
    pub(super) lapses: Lapses<'a>,
    /// Keys whose numeric id is to be assigned, in order.
    pub(super) wishes: Vec<KeyId>,
    pub(super) assigned: Vec<NumericId>,
    /// The usage that this change writes: alerts, and counts of quotas that were replaced.
    pub(super) usage: BTreeMap<UsageSubject, Usage>,
    pub(super) requests: Requests,
    pub(super) quarantines: Quarantines<'a>,
    pub(super) incarnations: Incarnations,
    pub(super) sweeping: Sweeping,
    /// The moment of the change.
    pub(super) at: Timestamp,
    /// Whether the change may end live tokens by retiring their pepper, and those that it ends.
    pub(super) ends_tokens: bool,
    pub(super) ended: PepperUse,
}

impl<'a> Plan<'a> {
    /// Reads the records that the change affects; checks versions and preconditions. An alert names
    /// its key's version, so that no alert is kept for a key that is gone.
    pub(super) fn read(tx: &mut Swept<'_>, change: &'a Change) -> Checked<Self> {
        let requests = match Requests::read(tx, change)? {
            Ok(requests) => requests,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let sweeping = match Sweeping::read(tx, change)? {
            Ok(sweeping) => sweeping,
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
            sweeping,
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
        for (place, operation) in change.operations.iter().enumerate() {
            if let Err(rejection) = plan.take(tx, (place, operation))? {
                return Ok(Err(rejection));
            }
            plan.take_quota(tx, operation)?;
        }
        Ok(Ok(plan))
    }

    fn take(&mut self, tx: &mut Swept<'_>, (place, operation): (usize, &'a Operation)) -> Checked {
        let at = operation.event.at;
        match &operation.write {
            write @ (Write::SweepKey(..) | Write::EndSweep(_)) => self.sweeping.take(tx, write),
            Write::Nothing | Write::CreateMetadata(_) => Ok(Ok(())),
            write @ (Write::Quarantine(_) | Write::RemoveDamagedKey(_)) => {
                self.quarantines.take(tx, write)
            }
            Write::CreateKey(create) => {
                let id = create.record.id;
                if tx.key(id)?.is_some() || self.keys.contains_key(&id) {
                    return Ok(Err(Rejection::KeyExists(id)));
                }
                if tx.is_covered(&create.record)? {
                    return Ok(Err(Rejection::KeysChanged));
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
                let mut after = (**owner).clone();
                if let Some(tombstone) = tx.tombstone(&owner.id)?
                    && after.epoch() < tombstone.epoch()
                {
                    // Its epochs go on: a key of before must not be taken for one of now.
                    after.tokens_valid_from = tombstone.tokens_valid_from;
                }
                self.owners.insert(owner.id, Replaced { before: None, after: Some(after) });
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
            Write::RevokeKeys(owner) => {
                let id = owner.id;
                let taken = self.take_owner(tx, id, owner.version.replaced(), Some(owner))?;
                if taken.is_err() {
                    return Ok(taken);
                }
                if let Some(Replaced { before: Some(before), after: Some(after) }) =
                    self.owners.get_mut(&id)
                {
                    let swept = TokensValidFrom::after_sweep(before.tokens_valid_from);
                    after.tokens_valid_from = Some(swept);
                }
                let of = (id, owner.incarnation);
                self.sweeping.note(tx, of, SweepKind::Revoke, (place, operation))
            }
            Write::PurgeOwner(id, version) => {
                let taken = self.take_owner(tx, *id, *version, None)?;
                let before = self.owners.get(id).and_then(|owner| owner.before.as_ref());
                match (taken, before.map(|owner| owner.incarnation)) {
                    (Ok(()), Some(incarnation)) => {
                        let of = (*id, incarnation);
                        self.sweeping.note(tx, of, SweepKind::Purge, (place, operation))
                    }
                    (taken, _) => Ok(taken),
                }
            }
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
        tx: &mut Swept<'_>,
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
        if let Some(after) = after
            && tx.is_covered(after)?
        {
            return Ok(Err(Rejection::KeysChanged));
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
    pub(super) fn owner_after(
        &self,
        tx: &mut dyn Transaction,
        id: &OwnerId,
    ) -> Result<Option<OwnerRecord>, BackendError> {
        match self.owners.get(id) {
            Some(replaced) => Ok(replaced.after.clone()),
            None => tx.owner(id),
        }
    }
}
