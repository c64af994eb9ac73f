//! The pieces that write a sweep into the keys' records, after the commit that bound it.
//!
//! A piece changes no answer: the store shows the records as the sweep says that they are, before the
//! piece and after it. So pieces may stop anywhere, and another opening or process goes on with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::recovery::FIRST_PAUSE;
use super::shown::swept_owners;
use super::worker::{Next, Worked, Workers};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{
    AllWritten, BackendError, BackendErrorKind, Change, Damage, DamagedRow, KeyFilter, KeyPage,
    KeyPageQuery, Operation, PieceOf, Rejection, StateSet, Write, damaged_counts,
};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{OwnerRecord, Quarantine, Sweep, SweepKind, Sweeps};
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// Largest number of keys that one piece writes. Other callers commit between two pieces.
const PIECE: usize = 256;

/// Longest pause after an attempt that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause after an attempt that met damage. It may have looked at all keys.
const PAUSE_OF_DAMAGE: Duration = Duration::from_secs(60);

/// Starts the thread that writes pieces: when the opening has met a sweep, and when one was bound.
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
        Err(Error::Backend(error)) if error.kind() == BackendErrorKind::Corrupt => {
            Worked::with(Err(error.into()), Next::After(PAUSE_OF_DAMAGE))
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
    /// Among the keys below this one, newest first; at first among all.
    Below(Option<KeyId>),
    /// After the last key.
    End,
}

/// The keys at which a pass looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    /// Those that are listed as the owner's.
    Owners,
    /// All, since that list may lack some.
    All,
}

/// The pieces that may still be written, and the keys' records that were.
struct Budget {
    pieces: usize,
    written: u64,
}

/// The outcome of a pass over keys.
struct Pass {
    /// The sweeps that were pending when it began. It has written all that they cover.
    bindings: Vec<u64>,
    written_all: AllWritten,
}

/// The outcome of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committed {
    All,
    /// Another thread or process was there first.
    Overtaken,
    /// No more pieces were asked for.
    Stopped,
    /// The counts say that covered keys aren't written.
    Overlooked,
}

impl Engine {
    /// Writes what is left of the sweeps of an owner, or of all; returns how many records of keys it
    /// has written.
    pub(in crate::store) fn finish_sweeps(&self, owner: Option<&OwnerId>) -> Result<u64, Error> {
        self.work_sweeps(owner, usize::MAX)
    }

    /// Writes at most `pieces` pieces. If one owner's pieces can't be written, the others' still are.
    pub(in crate::store) fn work_sweeps(
        &self,
        owner: Option<&OwnerId>,
        pieces: usize,
    ) -> Result<u64, Error> {
        let mut budget = Budget { written: 0, pieces };
        let mut failed = BTreeSet::new();
        let mut first = Ok(());
        loop {
            let owners = match owner {
                Some(id) => self.records.stored.owner(id)?.into_iter().collect(),
                None => swept_owners(&*self.records.stored)?,
            };
            let is_left =
                |owner: &&OwnerRecord| owner.sweeps.is_some() && !failed.contains(&owner.id);
            let left: Vec<OwnerId> = owners.iter().filter(is_left).map(|owner| owner.id).collect();
            for id in &left {
                if let Err(error) = self.sweep_owner(id, &mut budget) {
                    failed.insert(*id);
                    first = first.and(Err(error));
                }
            }
            if left.is_empty() || budget.pieces == 0 {
                return first.map(|()| budget.written);
            }
        }
    }

    /// Writes what the pending sweeps of an owner say of its keys, in one pass over all of them, and
    /// ends those sweeps. If the counts say that the pass has overlooked some, makes another one over
    /// the keys of all owners. What is bound meanwhile is left to the next call.
    fn sweep_owner(&self, id: &OwnerId, budget: &mut Budget) -> Result<(), Error> {
        for among in [Among::Owners, Among::All] {
            let Some(pass) = self.write_keys(id, among, budget)? else { return Ok(()) };
            if self.end_sweeps(id, &pass, budget)? != Committed::Overlooked {
                return Ok(());
            }
        }
        // A third pass would find no more.
        Err(self.damage_error(damaged_counts(id)))
    }

    /// Makes one pass. Returns `None` if it was stopped, or if the owner has no sweeps any more.
    fn write_keys(
        &self,
        id: &OwnerId,
        among: Among,
        budget: &mut Budget,
    ) -> Result<Option<Pass>, Error> {
        let Some((_, sweeps)) = self.stored_sweeps(id)? else { return Ok(None) };
        let bindings = sweeps.pending.iter().map(|sweep| sweep.binding).collect();
        // A revocation changes no key that is revoked.
        let is_all = sweeps.has_purge() || among == Among::All;
        let states = if is_all { StateSet::ALL } else { StateSet::UNREVOKED };
        let owner = (among == Among::Owners).then_some(*id);
        let (mut place, mut damaged, mut unknown) = (Place::Below(None), 0, None);
        while let Place::Below(before) = place {
            // As it is now: another one may have its id by now, with keys of its own.
            let Some((owner_now, sweeps)) = self.stored_sweeps(id)? else { return Ok(None) };
            let mut page = self.records.stored.page_keys(&KeyPageQuery {
                filter: KeyFilter { owner, ..KeyFilter::new(states, Timestamp::MIN) },
                before,
                after: None,
                limit: PIECE,
                examine: PIECE,
            })?;
            let next = page.next.map_or(Place::End, |next| Place::Below(Some(next)));
            if among == Among::All {
                page.keys.retain(|key| key.owner == *id);
                // Whose they are isn't known, but an entry that revokes one does for each owner.
                let is_open = |row: &DamagedRow| {
                    !row.is_revoked() && row.key().is_none_or(|id| sweeps.of_damaged(id).is_some())
                };
                unknown = unknown.or(page.damaged.drain(..).find(is_open));
            }
            let revoked = |row: &&DamagedRow| {
                let sweep = row.key().and_then(|id| sweeps.of_damaged(id));
                sweep.is_some_and(|sweep| sweep.kind == SweepKind::Revoke)
            };
            let damaged_here = page.damaged.iter().filter(revoked).count() as u64;
            match self.commit_pieces(self.pieces_of(page, &owner_now, &sweeps)?, budget)? {
                Committed::Stopped => return Ok(None),
                Committed::All => (place, damaged) = (next, damaged + damaged_here),
                // Looks at this page again.
                Committed::Overtaken | Committed::Overlooked => {}
            }
        }
        let written_all = match (among, unknown) {
            (Among::Owners, _) => AllWritten::Listed { damaged },
            (Among::All, None) => AllWritten::Looked,
            (Among::All, Some(row)) => return Err(self.damage_error(row.damage)),
        };
        Ok(Some(Pass { bindings, written_all }))
    }

