//! Tests of the whole index.

mod fixtures;
mod limits;
mod owners;
mod relocation;
mod room;
mod sets;
