//! Management calls: each checks the caller's authority, and turns a request into a change.
//!
//! | room | contents |
//! | --- | --- |
//! | `authorize` | the caller, and what its authority allows: the only place where authority is checked |
//! | `retry` | deciding, committing, and deciding again if a record changed in between |
//! | `keys`, `key_rules`, `new_key` | the calls on keys; the pure rules of their life; new keys |
//! | `bulk` | many independent changes, in pieces |
//! | `descendants` | a key with all that it created, directly or through others |
//! | `once` | creations and rotations that take effect once, however often they are sent |
//! | `graces` | graces that were reckoned by a clock that was ahead, mended |
//! | `owners`, `new_owner`, `limit_rules` | the calls on owners; new owners; the rules of limits on keys and owners |
//! | `store_rules` | the calls that concern the whole store |
//! | `pepper_retirement` | retiring a pepper, by a call or at the opening |
//! | `list`, `cursor` | pages of keys, owners and events |
//! | `leaked_tokens`, `explain` | tokens found in public; why a token is accepted or not |
//! | `recoverable_tokens`, `reveal` | tokens sealed and unsealed; shown again |
//!
//! Each call takes these steps. `authorize` loads and judges the caller. The file of the call loads
//! the records. The pure rules decide. `retry` gives the change to the engine.

mod authorize;
mod bulk;
mod cursor;
pub(super) mod descendants;
pub(super) mod explain;
mod graces;
mod key_rules;
mod keys;
pub(super) mod leaked_tokens;
mod limit_rules;
pub(super) mod list;
mod new_key;
mod new_owner;
mod once;
mod owners;
pub(super) mod pepper_retirement;
mod quarantine;
mod recoverable_tokens;
mod retry;
pub(super) mod reveal;
mod setting_rules;
pub(super) mod store_rules;

pub(super) use graces::mend_graces;
pub(super) use keys::Manager;
pub(super) use new_key::Minter;
pub(super) use recoverable_tokens::Sealer;
