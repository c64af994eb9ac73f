//! The pieces that write a sweep into the keys' records, after the commit that bound it.
//!
//! A piece changes no answer: the store shows the records as the sweep says that they are, before the
//! piece and after it. So pieces may stop anywhere, and another opening or process goes on with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::recovery::FIRST_PAUSE;
use super::shown::swept_owners;
use super::worker::{Next, Worked, Workers};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{
    BackendError, BackendErrorKind, Change, DamagedRow, KeyFilter, KeyPage, KeyPageQuery, PieceOf,
    Rejection, StateSet, Write, swept_event,
};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{OwnerRecord, Quarantine, Sweep, Sweeps};
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// Largest number of keys that one piece writes. Other callers commit between two pieces.
const PIECE: usize = 256;

/// Longest pause after an attempt that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Starts the thread that works pieces: when the opening has met a sweep, and when one was bound.
pub(in crate::store) fn start_sweeps(
    engine: &Arc<Engine>,
    workers: &mut Workers,
) -> Result<(), Error> {
    let (shared, mut pause) = (Arc::clone(engine), FIRST_PAUSE);
    let work = move || match shared.finish_sweeps(None) {
        Ok(written) => {
            pause = FIRST_PAUSE;
            match written {
                0 => Worked::nothing(Next::WhenWoken),
                _ => Worked::well(Next::WhenWoken),
            }
        }
        Err(error @ Error::Unavailable(Unavailable::Closed)) => {
            Worked::with(Err(error), Next::Never)
        }
        Err(error) => {
            let now = pause;
            pause = (now * 2).min(LONGEST_PAUSE);
            Worked::with(Err(error), Next::After(now))
        }
    };
    let (name, signal) = (engine.records.backend.name(), &engine.records.sweep_signal);
    workers.spawn(name, "keyhasp-sweeps", signal, Next::WhenWoken, work)
}

/// The place of the next piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Among the owner's keys below this one, newest first; at first among all.
    Below(Option<KeyId>),
    /// After the last key.
    End,
}

impl Engine {
    /// Writes what is left of the sweeps of an owner, or of all; returns how many records of keys it
    /// has written.
    pub(in crate::store) fn finish_sweeps(&self, owner: Option<&OwnerId>) -> Result<u64, Error> {
        self.work_sweeps(owner, usize::MAX)
    }

    /// The same with at most so many pieces.
    pub(in crate::store) fn work_sweeps(
        &self,
        owner: Option<&OwnerId>,
        pieces: usize,
    ) -> Result<u64, Error> {
        let (mut written, mut left) = (0, pieces);
        loop {
            let owners = match owner {
                Some(id) => self.records.stored.owner(id)?.into_iter().collect(),
                None => swept_owners(&*self.records.stored)?,
            };
            let mut is_any = false;
            for owner in owners {
                let Some(sweeps) = &owner.sweeps else { continue };
                is_any = true;
                written += self.sweep_owner(&owner, sweeps, &mut left)?;
                if left == 0 {
                    return Ok(written);
                }
            }
            if !is_any {
                return Ok(written);
            }
        }
    }

    /// Writes what the pending sweeps of an owner say of its keys, in one pass over all of them, and
    /// ends those sweeps. Stops early if another thread or process has written a piece of its own;
    /// the caller then looks again.
    fn sweep_owner(
        &self,
        owner: &OwnerRecord,
        sweeps: &Sweeps,
        left: &mut usize,
    ) -> Result<u64, Error> {
        let (mut written, mut place) = (0, Place::Below(None));
        while let Place::Below(before) = place {
            let page = self.records.stored.page_keys(&KeyPageQuery {
                filter: KeyFilter {
                    owner: Some(owner.id),
                    ..KeyFilter::new(StateSet::ALL, Timestamp::MIN)
                },
                before,
                after: None,
                limit: PIECE,
                examine: PIECE,
            })?;
            let next = page.next.map_or(Place::End, |next| Place::Below(Some(next)));
            for change in self.pieces_of(page, owner, sweeps)? {
                if *left == 0 {
                    return Ok(written);
                }
                *left -= 1;
                let keys = change.operations.len() as u64;
                if !self.commit_piece(change)? {
                    return Ok(written);
                }
                written += keys;
            }
            place = next;
        }
        for sweep in &sweeps.pending {
            if *left == 0 {
                return Ok(written);
            }
            *left -= 1;
            if !self.commit_piece(self.end_of(sweep, owner)?)? {
                return Ok(written);
            }
        }
        Ok(written)
    }

