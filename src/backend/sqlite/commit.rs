//! The rules' view of a write transaction.

use rusqlite::Connection;

use super::error::{Fault, PAGE, is_of_damage};
use super::{events, keys, metadata, owners, quarantine, requests, usage};
use crate::backend::{
    BackendError, Damage, DamagedRecord, KeyCounts, Rejection, Transaction, UsageSubject,
};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
    Used,
};

const OPERATION: &str = "commit";

/// A write transaction in which changes are applied. What each of them asks is read once.
pub(super) struct Commit<'c> {
    connection: &'c Connection,
    metadata: Option<StoreMetadata>,
    last_event: Option<u64>,
}

impl<'c> Commit<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, metadata: None, last_event: None }
    }
}

/// Writes a part of a batch in a transaction of its own.
type WritePart<'a, C, T> = dyn Fn(&[C]) -> Result<Vec<T>, BackendError> + 'a;

/// Writes a batch in one transaction. If a page that a part of it needs can't be read, that part alone is
/// refused: SQLite writes nothing more in a transaction that has met such a page, so the parts are
/// written one by one.
pub(super) fn in_parts<C, T>(
    batch: &[C],
    write: &WritePart<'_, C, T>,
    refused: &dyn Fn(&BackendError) -> T,
) -> Result<Vec<T>, BackendError> {
    match (write(batch), batch) {
        (Err(error), [_]) if is_of_damage(&error) => Ok(vec![refused(&error)]),
        (Err(error), [_, ..]) if is_of_damage(&error) => {
            let (first, rest) = batch.split_at(batch.len() / 2);
            let mut outcome = in_parts(first, write, refused)?;
            // The first half may have taken effect.
            let rest = in_parts(rest, write, refused).map_err(BackendError::of_unknown_outcome)?;
            outcome.extend(rest);
            Ok(outcome)
        }
        (outcome, _) => outcome,
    }
}

/// The rejection of a change that needs a page that can't be read.
pub(super) fn of_page(error: &BackendError) -> Rejection {
    let page = || Damage::new("database", PAGE, DamagedRecord::Unknown);
    Rejection::Damaged(Box::new(error.damage().cloned().unwrap_or_else(page)))
}

/// An error of the transaction. That of a page isn't the damage of a row, after which the transaction
/// would go on.
fn during(fault: Fault) -> BackendError {
    match fault {
        Fault::Damaged(damage) if damage.column == PAGE => Fault::page().during(OPERATION),
        fault => fault.during(OPERATION),
    }
}

impl Transaction for Commit<'_> {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        if self.metadata.is_none() {
            self.metadata = metadata::load(self.connection).map_err(during)?;
        }
        Ok(self.metadata.clone())
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        owners::load(self.connection, id).map_err(during)
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        keys::load(self.connection, id).map_err(during)
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        owners::key_counts(self.connection, owner).map_err(during)
    }

    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        keys::last(self.connection, owner).map_err(during)
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        keys::live_named(self.connection, owner, name).map_err(during)
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        keys::expired(self.connection, owner, by, limit).map_err(during)
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        keys::created_by(self.connection, creator).map_err(during)
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        keys::of_numeric_id(self.connection, id).map(|key| key.is_some()).map_err(during)
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        keys::greatest_numeric_id(self.connection).map_err(during)
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        match self.last_event {
            Some(last) => Ok(last),
            None => {
                let last = events::last(self.connection).map_err(during)?;
                Ok(*self.last_event.insert(last))
            }
        }
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        keys::each(self.connection, visit).map_err(during)
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        owners::each(self.connection, visit).map_err(during)
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        metadata::put(self.connection, metadata).map_err(during)?;
        self.metadata = Some(metadata.clone());
        Ok(())
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        match (before, after) {
            (None, None) => Ok(()),
            (None, Some(after)) => owners::insert(self.connection, after),
            (Some(_), Some(after)) => owners::update(self.connection, after),
            (Some(before), None) => owners::delete(self.connection, &before.id),
        }
        .map_err(during)
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        match (before, after) {
            (None, None) => Ok(()),
            (None, Some(after)) => keys::insert(self.connection, after),
            (Some(before), Some(after)) => keys::update(self.connection, before, after),
            (Some(before), None) => keys::delete(self.connection, before),
        }
        .and_then(|()| count(self.connection, before, after))
        .map_err(during)
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        quarantine::load(self.connection, id).map_err(during)
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        quarantine::put(self.connection, entry).map_err(during)
    }

    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError> {
        quarantine::remove_keys(self.connection, ids).map_err(during)
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        events::append(self.connection, event).map_err(during)?;
        self.last_event = Some(event.sequence);
        Ok(())
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        usage::load(self.connection, of).map_err(during)
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        usage::put(self.connection, of, usage).map_err(during)
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        requests::load(self.connection, id).map_err(during)
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        requests::before(self.connection, before, limit).map_err(during)
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        requests::put(self.connection, before, after).map_err(during)
    }

    fn add_usage(&mut self, key: KeyId, used: &Used) -> Result<(), BackendError> {
        let add = || {
            if usage::add(self.connection, key, used)? || !usage::has_key(self.connection, key)? {
                return Ok(());
            }
            let first = Usage { used: *used, ..Usage::default() };
            usage::put(self.connection, &UsageSubject::Key(key), Some(&first))
        };
        add().map_err(during)
    }
}

/// Keeps the number of keys of each owner.
fn count(
    connection: &Connection,
    before: Option<&KeyRecord>,
    after: Option<&KeyRecord>,
) -> Result<(), Fault> {
    let none = KeyCounts::default();
    let of = |key: Option<&KeyRecord>| key.map_or(none, KeyCounts::of);
    match (before, after) {
        (Some(before), Some(after)) if before.owner != after.owner => {
            owners::count_key(connection, &before.owner, KeyCounts::of(before), none)?;
            owners::count_key(connection, &after.owner, none, KeyCounts::of(after))
        }
        (Some(key), _) | (None, Some(key)) => {
            owners::count_key(connection, &key.owner, of(before), of(after))
        }
        (None, None) => Ok(()),
    }
}
