//! A backend's state inside one commit, on which the shared rules decide.

use super::{BackendError, Damage, DamagedRecord, UsageSubject};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyCounts, KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord,
    StoreMetadata, Usage, Used,
};

/// A backend's state inside one commit: reads see the writes before them.
///
/// No other commit comes between its first read and its end.
pub trait Transaction {
    /// The store's own record, if a store was created.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError>;

    /// An owner.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError>;

    /// A key.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError>;

    /// Counts the keys of an owner.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError>;

    /// The greatest id of an owner's keys, damaged ones included; `None` without keys. Asked when all
    /// keys of the owner are revoked or go, so it should not look at all keys, as the default does.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        let mut last = None;
        self.each_key(&mut |key| {
            last = match key {
                Ok(key) if key.owner == *owner => last.max(Some(key.id)),
                // It may be the owner's.
                Err(Damage { record: DamagedRecord::Key(id), .. }) => last.max(Some(id)),
                _ => last,
            };
        })?;
        Ok(last)
    }

    /// The live keys of an owner that have this name; one, or more where names need not be
    /// unique.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError>;

    /// The live keys of an owner that expired at `by` or before, the longest expired first, and
    /// of the same moment the one with the least id; at most `limit`. Asked when a key needs the
    /// place of one that has expired, so it should not look at all keys.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError>;

    /// The keys that a delegate created with this key, revoked ones too, in any order.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError>;

    /// Whether a numeric id was ever used, also by a key that is purged.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError>;

    /// The greatest numeric id ever used; 0 before the first.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError>;

    /// The number of the last event; 0 before the first.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn last_event(&mut self) -> Result<u64, BackendError>;

    /// Shows every key, and in place of one that is damaged or under quarantine its damage. Asked
    /// when the store's own record changes.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned. Damage of one record is none.
    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError>;

    /// Shows every owner, and in place of a damaged one its damage. Asked when the store's own record
    /// changes, and when damaged keys are removed.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned. Damage of one record is none.
    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError>;

    /// Writes the store's own record.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError>;

    /// Creates (`before` is `None`), replaces, or removes (`after` is `None`) an owner. `before` is what
    /// is stored: an index need only be changed where `after` differs from it.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError>;

    /// Creates (`before` is `None`), replaces, or removes (`after` is `None`) a key, with all that
    /// is found by it. A numeric id that a created key carries is used from then on, for ever.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError>;

    /// Reads a key's quarantine entry, if there is one. A damaged entry counts as none here.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError>;

    /// Writes a quarantine entry, in place of the one before it. From then on the key reads as
    /// damaged, whatever its record is like.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError>;

    /// Removes keys without reading their records, with their quarantine entries and all by which they
    /// are found, and counts their owners' keys again.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError>;

    /// Appends an event; its number is one more than the last.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn append_event(&mut self, event: &Event) -> Result<(), BackendError>;

    /// Reads the usage of a key or an owner, if there is any.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError>;

    /// Writes what was used, or (`None`) forgets it. Of an owner only the quota is kept.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError>;

    /// Reads the record of a request.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError>;

    /// Reads up to `limit` records of requests that were noted before a moment, in any order.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError>;

    /// Creates (`before` is `None`), replaces, or removes (`after` is `None`) the record of a
    /// request.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError>;

    /// Adds uses of a key to what is there, or nothing if the key isn't. An engine may do the same
    /// in one statement; there are many of these.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn add_usage(&mut self, key: KeyId, used: &Used) -> Result<(), BackendError> {
        let of = UsageSubject::Key(key);
        let mut usage = match self.usage(&of)? {
            // It goes with its key, so there is one.
            Some(usage) => usage,
            None if self.key(key)?.is_some() => Usage::default(),
            None => return Ok(()),
        };
        usage.used.add(used);
        self.put_usage(&of, Some(&usage))
    }
}
