//! The verification index: what `verify` reads, and nothing else.
//!
//! One 64-byte [`slot`] (and a word apart) for each live token; a [`table`] finds it by the tag of
//! its key, in [`group`]s of slots that are made anew one by one when they are full, so that the
//! index grows by parts. Owners and permission sets are [`interned`] by number.
//!
//! What limits a key, or an owner, lies in a line of its own ([`cells`]): what is judged by and
//! what was used ([`limiter`], [`lease`]), and from which networks ([`lists`]). The slot, or the
//! owner's cell, names the line, and says afterwards whether what was read there counts. Without a
//! limit there is no line, and none is looked for. A key's line lies, if it can, where its tag says
//! already ([`places`], [`moves`]), so that it is fetched together with the slot.
//!
//! Readers take no lock, write nothing but what a limit counts, and wait for nobody. The one writer, behind a mutex, fills
//! a free slot, publishes it with one Release store, announces the change in the directory, then
//! retires the old slot. A reader that finds nothing looks again if the directory says that
//! something moved meanwhile. What a group leaves behind is used again, never given back, so that
//! no reader can hold memory that is gone: what it reads there is either a token that lives, or
//! seen to have changed under it.

mod entry;
mod hash_table;
mod interned;
mod limits;
mod load;
mod memory;
mod verification_index;

pub(super) use entry::{DIGEST_LEN, Entry, Limited, ShortOwner};
pub(super) use hash_table::ReadVersion;
pub(super) use limits::{LeaseWord, LeftWord, Limiter, OwnerLimiter, Whose};
pub(super) use load::Memo;
pub(super) use verification_index::{Index, IndexError};
