//! A key's record.

use super::codec::{Decoder, Encoder};
use crate::backend::ScannedKey;
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{KeyRecord, Limits, Switch};

pub(in crate::backend::sled) fn encode_key(key: &KeyRecord) -> Result<Vec<u8>, Fault> {
    let mut encoder = Encoder::default();
    key.put_fields(&mut encoder)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_key(id: KeyId, bytes: &[u8]) -> Result<KeyRecord, Fault> {
    let mut decoder = Decoder::new(bytes);
    let key = KeyRecord::get_fields(id, &mut decoder)?;
    decoder.expect_next(key.version)?;
    decoder.finish()?;
    Ok(key)
}

/// Decodes no more than the index needs: the fields that stand first in [`KeyRecord`], in their
/// order.
pub(in crate::backend::sled) fn scan_key(id: KeyId, bytes: &[u8]) -> Result<ScannedKey, Fault> {
    let mut decoder = Decoder::new(bytes);
    Ok(ScannedKey {
        id,
        owner: decoder.next()?,
        kind: decoder.next()?,
        access: decoder.next()?,
        limits: Some(decoder.next::<Limits>()?).filter(|limits| !limits.is_empty()).map(Box::new),
        expires_at: decoder.next()?,
        deactivated: decoder.next::<Option<Switch>>()?.is_some(),
        blocked: decoder.next::<Option<Switch>>()?.is_some(),
        revoked: decoder.next::<Option<Switch>>()?.is_some(),
        lapsed: decoder.next::<Option<Timestamp>>()?.is_some(),
        current: decoder.next()?,
        previous: decoder.next()?,
    })
}
