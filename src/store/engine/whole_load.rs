//! Loading all records from the backend into the index.

use std::collections::BTreeSet;

use super::loading::Loading;
use super::pipeline::pipeline;
use super::records::Records;
use crate::backend::{EventFilter, EventQuery, Scanned};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::permission::Pattern;
use crate::store::types::error::Error;

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
