//! Permissions of keys.
//!
//! A service declares its permissions once, in a [`Catalogue`]. A key has an [`Access`]: an
//! expression over names, stored as it was given. Against a catalogue it compiles to a
//! [`PermissionSet`]. Every verified key contains one, and it answers a [`Permission`] with one bit
//! test. Both carry the catalogue's [`CatalogueTag`]: a permission of another catalogue is denied.
//!
//! `is_within` compares expressions, never sets. So its answer holds for every catalogue that the
//! service may declare later.

mod access;
mod catalogue;
mod filter;
mod name;
mod set;
mod tag;

pub use access::{Access, Limited};
pub use catalogue::{Catalogue, CatalogueBuilder};
pub use filter::PermissionFilter;
pub use name::{Pattern, PermissionName};
pub use set::{Permission, PermissionSet};
pub use tag::CatalogueTag;
