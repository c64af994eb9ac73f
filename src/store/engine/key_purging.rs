//! The retention of keys: those that ended long ago are purged, some at a time.

use std::sync::{Mutex, PoisonError};

use super::records::Records;
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, KeyFilter, KeyPageQuery, StateSet, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::KeyId;
use crate::key::{KeyRecord, State};
use crate::store::types::error::Error;

/// Number of keys that one step purges. A step takes a few milliseconds on a disk, and other
/// threads commit between two steps.
const STEP: usize = 64;
/// Number of keys that one step looks at. Active keys are passed over without their records.
const EXAMINED: usize = 1_024;

/// The place that a pass over all keys has reached, newest first. Locked, since each thread that
/// commits may take the next step: without the lock two could take the same one.
#[derive(Debug, Default)]
pub(super) struct KeyPurge(Mutex<Option<KeyId>>);

impl KeyPurge {
    /// Purges some of the keys that ended before a moment, by `commit`; returns whether the pass goes
    /// on. If that fails, the next step begins at the same place.
    ///
    /// The commit decides about each key by itself: a key that was changed meanwhile, that another
    /// process has purged, or that is its owner's last standard key, stays as it is.
    pub(super) fn step(
        &self,
        records: &Records,
        before: Timestamp,
        commit: impl FnOnce(&[Change]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let states = StateSet::of(State::ALL.into_iter().filter(|state| *state != State::Active));
        let page = records.backend.page_keys(&KeyPageQuery {
            filter: KeyFilter::new(states, before),
            before: *place,
            after: None,
            limit: STEP,
            examine: EXAMINED,
        })?;
        let has_ended = |key: &&KeyRecord| key.ended_at().is_some_and(|at| at < before);
        let now = records.now();
        let changes = page.keys.iter().filter(has_ended).map(|key| purge(key, now));
        let changes = changes.collect::<Result<Vec<_>, Error>>()?;
        if !changes.is_empty() {
            commit(&changes)?;
        }
        *place = page.next;
        Ok(place.is_some())
    }
}

/// Makes the change that removes a key, in the store's own name.
fn purge(key: &KeyRecord, now: Timestamp) -> Result<Change, Error> {
    let event = EventDraft {
        at: now,
        kind: EventKind::KeyPurged,
        owner: Some(key.owner),
        key: Some(key.id),
        version: key.version,
        generation: None,
        fields: Fields::NONE,
        authority: Authority::new(Role::Administrator, Actor::store()?),
    };
    Ok(Change::of(Write::RemoveKey(key.id, key.version), event))
}
