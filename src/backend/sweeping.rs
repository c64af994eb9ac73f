//! The part of a change that is about sweeps: what it binds, and what it writes as a piece.

use std::collections::BTreeMap;

use super::swept::{Swept, damaged_counts};
use super::{BackendError, Change, KeyCounts, Operation, PieceOf, Precondition, Rejection, Write};
use crate::id::{Incarnation, KeyId, OwnerId};
use crate::key::{KeyRecord, MAX_SWEEPS, OwnerRecord, Sweep, SweepKind};

/// The sweeps that a change binds, and the piece that it is.
#[derive(Default)]
pub(super) struct Sweeping {
    /// The sweeps to bind, by their owners, each with the place of its operation.
    bound: BTreeMap<OwnerId, (usize, Sweep)>,
    /// The sweep of which the change is a piece.
    piece: Option<(PieceOf, Sweep)>,
    /// The stored records that the piece writes.
    keys: Vec<KeyRecord>,
    /// Keys that the stored counts lose by them.
    gone: KeyCounts,
    ends: bool,
}

impl Sweeping {
    /// Finds the sweep of which a change is a piece.
    pub(super) fn read(
        tx: &mut Swept<'_>,
        change: &Change,
    ) -> Result<Result<Self, Rejection>, BackendError> {
        let Some(piece) = change.piece_of else { return Ok(Ok(Self::default())) };
        Ok(match tx.sweep_of(piece)? {
            Some(sweep) => Ok(Self { piece: Some((piece, sweep)), ..Self::default() }),
            None => Err(Rejection::KeysChanged),
        })
    }

    /// Takes a write of a piece.
    pub(super) fn take(
        &mut self,
        tx: &mut Swept<'_>,
        write: &Write,
    ) -> Result<Result<(), Rejection>, BackendError> {
        let Some((piece, sweep)) = &self.piece else { return Ok(Err(Rejection::KeysChanged)) };
        if let Write::EndSweep(by) = write {
            if !tx.may_end(*piece, *by)? {
                return Ok(Err(Rejection::Damaged(Box::new(damaged_counts(&piece.owner)))));
            }
            self.ends = true;
        }
        if let Write::SweepKey(id, version) = write {
            let key = tx.stored_key(*id)?;
            let found = key.as_ref().map(|key| key.version);
            let key = key.filter(|key| key.version == *version);
            let Some(key) = key else {
                let (expected, of) = (*version, Precondition::Key(*id, *version));
                return Ok(Err(Rejection::Conflict { expected, found, of }));
            };
            let sweeps = tx.sweeps(&key.owner)?;
            let is_of_it = sweeps
                .and_then(|sweeps| sweeps.of_key(&key))
                .is_some_and(|covering| covering.binding == sweep.binding);
            if !is_of_it {
                return Ok(Err(Rejection::KeysChanged));
            }
            // Writing it would fail, and with it other callers' changes of the same batch.
            let after = sweep.applied(key.clone());
            let gone = KeyCounts::of(&key).minus(KeyCounts::of_any(after.as_ref()));
            self.gone = self.gone.plus(gone);
            if tx.stored_counts(&key.owner)?.checked_minus(self.gone).is_none() {
                return Ok(Err(Rejection::Damaged(Box::new(damaged_counts(&key.owner)))));
            }
            self.keys.push(key);
        }
        Ok(Ok(()))
    }

    /// Notes that the change binds a sweep of all keys of an owner.
    pub(super) fn note(
        &mut self,
        tx: &mut Swept<'_>,
        (owner, incarnation): (OwnerId, Incarnation),
        kind: SweepKind,
        (place, operation): (usize, &Operation),
    ) -> Result<Result<(), Rejection>, BackendError> {
        if tx.sweeps(&owner)?.is_some_and(|sweeps| sweeps.pending.len() >= MAX_SWEEPS) {
            return Ok(Err(Rejection::SweepsPending(owner)));
        }
        let (at, authority) = (operation.event.at, operation.event.authority.clone());
        let sweep = Sweep {
            epoch: 0,
            kind,
            at,
            authority,
            incarnation,
            binding: 0,
            last_key: KeyId::from_u128(0),
        };
        self.bound.insert(owner, (place, sweep));
        Ok(Ok(()))
    }

    /// Returns which of an owner's keys go by a sweep that the change binds.
    pub(super) fn going(&self, owner: &OwnerId, counts: KeyCounts) -> Option<KeyCounts> {
        self.bound.get(owner).map(|(_, sweep)| match sweep.kind {
            SweepKind::Purge => counts,
            SweepKind::Revoke => KeyCounts { all: 0, ..counts },
        })
    }

    /// Returns whether the change binds a sweep of an owner's keys.
    pub(super) fn binds(&self, owner: &OwnerId) -> bool {
        self.bound.contains_key(owner)
    }

    /// Binds the sweep of an owner's keys, if the change has one; returns how many it covers. The
    /// event of the change's first operation gets the number `first`.
    pub(super) fn bind(
        &self,
        tx: &mut Swept<'_>,
        owner: Option<&OwnerRecord>,
        first: u64,
    ) -> Result<u64, BackendError> {
        let bound = owner.and_then(|owner| Some((owner.id, self.bound.get(&owner.id)?)));
        let Some((owner, (place, sweep))) = bound else { return Ok(0) };
        let binding = first + *place as u64;
        tx.bind(&owner, Sweep { binding, ..sweep.clone() })
    }

    /// Writes the piece.
    pub(super) fn write(&self, tx: &mut Swept<'_>) -> Result<Vec<&KeyRecord>, BackendError> {
        let Some((piece, sweep)) = &self.piece else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for key in &self.keys {
            let after = sweep.applied(key.clone());
            tx.sweep_key(key, after.as_ref())?;
            if after.is_none() {
                removed.push(key);
            }
        }
        if self.ends {
            tx.end_sweep(*piece)?;
        }
        Ok(removed)
    }

    /// Returns the sweep of which the change is a piece.
    pub(super) fn piece(&self) -> Option<&Sweep> {
        self.piece.as_ref().map(|(_, sweep)| sweep)
    }
}
