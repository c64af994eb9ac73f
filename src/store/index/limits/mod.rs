//! The limits of keys and owners in memory: rules, networks, and use.
//!
//! | room | contents |
//! | --- | --- |
//! | `limit_table` | the table of all limit records: write, find, release |
//! | `limiter` | one record: its rules, the rate's state, the quota's lease |
//! | `lease` | a quota's lease, and the rest beside it, in a word each |
//! | `lease_cell` | how uses get out of a lease's word and into it, between threads |
//! | `networks` | lists of networks, shared by the records that name them |
//! | `placement` | which bucket of records a key hash prefers; which records are free |
//! | `relocation` | moves records into their buckets when a store is opened |
//!
//! The table takes and returns record numbers. Which slot or owner names a record is up to the
//! index. To put limits, the index asks `limit_table` for a record, which is a free number of
//! `placement` (a key's) or of the slab (an owner's), filled by `limiter`. To judge a use, the
//! index reads the record as a `Limiter`, and the caller takes the use from its words. Afterwards
//! the slot, or the owner's word, tells whether the record was still its own.

pub(super) mod lease;
mod lease_cell;
pub(super) mod limit_table;
pub(super) mod limiter;
pub(super) mod networks;
mod placement;
pub(super) mod relocation;

pub(in crate::store) use lease::{LeaseWord, LeftWord};
pub(in crate::store) use lease_cell::Spent;
pub(in crate::store) use limiter::{DroppedLease, Leased, Limiter};