    /// Returns an owner as it is stored, and its sweeps, if it has some.
    fn stored_sweeps(&self, id: &OwnerId) -> Result<Option<(OwnerRecord, Box<Sweeps>)>, Error> {
        let owner = self.records.stored.owner(id)?;
        Ok(owner.and_then(|owner| owner.sweeps.clone().map(|sweeps| (owner, sweeps))))
    }

    fn commit_pieces(&self, pieces: Vec<Change>, budget: &mut Budget) -> Result<Committed, Error> {
        for change in pieces {
            let keys = change.operations.len() as u64;
            match self.commit_piece(change, budget)? {
                Committed::All => budget.written += keys,
                other => return Ok(other),
            }
        }
        Ok(Committed::All)
    }

    /// Ends the sweeps of a pass.
    fn end_sweeps(
        &self,
        id: &OwnerId,
        pass: &Pass,
        budget: &mut Budget,
    ) -> Result<Committed, Error> {
        for binding in &pass.bindings {
            let Some((owner, sweeps)) = self.stored_sweeps(id)? else { break };
            let sweep = sweeps.pending.iter().find(|sweep| sweep.binding == *binding);
            let Some(sweep) = sweep else { continue };
            let change = self.end_of(sweep, &owner, pass.written_all)?;
            match self.commit_piece(change, budget)? {
                Committed::All | Committed::Overtaken => {}
                other => return Ok(other),
            }
        }
        Ok(Committed::All)
    }

    fn commit_piece(&self, change: Change, budget: &mut Budget) -> Result<Committed, Error> {
        if budget.pieces == 0 {
            return Ok(Committed::Stopped);
        }
        budget.pieces -= 1;
        let is_end = |made: &Operation| matches!(made.write, Write::EndSweep(_));
        let ends = change.operations.iter().any(is_end);
        let counts = change.piece_of.map(|piece| damaged_counts(&piece.owner));
        match self.commit_alone(change)? {
            Ok(_) => Ok(Committed::All),
            Err(Rejection::Conflict { .. } | Rejection::KeysChanged) => Ok(Committed::Overtaken),
            Err(Rejection::Damaged(damage)) if ends && counts.as_ref() == Some(&*damage) => {
                Ok(Committed::Overlooked)
            }
            Err(Rejection::Damaged(damage)) => Err(self.damage_error(*damage)),
            Err(rejection) => {
                let (kind, name) = (BackendErrorKind::Corrupt, self.records.backend.name());
                Err(BackendError::new(kind, name, "write a sweep").with_source(rejection).into())
            }
        }
    }

    fn damage_error(&self, damage: Damage) -> Error {
        BackendError::damaged(self.records.backend.name(), "write a sweep", damage).into()
    }

    /// Makes the pieces of a page of stored keys, one for each sweep that covers some of them, in the
    /// order of the sweeps.
    fn pieces_of(
        &self,
        page: KeyPage,
        owner: &OwnerRecord,
        sweeps: &Sweeps,
    ) -> Result<Vec<Change>, Error> {
        let mut pieces: BTreeMap<u64, Change> = BTreeMap::new();
        let mut add = |sweep: &Sweep, write, event| {
            let piece = pieces.entry(sweep.binding).or_insert_with(|| new_piece(sweep, owner));
            *piece = std::mem::take(piece).and(write, event);
        };
        for key in page.keys {
            for (sweep, key) in sweeps.steps(key) {
                add(sweep, Write::SweepKey(key.id, key.version), EventDraft::of_sweep(sweep, &key));
            }
        }
        for id in page.damaged.iter().filter_map(DamagedRow::key) {
            if let Some(sweep) = sweeps.of_damaged(id)
                && let Some((write, event)) = self.damaged_key(id, sweep, owner)?
            {
                add(sweep, write, event);
            }
        }
        Ok(pieces.into_values().collect())
    }

    /// Ends a damaged key. A purge removes it, a revocation lays an entry over it.
    fn damaged_key(
        &self,
        id: KeyId,
        sweep: &Sweep,
        owner: &OwnerRecord,
    ) -> Result<Option<(Write, EventDraft)>, Error> {
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
        if sweep.kind == SweepKind::Purge {
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
    fn end_of(&self, sweep: &Sweep, owner: &OwnerRecord, by: AllWritten) -> Result<Change, Error> {
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
        Ok(new_piece(sweep, owner).and(Write::EndSweep(by), event))
    }
}

fn new_piece(sweep: &Sweep, owner: &OwnerRecord) -> Change {
    let piece_of = Some(PieceOf { owner: owner.id, binding: sweep.binding });
    Change { piece_of, ..Change::default() }
}
