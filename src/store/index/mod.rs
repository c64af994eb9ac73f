//! The verification index: what `verify` reads, and nothing else.
//!
//! One 64-byte [`slot`] for each live token, in [`pages`] of 64 slots; a [`table`] finds the page
//! by the leading bits of a key's tag and splits a page that is full, so that the index grows by
//! parts. Owners and permission sets are [`interned`] by number.
//!
//! Readers take no lock, write nothing, and wait for nobody. The one writer, behind a mutex, fills
//! a free slot, publishes it with one Release store, announces the change in the directory, then
//! retires the old slot. A reader that finds nothing looks again if the directory says that
//! something moved meanwhile. Memory of retired pages is used again, never given back, so that no
//! reader can hold a page that is gone: what it reads there is either a token that lives, or seen
//! to have changed under it.

mod entry;
mod interned;
mod pages;
mod slot;
mod table;
mod view;

pub(super) use entry::Entry;
pub(super) use view::{Index, IndexError};
