//! The incarnations of the owners that a change is about.

use std::collections::BTreeMap;

use super::{BackendError, Rejection, Transaction};
use crate::id::{Incarnation, OwnerId};
use crate::key::OwnerRecord;

/// The incarnations of owners that were read while a change was judged. Events carry them.
#[derive(Debug, Default)]
pub(super) struct Incarnations(BTreeMap<OwnerId, Incarnation>);

impl Incarnations {
    /// Notes an owner that was read.
    pub(super) fn note(&mut self, owner: &OwnerRecord) {
        self.0.insert(owner.id, owner.incarnation);
    }

    /// Notes an owner that is replaced or removed. Its replacement has the same incarnation:
    /// otherwise it was decided on another owner of the same id, whose versions began at 1 as well.
    pub(super) fn replace(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), Rejection> {
        let Some(before) = before else { return Ok(()) };
        self.note(before);
        match after {
            Some(after) if after.incarnation != before.incarnation => Err(Rejection::OwnerReplaced),
            _ => Ok(()),
        }
    }

    /// Checks that an owner, if it exists, has this incarnation.
    pub(super) fn check(
        &mut self,
        tx: &mut dyn Transaction,
        owner: &OwnerId,
        expected: Incarnation,
    ) -> Result<Result<(), Rejection>, BackendError> {
        Ok(match self.of(tx, Some(*owner))? {
            Some(found) if found != expected => Err(Rejection::OwnerReplaced),
            _ => Ok(()),
        })
    }

    /// Returns the incarnation of an owner; `None` if there is no owner.
    pub(super) fn of(
        &mut self,
        tx: &mut dyn Transaction,
        owner: Option<OwnerId>,
    ) -> Result<Option<Incarnation>, BackendError> {
        let Some(id) = owner else { return Ok(None) };
        if let Some(known) = self.0.get(&id) {
            return Ok(Some(*known));
        }
        let found = tx.owner(&id)?;
        found.iter().for_each(|owner| self.note(owner));
        Ok(found.map(|owner| owner.incarnation))
    }
}
