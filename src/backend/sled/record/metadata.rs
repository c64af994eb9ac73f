//! The store's own record.

use serde::{Deserialize, Serialize};

use super::fields::{push, take_last, timestamp, version};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::key::{
    NumberedPrefix, PepperCheck, PepperNumber, Prefix, PrefixNumber, PrefixTable, StoreMetadata,
    StoreRules,
};

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    version: u64,
    unique_names: bool,
    keep_standard_key: bool,
    recoverable_tokens: bool,
    tokens_valid_from: Option<u64>,
    /// By number, from 0.
    #[serde(borrow)]
    prefixes: Vec<PrefixWire<'a>>,
    peppers: Vec<PepperWire>,
}

#[derive(Serialize, Deserialize)]
struct PrefixWire<'a> {
    prefix: &'a str,
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
struct PepperWire {
    number: u16,
    value: [u8; 16],
}

pub(in crate::backend::sled) fn encode_metadata(
    metadata: &StoreMetadata,
) -> Result<Vec<u8>, Fault> {
    let prefixes = metadata
        .prefixes
        .entries()
        .iter()
        .map(|entry| PrefixWire { prefix: entry.prefix.as_str(), accepted: entry.accepted });
    let peppers = metadata
        .peppers
        .iter()
        .map(|check| PepperWire { number: check.number.get(), value: check.value });
    let mirror = Wire {
        version: metadata.version.get(),
        unique_names: metadata.rules.unique_names,
        keep_standard_key: metadata.rules.keep_standard_key,
        recoverable_tokens: metadata.rules.recoverable_tokens,
        tokens_valid_from: metadata.tokens_valid_from.map(Timestamp::as_millis),
        prefixes: prefixes.collect(),
        peppers: peppers.collect(),
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_metadata(bytes: &[u8]) -> Result<StoreMetadata, Fault> {
    let mirror: Wire<'_> = take_last(bytes)?;
    let prefixes = (0_u8..=u8::MAX).zip(&mirror.prefixes).map(|(number, entry)| {
        Ok(NumberedPrefix {
            number: PrefixNumber::new(number)?,
            prefix: Prefix::new(entry.prefix)?,
            accepted: entry.accepted,
        })
    });
    let prefixes: Vec<_> = prefixes.collect::<Result<_, Fault>>()?;
    if prefixes.len() < mirror.prefixes.len() {
        return Err(Fault::damaged("the store has too many prefixes"));
    }
    let peppers = mirror
        .peppers
        .iter()
        .map(|check| PepperCheck { number: PepperNumber::new(check.number), value: check.value });
    Ok(StoreMetadata {
        version: version(mirror.version)?,
        rules: StoreRules {
            unique_names: mirror.unique_names,
            keep_standard_key: mirror.keep_standard_key,
            recoverable_tokens: mirror.recoverable_tokens,
        },
        prefixes: PrefixTable::from_entries(prefixes)?,
        peppers: peppers.collect(),
        tokens_valid_from: timestamp(mirror.tokens_valid_from)?,
    })
}
