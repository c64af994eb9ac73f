//! A transaction that shows keys and owners as the pending sweeps say that they are.
//!
//! The rules of a commit stand on it, so that no backend knows of sweeps: a backend keeps the records,
//! and what an owner's record says about the owner's keys is applied here, to what the backend shows
//! and to what it is given to write.

use std::collections::{BTreeMap, BTreeSet};

use super::{BackendError, Damage, DamagedRecord, KeyCounts, PieceOf, Transaction, UsageSubject};
use crate::clock::Timestamp;
use crate::event::{Event, EventDraft};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Sweep,
    SweepKind, Sweeps, Usage, Used,
};

/// A backend's transaction, as the sweeps show it, for one change.
pub(super) struct Swept<'t> {
    pub(super) inner: &'t mut (dyn Transaction + 't),
    /// The owners that were read, as they are stored.
    owners: BTreeMap<OwnerId, Stored>,
    /// The covered keys that were read, as they are stored.
    keys: BTreeMap<KeyId, KeyRecord>,
}

/// An owner's record, as it is stored.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) record: Option<OwnerRecord>,
    /// Sweeps that aren't written yet.
    pub(super) is_changed: bool,
}

impl<'t> Swept<'t> {
    pub(super) fn new(inner: &'t mut (dyn Transaction + 't)) -> Self {
        Self { inner, owners: BTreeMap::new(), keys: BTreeMap::new() }
    }

    pub(super) fn stored(&mut self, id: &OwnerId) -> Result<&mut Stored, BackendError> {
        if !self.owners.contains_key(id) {
            let record = self.inner.owner(id)?;
            self.owners.insert(*id, Stored { record, is_changed: false });
        }
        Ok(self.owners.entry(*id).or_default())
    }

    /// Returns the sweeps of an owner. Of a damaged record none are known; what rests on the owner
    /// meets the damage itself.
    pub(super) fn sweeps(&mut self, owner: &OwnerId) -> Result<Option<&Sweeps>, BackendError> {
        match self.stored(owner) {
            Ok(_) => {}
            Err(error) if error.damage().is_some() => return Ok(None),
            Err(error) => return Err(error),
        }
        let stored = self.owners.get(owner).and_then(|stored| stored.record.as_ref());
        Ok(stored.and_then(|owner| owner.sweeps.as_deref()))
    }

    /// Returns the sweep of which a change is a piece, unless it has ended.
    pub(super) fn sweep_of(&mut self, piece: PieceOf) -> Result<Option<Sweep>, BackendError> {
        let sweeps = self.sweeps(&piece.owner)?;
        let mut pending = sweeps.into_iter().flat_map(|sweeps| &sweeps.pending);
        Ok(pending.find(|sweep| sweep.binding == piece.binding).cloned())
    }

    /// Returns whether a key that is to be written was issued in an epoch that a sweep has ended.
    pub(super) fn is_covered(&mut self, key: &KeyRecord) -> Result<bool, BackendError> {
        let sweeps = self.sweeps(&key.owner)?;
        Ok(sweeps.is_some_and(|sweeps| sweeps.of_key(key).is_some()))
    }

    /// Returns a key as it is stored.
    pub(super) fn stored_key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner.key(id)
    }

    /// Returns the epoch count of an owner that was purged and whose keys aren't gone yet.
    pub(super) fn tombstone(&mut self, id: &OwnerId) -> Result<Option<&OwnerRecord>, BackendError> {
        Ok(self.stored(id)?.record.as_ref().filter(|owner| owner.is_purged()))
    }

    /// Returns the counts of an owner's keys as they are stored.
    pub(super) fn stored_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        self.inner.key_counts(owner)
    }

    /// Writes what a sweep says of a key into its stored record.
    pub(super) fn sweep_key(
        &mut self,
        key: &KeyRecord,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        self.put_stored_key(Some(key), after)
    }

    /// Lists the events of those keys of a change that a sweep covers and no piece has written: with
    /// the change their records say so, so that no piece will.
    pub(super) fn overtaken<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k KeyId>,
    ) -> Result<Vec<(EventDraft, Sweep)>, BackendError> {
        let mut events = Vec::new();
        for id in keys {
            let Some(key) = self.keys.get(id).cloned() else { continue };
            let Some(sweeps) = self.sweeps(&key.owner)? else { continue };
            events.extend(
                sweeps
                    .steps(key)
                    .map(|(sweep, key)| (EventDraft::of_sweep(sweep, &key), sweep.clone())),
            );
        }
        Ok(events)
    }

    /// Writes the sweeps that have changed with the keys.
    pub(super) fn finish(&mut self) -> Result<(), BackendError> {
        for (id, stored) in &mut self.owners {
            if std::mem::take(&mut stored.is_changed) {
                let before = self.inner.owner(id)?;
                self.inner.put_owner(before.as_ref(), stored.record.as_ref())?;
            }
        }
        Ok(())
    }

    /// Returns the owners of whose keys damaged ones may be covered, and what the counts have of such.
    /// A damaged record doesn't say whose it is.
    fn owners_of_damaged(
        &mut self,
        ids: &[KeyId],
    ) -> Result<Vec<(OwnerId, bool, KeyCounts)>, BackendError> {
        let mut found = Vec::new();
        self.inner.each_owner(&mut |owner| {
            let Ok(OwnerRecord { id, sweeps: Some(sweeps), .. }) = owner else { return };
            let kinds: Vec<_> = ids
                .iter()
                .filter_map(|id| sweeps.of_damaged(*id))
                .map(|sweep| sweep.kind)
                .collect();
            if !kinds.is_empty() {
                found.push((id, kinds.contains(&SweepKind::Purge)));
            }
        })?;
        let mut owners = Vec::new();
        for (id, is_purge) in found {
            let counts = unless_damaged(self.inner.key_counts(&id))?;
            owners.extend(counts.map(|counts| (id, is_purge, counts)));
        }
        Ok(owners)
    }

    fn put_stored_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        for key in [before, after].into_iter().flatten() {
            self.keys.remove(&key.id);
        }
        self.inner.put_key(before, after)?;
        let owner = before.or(after).map(|key| key.owner);
        let Some(owner) = owner else { return Ok(()) };
        let Some(sweeps) = self.sweeps(&owner)? else { return Ok(()) };
        let excess = |key: Option<&KeyRecord>| {
            let shown = key.cloned().and_then(|key| sweeps.applied(key));
            KeyCounts::of_any(key).minus(KeyCounts::of_any(shown.as_ref()))
        };
        let (gone, come) = (excess(before), excess(after));
        self.count(&owner, gone, come)
    }

    /// Keeps by how much the stored records of an owner count too many.
    fn count(
        &mut self,
        owner: &OwnerId,
        gone: KeyCounts,
        come: KeyCounts,
    ) -> Result<(), BackendError> {
        if gone == come {
            return Ok(());
        }
        let stored = self.stored(owner)?;
        if let Some(sweeps) = stored.record.as_mut().and_then(|owner| owner.sweeps.as_mut()) {
            // More are gone than were counted only if the counts were damaged when a sweep was bound.
            sweeps.left = sweeps.left.plus(come).minus(gone);
            stored.is_changed = true;
        }
        Ok(())
    }
}

