//! Loading records from the backend into the index: all of them, or those that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::affected::AffectedRecords;
use super::loading::Loading;
use super::pipeline::pipeline;
use super::records::{Records, Resumed};
use crate::backend::{EventFilter, EventQuery, Scanned};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::StoreMetadata;
use crate::permission::Pattern;
use crate::store::index::Made;
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// The ids that a scan has shown.
#[derive(Debug, Default)]
struct Shown {
    keys: BTreeSet<KeyId>,
    owners: BTreeSet<OwnerId>,
}

impl Records {
    /// Loads all records into an empty index that no other thread has yet, and notes the time of the
    /// newest event.
    pub(in crate::store) fn load(&mut self) -> Result<(), Error> {
        let (last_event, unmatched) = self.scan(None)?;
        self.unmatched = unmatched.into_iter().collect();
        self.index.relocate_limits();
        self.lock_applied_log().applied_seq = last_event;
        if let Some(at) = self.time_of_event(last_event)? {
            self.clock_watch.note_opening_event(at);
            self.note_last_event(last_event, at);
        }
        Ok(())
    }

    /// Returns when an event was, if the log has it.
    pub(super) fn time_of_event(&self, number: u64) -> Result<Option<Timestamp>, Error> {
        let after = number.saturating_sub(1);
        let query = EventQuery {
            after,
            before: None,
            filter: EventFilter::default(),
            limit: 1,
            examine: 1,
        };
        let found = self.backend.events(&query)?.events.pop();
        Ok(found.filter(|event| event.sequence == number).map(|event| event.at))
    }

    /// Loads all records again, and removes those from the index that the backend no longer has.
    /// Returns the number of the last event that the index is sure to reflect.
    pub(super) fn reload_all(&self) -> Result<u64, Error> {
        let mut shown = Shown::default();
        let (last_event, _) = self.scan(Some(&mut shown))?;
        let Shown { mut keys, owners } = shown;
        // Damaged keys of whole rows, those of a damaged owner, were shown as keys.
        self.damages.keys().iter().for_each(|key| _ = keys.remove(key));
        self.observer.retain_keys(&keys);
        self.graces.retain(&keys);
        if let Some(details) = &self.details {
            details.retain(&keys, &owners);
        }
        Ok(last_event)
    }

    /// Puts all records into the index, on another thread. Notes them in `shown` if it is given, and removes
    /// from the index those that it doesn't have. Returns the number of the last event, and the patterns of
    /// keys that match no permission.
    fn scan(&self, mut shown: Option<&mut Shown>) -> Result<(u64, BTreeSet<Pattern>), Error> {
        let expected = self.backend.expected_keys();
        let mut keys = Vec::new();
        let (scanned, mut loading) = pipeline(
            |emit| {
                self.backend.scan(&mut |scanned| {
                    if let Some(shown) = &mut shown {
                        shown.note(&scanned);
                    }
                    self.note_scanned(&scanned);
                    if let (Scanned::Key(key), Some(_)) = (&scanned, &self.details) {
                        keys.push(key.id);
                    }
                    emit(scanned);
                })
            },
            |loading: &mut Loading, records| {
                if !std::mem::replace(&mut loading.has_room, true) {
                    self.index.make_room(expected);
                }
                loading.put(&self.index, records);
            },
        );
        let last_event = scanned?;
        self.read_details(None, keys)?;
        let orphans = std::mem::take(&mut loading.orphans);
        // Reloaded below.
        loading.unblocked.retain(|owner| !orphans.contains(&owner.id));
        let unmatched = loading.take_unmatched();
        if let Some(Shown { keys, owners }) = shown.as_deref() {
            // Before owners are resumed below: a key that was revoked first may be gone since.
            self.index.retain(keys, owners);
        }
        let damaged = loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        damaged.iter().for_each(|row| self.remove_damaged(row));
        self.damages.replace(damaged);
        for owner in orphans {
            // The owner was created after the backend showed the owners, and before it showed the
            // keys; or the owner is gone since; or its record is damaged or lost.
            self.reload_owner(&owner)?;
        }
        self.index.end_all_unread();
        self.refills.wake();
        Ok((last_event, unmatched))
    }

