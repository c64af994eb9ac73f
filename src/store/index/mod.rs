//! The verification index: the memory that `verify` reads, and nothing more.
//!
//! | room | contents |
//! | --- | --- |
//! | `index` | the index: searches for readers; removals and marks for the writer |
//! | `load` | records into the index |
//! | `stale` | rules for the slots that were filled before a change of their owner |
//! | `refill` | the owners' part in slots: their changes, and the walk that fills stale slots again |
//! | `room` | changes that the index couldn't show |
//! | `limiting` | limits, as a verification reads them |
//! | `leases` | leases of quotas, and refunds |
//! | `counts` | counts of what lives there |
//! | `entry` | a token's words in a slot, packed and unpacked |
//! | `interned` | owners by number |
//! | `owner_numbers` | numbers by owner |
//! | `sets` | permission sets by number |
//! | `hash_table` | slots by key hash |
//! | `limits` | the limits of keys and owners, by record number |
//! | `packing` | bytes in words |
//! | `memory` | arrays that are never freed; hints to the processor and the kernel |
//!
//! A verification begins a search in `index`, which has `hash_table` and `limits` prefetch cache
//! lines. While these are on their way, the caller hashes the token. The search then passes each
//! slot under the key's hash to the caller as a packed `entry`. The entry's numbers lead to the
//! owner in `interned`, to the permission set in `sets`, and to the limits. Each live token has one 64-byte
//! slot and one word more. Each limited key or owner has one record of 64 bytes. Only the index
//! knows which slot or owner names which record.
//!
//! A changed record of a key or owner enters through `load`, under the writer's lock. The writer
//! fills a free slot, publishes it with one Release store, announces the change in the directory,
//! then retires the old slot.
//!
//! Readers take no lock and wait for no other thread. They write only the use of limits. A reader
//! that finds nothing searches again if the directory says that something moved meanwhile. Memory
//! is used again, never freed, so a reader can't hold memory that is gone. What a reader finds in
//! reused memory either belongs to a living token, or fails the check of its version.

mod counts;
mod entry;
mod hash_table;
// The index's own file is named for what it holds, as each file is.
#[allow(clippy::module_inception)]
mod index;
mod interned;
mod leases;
mod limiting;
mod limits;
mod load;
mod memory;
mod owner_numbers;
mod packing;
mod refill;
mod room;
mod sets;
mod stale;
#[cfg(test)]
mod tests;

pub(super) use entry::{DIGEST_LEN, Entry, Limited};
pub(super) use hash_table::ReadVersion;
pub(super) use index::{DetachedOwner, Index, IndexError};
pub(super) use limiting::OwnerLimiter;
pub(super) use limits::{DroppedLease, LeaseWord, Leased, LeftWord, Limiter, Spent};
pub(super) use load::Memo;
pub(super) use packing::ShortOwner;
pub(super) use refill::{ByOwner, Made, Reach};
