//! What several records are made of.

use serde::{Deserialize, Serialize};

use crate::authority::{Actor, Reason};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{SetBy, Settings, Switch};
use crate::permission::Access;

/// Encodes a mirror after what is in `bytes`.
pub(super) fn push<T: Serialize>(bytes: Vec<u8>, mirror: &T) -> Result<Vec<u8>, Fault> {
    Ok(postcard::to_extend(mirror, bytes)?)
}

/// Decodes the mirror at the start of the bytes.
pub(super) fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), Fault> {
    Ok(postcard::take_from_bytes(bytes)?)
}

/// Decodes the mirror that is all of the bytes.
pub(super) fn take_last<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    match take(bytes)? {
        (mirror, []) => Ok(mirror),
        _ => Err(Fault::damaged("a record is longer than it should be")),
    }
}

impl From<postcard::Error> for Fault {
    fn from(_: postcard::Error) -> Self {
        Self::damaged("a record does not decode")
    }
}

impl From<Invalid> for Fault {
    fn from(_: Invalid) -> Self {
        Self::damaged("a stored value is outside its limits")
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SwitchWire<'a> {
    at: u64,
    by: &'a str,
    reason: Option<&'a str>,
}

impl<'a> From<&'a Switch> for SwitchWire<'a> {
    fn from(switch: &'a Switch) -> Self {
        Self {
            at: switch.at.as_millis(),
            by: switch.by.as_str(),
            reason: switch.reason.as_ref().map(Reason::as_str),
        }
    }
}

impl TryFrom<SwitchWire<'_>> for Switch {
    type Error = Fault;

    fn try_from(mirror: SwitchWire<'_>) -> Result<Self, Fault> {
        Ok(Self {
            at: Timestamp::from_millis(mirror.at)?,
            by: Actor::new(mirror.by)?,
            reason: mirror.reason.map(Reason::new).transpose()?,
        })
    }
}

pub(super) fn switch(mirror: Option<SwitchWire<'_>>) -> Result<Option<Switch>, Fault> {
    mirror.map(Switch::try_from).transpose()
}

pub(super) fn version(number: u64) -> Result<Version, Fault> {
    match number {
        u64::MAX => Err(Fault::damaged("a record has a version after which there is none")),
        _ => Ok(Version::new(number)),
    }
}

pub(super) fn timestamp(millis: Option<u64>) -> Result<Option<Timestamp>, Fault> {
    Ok(millis.map(Timestamp::from_millis).transpose()?)
}

pub(super) fn owner_id(text: &str) -> Result<OwnerId, Fault> {
    Ok(OwnerId::new(text)?)
}

pub(super) fn access(text: &str) -> Result<Access, Fault> {
    Ok(text.parse()?)
}

pub(super) fn settings(json: &str) -> Result<Settings, Fault> {
    Ok(Settings::from_json(json)?)
}

pub(super) fn set_by_number(by: SetBy) -> u8 {
    match by {
        SetBy::Administrator => 0,
        SetBy::Owner => 1,
    }
}

pub(super) fn set_by(number: u8) -> Result<SetBy, Fault> {
    match number {
        0 => Ok(SetBy::Administrator),
        1 => Ok(SetBy::Owner),
        _ => Err(Fault::damaged("a stored number stands for nobody")),
    }
}
