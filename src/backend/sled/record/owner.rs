//! An owner's record: first what the verification index needs, then the rest.

use serde::{Deserialize, Serialize};

use super::fields::{
    SwitchWire, access, push, settings, switch, take, take_last, timestamp, version,
};
use super::limits::{LimitsWire, limits};
use crate::authority::Actor;
use crate::backend::ScannedOwner;
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::key::OwnerRecord;

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    max_access: &'a str,
    #[serde(borrow)]
    suspended: Option<SwitchWire<'a>>,
    tokens_valid_from: Option<u64>,
    limits: Option<LimitsWire>,
}

#[derive(Serialize, Deserialize)]
struct Tail<'a> {
    version: u64,
    defaults: &'a str,
    max_keys: u32,
    created_at: u64,
    created_by: &'a str,
    updated_at: u64,
}

pub(in crate::backend::sled) fn encode_owner(owner: &OwnerRecord) -> Result<Vec<u8>, Fault> {
    let max_access = owner.max_access.to_string();
    let defaults = owner.defaults.to_json();
    let head = Head {
        max_access: &max_access,
        suspended: owner.suspended.as_ref().map(SwitchWire::from),
        tokens_valid_from: owner.tokens_valid_from.map(Timestamp::as_millis),
        limits: LimitsWire::of(&owner.limits),
    };
    let tail = Tail {
        version: owner.version.get(),
        defaults: &defaults,
        max_keys: owner.max_keys,
        created_at: owner.created_at.as_millis(),
        created_by: owner.created_by.as_str(),
        updated_at: owner.updated_at.as_millis(),
    };
    push(push(Vec::new(), &head)?, &tail)
}

pub(in crate::backend::sled) fn decode_owner(
    id: OwnerId,
    bytes: &[u8],
) -> Result<OwnerRecord, Fault> {
    let (head, rest): (Head<'_>, _) = take(bytes)?;
    let tail: Tail<'_> = take_last(rest)?;
    Ok(OwnerRecord {
        id,
        version: version(tail.version)?,
        defaults: settings(tail.defaults)?,
        suspended: switch(head.suspended)?,
        max_access: access(head.max_access)?,
        limits: limits(head.limits)?.unwrap_or_default(),
        max_keys: tail.max_keys,
        tokens_valid_from: timestamp(head.tokens_valid_from)?,
        created_at: Timestamp::from_millis(tail.created_at)?,
        created_by: Actor::new(tail.created_by)?,
        updated_at: Timestamp::from_millis(tail.updated_at)?,
    })
}

/// Decodes no more than the index needs.
pub(in crate::backend::sled) fn scan_owner(
    id: OwnerId,
    bytes: &[u8],
) -> Result<ScannedOwner, Fault> {
    let (head, _): (Head<'_>, _) = take(bytes)?;
    Ok(ScannedOwner {
        id,
        suspended: head.suspended.is_some(),
        max_access: access(head.max_access)?,
        limits: limits(head.limits)?.unwrap_or_default(),
        tokens_valid_from: timestamp(head.tokens_valid_from)?,
    })
}
