//! Lapses: expired keys that end in the change that needs their place or their name.

use std::collections::BTreeMap;

use super::{BackendError, Change, KeyCounts, Transaction};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyRecord, Kind};

/// The keys that lapse in one change.
pub(super) struct Lapses<'a> {
    /// The moment by which a key must have expired, and the event of the change that causes the
    /// lapses. `None` if the change may end no key.
    allowed: Option<(Timestamp, &'a EventDraft)>,
    keys: BTreeMap<KeyId, Lapsed>,
}

/// A key before and after its lapse.
struct Lapsed {
    before: KeyRecord,
    after: KeyRecord,
}

impl<'a> Lapses<'a> {
    pub(super) fn new(change: &'a Change) -> Self {
        let allowed = change.lapse_expired_by.zip(change.operations.first());
        Self { allowed: allowed.map(|(by, cause)| (by, &cause.event)), keys: BTreeMap::new() }
    }

    /// Lets a live key lapse, if it expired by then; returns whether it did. Spares a standard key
    /// on demand.
    pub(super) fn end(
        &mut self,
        tx: &mut dyn Transaction,
        id: KeyId,
        spares_standard: bool,
    ) -> Result<bool, BackendError> {
        let Some((by, cause)) = self.allowed else { return Ok(false) };
        let has_expired = |key: &KeyRecord| key.expires_at.is_some_and(|at| at <= by);
        let key = match tx.key(id) {
            // Whether a damaged key has expired isn't known.
            Err(error) if error.damage().is_some() => None,
            key => key?,
        };
        let Some(before) = key.filter(|key| key.is_live() && has_expired(key)) else {
            return Ok(false);
        };
        if spares_standard && before.kind == Kind::Standard {
            return Ok(false);
        }
        let after = KeyRecord {
            lapsed_at: Some(cause.at),
            version: before.version.next(),
            updated_at: cause.at,
            ..before.clone()
        };
        Ok(self.keys.insert(id, Lapsed { before, after }).is_none())
    }

    /// Finds the keys of an owner that may lapse, the longest expired first; at most `limit`.
    pub(super) fn candidates(
        &self,
        tx: &mut dyn Transaction,
        owner: &OwnerId,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        match self.allowed {
            Some((by, _)) => tx.expired_keys(owner, by, limit),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn contains(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    /// Counts the live keys that an owner loses.
    pub(super) fn lost_by(&self, owner: &OwnerId) -> KeyCounts {
        let of_owner = self.keys.values().filter(|lapsed| lapsed.before.owner == *owner);
        let none = KeyCounts::default();
        of_owner.fold(none, |lost, lapsed| {
            lost.plus(KeyCounts::of(&lapsed.before).minus(KeyCounts::of(&lapsed.after)))
        })
    }

    /// Writes the keys, and returns their events in order.
    pub(super) fn write(&self, tx: &mut dyn Transaction) -> Result<Vec<EventDraft>, BackendError> {
        let Some((_, cause)) = self.allowed else { return Ok(Vec::new()) };
        let event = |key: &KeyRecord| EventDraft {
            kind: EventKind::KeyLapsed,
            owner: Some(key.owner),
            key: Some(key.id),
            version: key.version,
            generation: None,
            fields: Fields::LAPSED,
            ..cause.clone()
        };
        for lapsed in self.keys.values() {
            tx.put_key(Some(&lapsed.before), Some(&lapsed.after))?;
        }
        Ok(self.keys.values().map(|lapsed| event(&lapsed.after)).collect())
    }

    /// Returns the keys with their owners.
    pub(super) fn into_keys(self) -> BTreeMap<KeyId, OwnerId> {
        self.keys.into_iter().map(|(id, lapsed)| (id, lapsed.after.owner)).collect()
    }
}
