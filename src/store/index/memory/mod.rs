//! Memory that the index never gives back.

pub(in crate::store::index) mod hints;
pub(in crate::store::index) mod pages;
