//! The usage of a key or an owner as bytes: its uses, what is left of its quota, the alerts that were
//! written.

use super::codec::{Decoder, Encoder};
use crate::backend::sled::fault::Fault;
use crate::key::Usage;

pub(in crate::backend::sled) fn encode_usage(usage: &Usage) -> Result<Vec<u8>, Fault> {
    let Usage { used, quota, alert_state } = usage;
    let mut encoder = Encoder::default();
    encoder.add(used)?.add(quota)?.add(alert_state)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_usage(bytes: &[u8]) -> Result<Usage, Fault> {
    let mut decoder = Decoder::new(bytes);
    let (used, quota, alert_state) = (decoder.next()?, decoder.next()?, decoder.next()?);
    decoder.finish()?;
    Ok(Usage { used, quota, alert_state })
}
