//! A hash table that one writer changes and readers search without a lock.
//!
//! | room | contents |
//! | --- | --- |
//! | `slot` | nine words that a reader sees whole or not at all: a seqlock for each slot |
//! | `group` | a group of slots, searched by linear probing |
//! | `directory` | from a key hash to the number of its group |
//! | `table` | the table: search, add, replace, growth by groups |
//!
//! A search asks `table`, which finds the group in `directory`, then looks at the group's slots in
//! probe order, each read through `slot`. The table knows hashes and words alone. What the words
//! mean is up to the index.

pub(super) mod directory;
pub(super) mod group;
pub(super) mod slot;
pub(super) mod table;

pub(in crate::store) use slot::ReadVersion;
