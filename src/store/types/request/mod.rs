//! What is asked of a store.
//!
//! Texts are taken as they come and judged by the call, which names the field that it refuses.

mod keys;
mod limits;
mod lists;
mod owners;
mod rules;
mod verify;

pub(in crate::store) use keys::PlainFields;
pub use keys::{CreateKey, KeyAction, NumericIdChoice, Rotate, UpdateKey};
pub use limits::SetLimits;
pub use lists::{ListEvents, ListKeys, ListOwners};
pub use owners::{CreateOwner, OwnerAction, UpdateOwner};
pub use rules::ChangeRules;
pub use verify::VerifyRequest;
