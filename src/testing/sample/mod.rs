//! Valid records and changes, the same at every call.
//!
//! Small records have what they must have and no more; [`largest_key`] and its like are at the
//! limits of their types. A test that needs other values changes the fields, which are public:
//!
//! ```
//! use keyhasp::key::{KeyRecord, Kind};
//! use keyhasp::testing::sample;
//!
//! let trial = KeyRecord { kind: Kind::Trial, ..sample::key(1, "acme")? };
//! let change = sample::create_key(&trial)?;
//! assert_eq!(change.operations.len(), 1);
//! # Ok::<(), keyhasp::Invalid>(())
//! ```

mod changes;
mod largest;
mod records;

pub use changes::{
    assign_numeric_id, create_key, create_metadata, create_owner, event, grant_key, grant_owner,
    in_one, note, remove_key, remove_owner, replace_key, replace_metadata, replace_owner, tell,
};
pub use largest::{
    largest_authority, largest_key, largest_limits, largest_metadata, largest_owner,
};
pub use records::{
    administrator, at, changed_key, changed_metadata, changed_owner, digest, key, key_id, limits,
    metadata, name, owner, owner_id, previous, revoked, seal, switch, token,
};
