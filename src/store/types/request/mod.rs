//! The requests of callers.
//!
//! A request takes texts unchecked. The call checks them, and its error names the invalid field.

mod keys;
mod limits;
mod lists;
mod owners;
mod rules;
mod verify;

pub(in crate::store) use keys::PlainFields;
pub use keys::{CreateKey, CreateOwner, KeyAction, NumericIdChoice, Rotate, UpdateKey};
pub use limits::SetLimits;
pub use lists::{ListEvents, ListKeys, ListOwners};
pub use owners::{OwnerAction, UpdateOwner};
pub use rules::{ChangeRules, IfInUse};
pub use verify::VerifyRequest;