    /// Commits a piece; returns whether it took effect. It doesn't if another one was there first.
    fn commit_piece(&self, change: Change) -> Result<bool, Error> {
        match self.commit_alone(change)? {
            Ok(_) => Ok(true),
            Err(Rejection::Conflict { .. } | Rejection::KeysChanged) => Ok(false),
            Err(rejection) => {
                let (kind, name) = (BackendErrorKind::Corrupt, self.records.backend.name());
                Err(BackendError::new(kind, name, "write a sweep").with_source(rejection).into())
            }
        }
    }

    /// Makes the pieces of a page of stored keys, one for each sweep that covers some of them, in the
    /// order of the sweeps.
    fn pieces_of(
        &self,
        page: KeyPage,
        owner: &OwnerRecord,
        sweeps: &Sweeps,
    ) -> Result<Vec<Change>, Error> {
        let mut pieces: BTreeMap<u32, Change> = BTreeMap::new();
        let mut add = |sweep: &Sweep, write, event| {
            let piece = pieces.entry(sweep.epoch).or_insert_with(|| new_piece(sweep, owner));
            *piece = std::mem::take(piece).and(write, event);
        };
        for key in page.keys {
            for (sweep, key) in sweeps.steps(key) {
                add(sweep, Write::SweepKey(key.id, key.version), swept_event(sweep, &key));
            }
        }
        for row in page.damaged {
            if let Some(sweep) = sweeps.pending.last()
                && let Some((write, event)) = self.damaged_key(&row, sweep, owner)?
            {
                add(sweep, write, event);
            }
        }
        Ok(pieces.into_values().collect())
    }

    /// Ends a damaged key. Whether the sweep covers it can't be read, so it is ended in any case:
    /// with its owner it goes, otherwise an entry lies over it.
    fn damaged_key(
        &self,
        row: &DamagedRow,
        sweep: &Sweep,
        owner: &OwnerRecord,
    ) -> Result<Option<(Write, EventDraft)>, Error> {
        let Some(id) = row.key() else { return Ok(None) };
        let known = self.records.stored.quarantine(id)?;
        let event = |kind, version, fields| EventDraft {
            at: sweep.at,
            kind,
            owner: Some(owner.id),
            key: Some(id),
            version,
            generation: None,
            fields,
            authority: sweep.authority.clone(),
        };
        if owner.is_purged() {
            let version = known.map_or(Version::FIRST, |entry| entry.version);
            let event = event(EventKind::KeyPurged, version, Fields::NONE);
            return Ok(Some((Write::RemoveDamagedKey(id), event)));
        }
        let version = known.as_ref().map_or(Version::FIRST, |entry| entry.version.next());
        let certain = self.records.index.owner_of(id);
        let none = Quarantine { id, owner: certain, version, blocked: None, revoked: None };
        let entry = known.unwrap_or(none);
        if entry.revoked.is_some() {
            return Ok(None);
        }
        let entry = Quarantine { version, revoked: Some(sweep.switch()), ..entry };
        let event = event(EventKind::KeyRevoked, version, Fields::REVOKED);
        Ok(Some((Write::Quarantine(Box::new(entry)), event)))
    }

    /// Makes the piece that ends a sweep.
    fn end_of(&self, sweep: &Sweep, owner: &OwnerRecord) -> Result<Change, Error> {
        let event = EventDraft {
            at: self.records.now(),
            kind: EventKind::OwnerSweepEnded,
            owner: Some(owner.id),
            key: None,
            version: owner.version,
            generation: None,
            fields: Fields::NONE,
            authority: Authority::new(Role::Administrator, Actor::store()?),
        };
        Ok(new_piece(sweep, owner).and(Write::EndSweep, event))
    }
}

fn new_piece(sweep: &Sweep, owner: &OwnerRecord) -> Change {
    let piece_of = Some(PieceOf { owner: owner.id, epoch: sweep.epoch });
    Change { piece_of, ..Change::default() }
}