impl Transaction for Swept<'_> {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        self.inner.metadata()
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        Ok(self.stored(id)?.record.clone().filter(|owner| !owner.is_purged()))
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let Some(key) = self.inner.key(id)? else { return Ok(None) };
        let Some(sweeps) = self.sweeps(&key.owner)? else { return Ok(Some(key)) };
        if sweeps.of_key(&key).is_none() {
            return Ok(Some(key));
        }
        let shown = sweeps.applied(key.clone());
        self.keys.insert(id, key);
        Ok(shown)
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        let counts = self.inner.key_counts(owner)?;
        let Some(sweeps) = self.sweeps(owner)? else { return Ok(counts) };
        let miscounted = || BackendError::damaged("store", "commit", damaged_counts(owner));
        counts.checked_minus(sweeps.left).ok_or_else(miscounted)
    }

    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        self.inner.last_key(owner)
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        let mut ids = self.inner.live_keys_named(owner, name)?;
        if self.sweeps(owner)?.is_some() {
            let mut live = Vec::new();
            for id in ids {
                live.extend(self.is_live(id)?.then_some(id));
            }
            ids = live;
        }
        Ok(ids)
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        if self.sweeps(owner)?.is_none() {
            return self.inner.expired_keys(owner, by, limit);
        }
        // Those that a sweep covers stand among them, any number of them.
        let there = usize::try_from(self.key_counts(owner)?.live).unwrap_or(usize::MAX);
        let limit = limit.min(there);
        let (mut asked, mut seen) = (limit, 0);
        let mut live = Vec::new();
        while live.len() < limit {
            let ids = self.inner.expired_keys(owner, by, asked)?;
            for id in ids.iter().skip(seen) {
                if live.len() < limit && self.is_live(*id)? {
                    live.push(*id);
                }
            }
            if ids.len() < asked {
                break;
            }
            seen = ids.len();
            asked = asked.saturating_mul(2);
        }
        Ok(live)
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        let mut ids = self.inner.keys_created_by(creator)?;
        let mut gone = BTreeSet::new();
        for id in &ids {
            let owner = match self.inner.key(*id) {
                Ok(Some(key)) => key.owner,
                Err(error) if error.damage().is_none() => return Err(error),
                Ok(None) | Err(_) => continue,
            };
            // Another one than the creator's, perhaps, and not of all the same.
            if self.sweeps(&owner)?.is_some_and(Sweeps::has_purge) && self.key(*id)?.is_none() {
                gone.insert(*id);
            }
        }
        ids.retain(|id| !gone.contains(id));
        Ok(ids)
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        self.inner.numeric_id_used(id)
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        self.inner.greatest_numeric_id()
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        self.inner.last_event()
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        let mut swept: BTreeMap<OwnerId, Box<Sweeps>> = BTreeMap::new();
        self.inner.each_owner(&mut |owner| {
            if let Ok(OwnerRecord { id, sweeps: Some(sweeps), .. }) = owner {
                swept.insert(id, sweeps);
            }
        })?;
        self.inner.each_key(&mut |key| match key {
            Ok(key) => match swept.get(&key.owner) {
                Some(sweeps) => sweeps.applied(key).map(Ok).into_iter().for_each(&mut *visit),
                None => visit(Ok(key)),
            },
            damaged => visit(damaged),
        })
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        self.inner.each_owner(&mut |owner| {
            if !owner.as_ref().is_ok_and(OwnerRecord::is_purged) {
                visit(owner);
            }
        })
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        self.inner.put_metadata(metadata)
    }

    /// Keeps the sweeps that are stored. An owner that is removed with keys that only a sweep has
    /// removed leaves a tombstone, which another owner of its id takes over.
    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        let Some(id) = before.or(after).map(|owner| owner.id) else { return Ok(()) };
        let stored = self.stored(&id)?.record.clone();
        let sweeps = stored.as_ref().and_then(|owner| owner.sweeps.clone());
        let record = match (after, &stored) {
            (Some(after), _) => {
                let sweeps = sweeps.map(|sweeps| Box::new(Sweeps { purged: false, ..*sweeps }));
                Some(OwnerRecord { sweeps, ..after.clone() })
            }
            (None, Some(stored)) if sweeps.is_some() => Some(stored.clone().tombstone()),
            (None, _) => None,
        };
        // What this commit has bound so far isn't written yet.
        let is_written = !self.stored(&id)?.is_changed;
        let before = if is_written { stored } else { self.inner.owner(&id)? };
        self.inner.put_owner(before.as_ref(), record.as_ref())?;
        self.owners.insert(id, Stored { record, is_changed: false });
        Ok(())
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        let id = before.or(after).map(|key| key.id);
        let stored = id.and_then(|id| self.keys.get(&id)).cloned();
        self.put_stored_key(stored.as_ref().or(before), after)
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.inner.quarantine(id)
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        self.inner.put_quarantine(entry)
    }

    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError> {
        let owners = self.owners_of_damaged(ids)?;
        self.inner.remove_damaged_keys(ids)?;
        for (owner, is_purge, before) in owners {
            let gone = before.minus(self.inner.key_counts(&owner)?);
            let all = if is_purge { gone.all } else { 0 };
            self.count(&owner, KeyCounts { all, ..gone }, KeyCounts::default())?;
        }
        Ok(())
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        self.inner.append_event(event)
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        self.inner.usage(of)
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        self.inner.put_usage(of, usage)
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.inner.request(id)
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        self.inner.requests_before(before, limit)
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        self.inner.put_request(before, after)
    }

    fn add_usage(&mut self, key: KeyId, used: &Used) -> Result<(), BackendError> {
        self.inner.add_usage(key, used)
    }
}

impl Swept<'_> {
    /// Returns whether a key lives. Whether a damaged one does isn't known. Keeps no record: many are
    /// asked for.
    fn is_live(&mut self, id: KeyId) -> Result<bool, BackendError> {
        let Some(key) = unless_damaged(self.inner.key(id))? else { return Ok(true) };
        let Some(key) = key else { return Ok(false) };
        Ok(key.is_live() && !self.is_covered(&key)?)
    }
}

/// Returns what was read; `None` if it is damaged.
pub(super) fn unless_damaged<T>(read: Result<T, BackendError>) -> Result<Option<T>, BackendError> {
    match read {
        Err(error) if error.damage().is_some() => Ok(None),
        read => read.map(Some),
    }
}

/// The damage of an owner whose counts of keys don't fit its sweeps.
pub(crate) fn damaged_counts(owner: &OwnerId) -> Damage {
    Damage::new("owners", "the counts of keys", DamagedRecord::Owner(*owner))
}
