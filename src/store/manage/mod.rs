//! A management call, from authority to change.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `authorize` | who calls, and what that allows: the one place where authority is checked |
//! | `retry` | deciding, committing, and deciding again if the records moved |
//! | `keys`, `key_rules`, `new_key` | the calls on keys; the pure rules of their life; new ones |
//! | `owners`, `limit_rules` | the calls on owners; the rules of limits on keys and owners |
//! | `store_rules` | the calls that concern the whole store |
//! | `list`, `cursor` | pages of keys, owners and events |
//! | `leaked_tokens`, `recoverable_tokens` | tokens found in public; tokens shown again |
//!
//! Each call runs in this order: `authorize` loads and judges the caller; a file of calls loads
//! the records; the pure rules decide; `retry` hands the change to the engine.

mod authorize;
mod cursor;
mod key_rules;
mod keys;
mod leaked_tokens;
mod limit_rules;
mod list;
mod new_key;
mod owners;
mod recoverable_tokens;
mod retry;
pub(super) mod store_rules;

pub(super) use keys::Manager;
pub(super) use new_key::Minter;
