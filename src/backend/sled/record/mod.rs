//! Records as bytes: the private mirrors of the record types, encoded by postcard.
//!
//! The record types themselves can't be read from bytes by serde; only this folder can make them
//! of what is stored, checks every value against its type's limits, and takes nothing that it
//! doesn't understand. Fields are only ever added under a new format of the value.

mod event;
mod fields;
mod key;
mod limits;
mod metadata;
mod owner;
mod usage;

pub(super) use event::{decode_event, encode_event};
pub(super) use key::{decode_key, encode_key, scan_key};
pub(super) use metadata::{decode_metadata, encode_metadata};
pub(super) use owner::{decode_owner, encode_owner, scan_owner};
pub(super) use usage::{decode_usage, encode_usage};
