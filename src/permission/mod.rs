//! What a key may do.
//!
//! A service declares its permissions once, in a [`Catalogue`]. A key carries an [`Access`]: an
//! expression over names, kept as it was written. Against a catalogue it compiles to a
//! [`PermissionSet`], which lies in every grant and answers a [`Permission`] by one bit test.
//!
//! "Within" is decided on expressions, never on sets, so that it holds for every catalogue that
//! the service may declare later.

mod access;
mod catalogue;
mod name;
mod set;

pub use access::{Access, Limited};
pub use catalogue::{Catalogue, CatalogueBuilder};
pub use name::{Pattern, PermissionName};
pub use set::{Permission, PermissionSet};
