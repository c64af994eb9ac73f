//! Memory that the index never gives back, and hints about it.
//!
//! | room | contents |
//! | --- | --- |
//! | `pages` | growing arrays whose elements never move |
//! | `slab` | cache lines by number, each used again |
//! | `vectors` | growth of the writer's own arrays |
//! | `hints` | prefetches and huge pages: the crate's only `unsafe` code |
//!
//! The hash table, the interned values and the limit records keep their elements in `pages`, and a
//! number names each element. `pages` asks `hints` for huge pages before it fills a part; a search
//! asks `hints` for the cache lines that it will read.

pub(super) mod hints;
pub(super) mod pages;
pub(super) mod slab;
pub(super) mod vectors;
