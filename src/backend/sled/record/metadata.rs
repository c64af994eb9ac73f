//! The store's own record.

use super::codec::{Decoder, Encoder};
use crate::backend::sled::fault::Fault;
use crate::key::{
    NumberedPrefix, PepperCheck, Prefix, PrefixNumber, PrefixTable, RecoveryKeyCheck, Sink, Source,
    StoreMetadata, StoreRules,
};

pub(in crate::backend::sled) fn encode_metadata(
    metadata: &StoreMetadata,
) -> Result<Vec<u8>, Fault> {
    let StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from } =
        metadata;
    let StoreRules { unique_names, keep_standard_key, recoverable_tokens, lifetime } = rules;
    let mut encoder = Encoder::default();
    encoder.add(version)?.add(unique_names)?.add(keep_standard_key)?.add(recoverable_tokens)?;
    encoder.add(lifetime)?.add(tokens_valid_from)?;
    encoder.number(prefixes.entries().len() as u64)?;
    for entry in prefixes.entries() {
        encoder.add(&entry.prefix)?.add(&entry.accepted)?;
    }
    encoder.number(peppers.len() as u64)?;
    for check in peppers {
        encoder.add(&check.number)?.add(&check.value)?.add(&check.retired)?;
    }
    encoder.number(recovery_keys.len() as u64)?;
    for check in recovery_keys {
        encoder.add(&check.number)?.add(&check.value)?;
    }
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_metadata(bytes: &[u8]) -> Result<StoreMetadata, Fault> {
    let mut decoder = Decoder::new(bytes);
    let version = decoder.next()?;
    decoder.expect_next(version)?;
    let rules = StoreRules {
        unique_names: decoder.next()?,
        keep_standard_key: decoder.next()?,
        recoverable_tokens: decoder.next()?,
        lifetime: decoder.next()?,
    };
    let tokens_valid_from = decoder.next()?;
    let mut prefixes = Vec::new();
    for number in 0..decoder.number("prefixes")? {
        let number = PrefixNumber::new(u8::try_from(number).unwrap_or(u8::MAX))?;
        let (prefix, accepted): (Prefix, _) = (decoder.next()?, decoder.next()?);
        prefixes.push(NumberedPrefix { number, prefix, accepted });
    }
    let prefixes = PrefixTable::from_entries(prefixes)?;
    let mut peppers = Vec::new();
    for _ in 0..decoder.number("peppers")? {
        let (number, value, retired) = (decoder.next()?, decoder.next()?, decoder.next()?);
        peppers.push(PepperCheck { number, value, retired });
    }
    let mut recovery_keys = Vec::new();
    for _ in 0..decoder.number("recovery_keys")? {
        let (number, value) = (decoder.next()?, decoder.next()?);
        recovery_keys.push(RecoveryKeyCheck { number, value });
    }
    decoder.finish()?;
    Ok(StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from })
}
