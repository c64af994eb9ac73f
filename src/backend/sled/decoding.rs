//! The decoders, for tests with bytes that no database holds.
//!
//! A value reaches them through a database too, but each database that sled opens costs as much
//! time as ten thousand values.

use super::fault::Fault;
use super::record::{
    decode_event, decode_key, decode_metadata, decode_owner, decode_usage, encode_event,
    encode_key, encode_metadata, encode_owner, encode_usage, scan_key, scan_owner,
};
use crate::backend::{BackendError, ScannedKey, ScannedOwner};
use crate::event::Event;
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};

/// A decoded record, and its bytes when it is encoded again.
type Decoded<T> = Result<(T, Vec<u8>), BackendError>;

fn again<T>(
    decoded: Result<T, Fault>,
    encode: impl FnOnce(&T) -> Result<Vec<u8>, Fault>,
) -> Decoded<T> {
    let encoded = decoded.and_then(|record| encode(&record).map(|bytes| (record, bytes)));
    encoded.map_err(|fault| fault.during("decode"))
}

/// An event of this number.
///
/// # Errors
/// [`BackendError`] for other bytes.
pub fn event(sequence: u64, bytes: &[u8]) -> Decoded<Event> {
    again(decode_event(sequence, bytes), encode_event)
}

/// The store's own record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn metadata(bytes: &[u8]) -> Decoded<StoreMetadata> {
    again(decode_metadata(bytes), encode_metadata)
}

/// A key's record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn key(id: KeyId, bytes: &[u8]) -> Decoded<KeyRecord> {
    again(decode_key(id, bytes), encode_key)
}

/// An owner's record.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn owner(id: OwnerId, bytes: &[u8]) -> Decoded<OwnerRecord> {
    again(decode_owner(id, bytes), encode_owner)
}

/// Decodes the use of a key, or what is left of an owner's quota.
///
/// # Errors
/// [`BackendError`] for what is none.
pub fn usage(bytes: &[u8]) -> Decoded<Usage> {
    again(decode_usage(bytes), encode_usage)
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
