//! The decoders, for tests with bytes that no database holds.
//!
//! A value reaches them through a database too, but each database that sled opens costs as much
//! time as ten thousand values.

use super::record::{decode, encode, scan_key, scan_owner};
use crate::backend::{BackendError, ScannedKey, ScannedOwner};
use crate::event::Event;
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Stored, Usage};

/// A decoded record, and its bytes when it is encoded again.
type Decoded<T> = Result<(T, Vec<u8>), BackendError>;

fn again<R: Stored>(id: R::Id, bytes: &[u8]) -> Decoded<R> {
    let record = decode(id, bytes).map_err(|fault| fault.during("decode"))?;
    let bytes = encode(&record);
    Ok((record, bytes))
}

/// An event of this number.
///
/// # Errors
/// [`BackendError`] for other bytes.
pub fn event(sequence: u64, bytes: &[u8]) -> Decoded<Event> {
    again(sequence, bytes)
}

/// The store's own record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn metadata(bytes: &[u8]) -> Decoded<StoreMetadata> {
    again((), bytes)
}

/// A key's record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn key(id: KeyId, bytes: &[u8]) -> Decoded<KeyRecord> {
    again(id, bytes)
}

/// An owner's record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn owner(id: OwnerId, bytes: &[u8]) -> Decoded<OwnerRecord> {
    again(id, bytes)
}

/// Decodes the use of a key, or what is left of an owner's quota.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn usage(bytes: &[u8]) -> Decoded<Usage> {
    again((), bytes)
}

/// Decodes the part of a key that the index needs.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn scanned_key(id: KeyId, bytes: &[u8]) -> Result<ScannedKey, BackendError> {
    scan_key(id, bytes).map_err(|fault| fault.during("decode"))
}

/// Decodes the part of an owner that the index needs.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn scanned_owner(id: OwnerId, bytes: &[u8]) -> Result<ScannedOwner, BackendError> {
    scan_owner(id, bytes).map_err(|fault| fault.during("decode"))
}
