//! The store's own record.

use serde::{Deserialize, Serialize};

use super::fields::{push, take_last, timestamp, version};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::key::{
    Header, NumberedPrefix, PepperCheck, PepperNumber, Prefix, PrefixNumber, PrefixTable,
    StoreRules,
};

#[derive(Serialize, Deserialize)]
struct Mirror<'a> {
    version: u64,
    unique_names: bool,
    keep_standard_key: bool,
    sealed_tokens: bool,
    issue_mark: Option<u64>,
    /// By number, from 0.
    #[serde(borrow)]
    prefixes: Vec<PrefixMirror<'a>>,
    peppers: Vec<PepperMirror>,
}

#[derive(Serialize, Deserialize)]
struct PrefixMirror<'a> {
    prefix: &'a str,
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
struct PepperMirror {
    number: u16,
    value: [u8; 16],
}

pub(in crate::backend::sled) fn encode_header(header: &Header) -> Result<Vec<u8>, Fault> {
    let prefixes = header
        .prefixes
        .entries()
        .iter()
        .map(|entry| PrefixMirror { prefix: entry.prefix.as_str(), accepted: entry.accepted });
    let peppers = header
        .peppers
        .iter()
        .map(|check| PepperMirror { number: check.number.get(), value: check.value });
    let mirror = Mirror {
        version: header.version.get(),
        unique_names: header.rules.unique_names,
        keep_standard_key: header.rules.keep_standard_key,
        sealed_tokens: header.rules.sealed_tokens,
        issue_mark: header.issue_mark.map(Timestamp::as_millis),
        prefixes: prefixes.collect(),
        peppers: peppers.collect(),
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_header(bytes: &[u8]) -> Result<Header, Fault> {
    let mirror: Mirror<'_> = take_last(bytes)?;
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
    Ok(Header {
        version: version(mirror.version)?,
        rules: StoreRules {
            unique_names: mirror.unique_names,
            keep_standard_key: mirror.keep_standard_key,
            sealed_tokens: mirror.sealed_tokens,
        },
        prefixes: PrefixTable::from_entries(prefixes)?,
        peppers: peppers.collect(),
        issue_mark: timestamp(mirror.issue_mark)?,
    })
}
