//! The record of a request that took effect.

use super::codec::{Decoder, Encoder};
use crate::backend::sled::fault::Fault;
use crate::key::{RequestId, RequestRecord};

pub(in crate::backend::sled) fn encode_request(record: &RequestRecord) -> Result<Vec<u8>, Fault> {
    let mut encoder = Encoder::default();
    record.put_fields(&mut encoder)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_request(
    id: RequestId,
    bytes: &[u8],
) -> Result<RequestRecord, Fault> {
    let mut decoder = Decoder::new(bytes);
    let record = RequestRecord::get_fields(id, &mut decoder)?;
    decoder.finish()?;
    Ok(record)
}
