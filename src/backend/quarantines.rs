//! The quarantine entries that a change writes, and the damaged keys that it removes.

use super::{
    BackendError, BackendErrorKind, Precondition, Rejection, Transaction, UsageSubject, Write,
};
use crate::id::{Incarnation, KeyId, Version};
use crate::key::Quarantine;

/// The part of a change that is about damaged keys. Nothing of it reads a key's own record.
#[derive(Debug, Default)]
pub(super) struct Quarantines<'a> {
    entries: Vec<&'a Quarantine>,
    removed: Vec<KeyId>,
}

impl<'a> Quarantines<'a> {
    /// Takes a write, if it is about a damaged key. An entry says the version that it replaces.
    pub(super) fn take(
        &mut self,
        tx: &mut dyn Transaction,
        write: &'a Write,
    ) -> Result<Result<(), Rejection>, BackendError> {
        match write {
            Write::Quarantine(entry) => {
                let found = tx.quarantine(entry.id)?.map(|entry| entry.version);
                let expected = entry.version.replaced();
                if found.map_or(0, Version::get) != expected.get() {
                    let of = Precondition::Key(entry.id, expected);
                    return Ok(Err(Rejection::Conflict { expected, found, of }));
                }
                self.entries.push(entry);
            }
            Write::RemoveDamagedKey(id) => self.removed.push(*id),
            _ => {}
        }
        Ok(Ok(()))
    }

    /// Writes them.
    pub(super) fn write(&self, tx: &mut dyn Transaction) -> Result<(), BackendError> {
        self.entries.iter().try_for_each(|entry| tx.put_quarantine(entry))?;
        if !self.removed.is_empty() {
            tx.remove_damaged_keys(&self.removed)?;
        }
        self.removed.iter().try_for_each(|id| tx.put_usage(&UsageSubject::Key(*id), None))
    }

    /// Leaves the incarnation out of an event whose owner's record is damaged.
    pub(super) fn tolerate(
        &self,
        incarnation: Result<Option<Incarnation>, BackendError>,
    ) -> Result<Option<Incarnation>, BackendError> {
        let is_of_damage = !self.entries.is_empty() || !self.removed.is_empty();
        match incarnation {
            Err(error) if error.damage().is_some() => Ok(None),
            Err(error) if is_of_damage && error.kind() == BackendErrorKind::Corrupt => Ok(None),
            incarnation => incarnation,
        }
    }
}
