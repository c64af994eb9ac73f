//! Tests of the whole index.

mod fixtures;
mod limits;
mod owner_numbers;
mod owners;
mod relocation;
mod room;
mod sets;
