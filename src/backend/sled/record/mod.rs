//! Records as bytes.
//!
//! The codec writes and reads the parts of fields; which fields a key or an owner has follows from
//! the declaration of its record in `crate::key`. Every value is checked against its type's limits
//! when it is read, and a record that goes on after its last field is damaged.
//!
//! | room | contents |
//! | --- | --- |
//! | `codec` | numbers, texts, bytes, options and lists, as postcard encodes them |
//! | `key`, `owner` | the records of the verification index, whole or as far as the index needs |
//! | `metadata`, `event`, `usage`, `request`, `quarantine` | the other records |

mod codec;
mod event;
mod key;
mod metadata;
mod owner;
mod quarantine;
mod request;
mod usage;

pub(super) use event::{decode_event, encode_event};
pub(super) use key::{decode_key, encode_key, scan_key};
pub(super) use metadata::{decode_metadata, encode_metadata};
pub(super) use owner::{decode_owner, encode_owner, scan_owner};
pub(super) use quarantine::{decode_quarantine, encode_quarantine};
pub(super) use request::{decode_request, encode_request};
pub(super) use usage::{decode_usage, encode_usage};
