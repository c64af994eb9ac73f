//! The hash table itself.

pub(in crate::store::index) mod directory;
pub(in crate::store::index) mod group;
pub(in crate::store::index) mod slot;
pub(in crate::store::index) mod table;

pub(in crate::store) use slot::ReadVersion;
