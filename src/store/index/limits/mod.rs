//! Limits in memory.

pub(in crate::store::index) mod lease;
pub(in crate::store::index) mod limiter;
pub(in crate::store::index) mod networks;
pub(in crate::store::index) mod placement;
pub(in crate::store::index) mod read;
pub(in crate::store::index) mod records;
pub(in crate::store::index) mod relocation;
pub(in crate::store::index) mod write;

pub(in crate::store) use lease::{LeaseWord, LeftWord};
pub(in crate::store) use limiter::Limiter;
pub(in crate::store) use read::{OwnerLimiter, Whose};