    /// Reads these records from the backend, and puts them into the index or removes them from it.
    pub(in crate::store) fn reload(
        &self,
        affected: &AffectedRecords,
        made: Made,
    ) -> Result<(), Error> {
        let mut resumed = BTreeMap::new();
        self.reload_but_resume(affected, made, &mut resumed)?;
        resumed.values().try_for_each(|owner| self.put_owner(&owner.record, made))
    }

    /// The same, but leaves owners suspended that aren't any more; notes them in `resumed`.
    pub(super) fn reload_but_resume(
        &self,
        affected: &AffectedRecords,
        made: Made,
        resumed: &mut BTreeMap<OwnerId, Resumed>,
    ) -> Result<(), Error> {
        if affected.metadata {
            let stored = self.stored_metadata()?;
            self.check_metadata(&stored)?;
            self.put_metadata(&stored)?;
        }
        if affected.all {
            resumed.clear();
            return self.reload_all().map(drop);
        }
        let (mut gone, mut replaced) = (Vec::new(), Vec::new());
        for owner in affected.owners_of_lapses.difference(&affected.owners) {
            self.reload_owner(owner)?;
        }
        for owner in &affected.owners {
            // Where it was resumed before, that still counts: otherwise it would stay suspended for as
            // long as another process changes it.
            let after = resumed.remove(owner).and_then(|owner| owner.after);
            let reloaded = self.reload_owner_alone(owner, affected, made)?;
            let still = reloaded.resumed.map(|record| Resumed { record, after });
            resumed.extend(still.map(|still| (*owner, still)));
            replaced.extend(reloaded.replaced);
            if !reloaded.exists {
                gone.push(owner);
            }
        }
        for (id, owner) in &affected.keys {
            match self.backend.key(*id) {
                Ok(Some(key)) => self.put_key(&key)?,
                Ok(None) => {
                    self.damages.forget(*id);
                    self.remove_key(*id, owner)?;
                }
                Err(error) => self.note_damage(*id, owner, error)?,
            }
        }
        // After their keys: a key is removed by its owner's number, which is gone with the owner.
        gone.into_iter().for_each(|owner| self.remove_owner(owner));
        // And after those of their successors: a key that was under the earlier number is there throughout.
        if !replaced.is_empty() {
            drop(replaced);
            self.refills.wake();
        }
        Ok(())
    }

    /// Replaces the metadata. A later `tokens_valid_from` and a retired pepper end tokens of any key,
    /// so all keys are reloaded first. The metadata counts as replaced only after that: if reloading
    /// fails, the next call reloads again.
    pub(in crate::store) fn put_metadata(&self, metadata: &StoreMetadata) -> Result<(), Error> {
        if !self.metadata().metadata.invalidates_as(metadata) {
            self.index.set_invalidations(metadata);
            self.reload_all()?;
        }
        let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let accepted: Vec<_> = metadata.prefixes.accepted().map(|entry| entry.prefix).collect();
        state.prefixes.retain(|prefix| accepted.contains(prefix));
        for prefix in accepted {
            if !state.prefixes.contains(&prefix) {
                state.prefixes.push(prefix);
            }
        }
        state.metadata = metadata.clone();
        self.prefixes.put(&metadata.prefixes);
        Ok(())
    }

    /// Returns an error if another process has changed the rules or prefixes that this process was
    /// opened with, or has retired the pepper of its new tokens; the store is unavailable from then
    /// on. An added pepper is no such change: a process that lacks it learns so from the first token
    /// under it.
    pub(in crate::store) fn check_metadata(&self, stored: &StoreMetadata) -> Result<(), Error> {
        let known = self.metadata().metadata;
        let can_issue = !stored.is_retired(self.peppers.current().0);
        if known.rules == stored.rules && known.prefixes == stored.prefixes && can_issue {
            return Ok(());
        }
        self.availability.set_rules_changed();
        Err(Unavailable::RulesChanged.into())
    }
}

impl Shown {
    fn note(&mut self, scanned: &Scanned) {
        match scanned {
            Scanned::Owner(owner) => _ = self.owners.insert(owner.id),
            Scanned::Key(key) => _ = self.keys.insert(key.id),
            Scanned::Damaged(_) => {}
        }
    }
}
