//! An owner's record.

use super::codec::{Decoder, Encoder};
use crate::backend::ScannedOwner;
use crate::backend::sled::fault::Fault;
use crate::id::OwnerId;
use crate::key::{OwnerRecord, Switch};

pub(in crate::backend::sled) fn encode_owner(owner: &OwnerRecord) -> Result<Vec<u8>, Fault> {
    let mut encoder = Encoder::default();
    owner.put_fields(&mut encoder)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_owner(
    id: OwnerId,
    bytes: &[u8],
) -> Result<OwnerRecord, Fault> {
    let mut decoder = Decoder::new(bytes);
    let owner = OwnerRecord::get_fields(id, &mut decoder)?;
    decoder.expect_next(owner.version)?;
    decoder.finish()?;
    Ok(owner)
}

/// Decodes no more than the index needs: the fields that stand first in [`OwnerRecord`], in their
/// order.
pub(in crate::backend::sled) fn scan_owner(
    id: OwnerId,
    bytes: &[u8],
) -> Result<ScannedOwner, Fault> {
    let mut decoder = Decoder::new(bytes);
    Ok(ScannedOwner {
        id,
        max_access: decoder.next()?,
        suspended: decoder.next::<Option<Switch>>()?.is_some(),
        tokens_valid_from: decoder.next()?,
        limits: decoder.next()?,
        sweeps: decoder.next()?,
    })
}
