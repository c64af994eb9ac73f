//! A quarantine entry.

use super::codec::{Decoder, Encoder};
use crate::backend::sled::fault::Fault;
use crate::id::KeyId;
use crate::key::Quarantine;

pub(in crate::backend::sled) fn encode_quarantine(entry: &Quarantine) -> Result<Vec<u8>, Fault> {
    let mut encoder = Encoder::default();
    entry.put_fields(&mut encoder)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_quarantine(
    id: KeyId,
    bytes: &[u8],
) -> Result<Quarantine, Fault> {
    let mut decoder = Decoder::new(bytes);
    let entry = Quarantine::get_fields(id, &mut decoder)?;
    decoder.finish()?;
    Ok(entry)
}
