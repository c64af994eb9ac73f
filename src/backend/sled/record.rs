//! Records as bytes: the fields as [`Encoder`] writes them. The id isn't among them, for it is in the
//! tree's key, and neither is a version or a checksum, which [`chunks`](super::chunks) has.

use super::fault::Fault;
use crate::backend::{ScannedKey, ScannedOwner};
use crate::id::{KeyId, OwnerId};
use crate::key::{Decoder, Encoder, RecordError, Stored};

pub(super) fn encode<R: Stored>(record: &R) -> Vec<u8> {
    Encoder::of(|encoder| record.put(encoder))
}

pub(super) fn decode<R: Stored>(id: R::Id, bytes: &[u8]) -> Result<R, Fault> {
    let mut decoder = Decoder::new(bytes);
    let record = R::get(id, &mut decoder)?;
    decoder.finish()?;
    Ok(record)
}

/// Decodes no more of a key than the index needs.
pub(super) fn scan_key(id: KeyId, bytes: &[u8]) -> Result<ScannedKey, Fault> {
    Ok(ScannedKey::of_fields(id, &mut Decoder::new(bytes))?)
}

/// Decodes no more of an owner than the index needs.
pub(super) fn scan_owner(id: OwnerId, bytes: &[u8]) -> Result<ScannedOwner, Fault> {
    Ok(ScannedOwner::of_fields(id, &mut Decoder::new(bytes))?)
}

impl From<RecordError> for Fault {
    fn from(error: RecordError) -> Self {
        Self::damaged(match error {
            RecordError::Trailing { .. } => "a record is longer than it should be",
            _ => "a record does not decode, or a value is outside its limits",
        })
    }
}
