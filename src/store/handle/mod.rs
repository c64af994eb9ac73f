//! The handles that a service passes to its parts: owned, `Clone + 'static`, each with the methods
//! that its holder may call.
//!
//! A call that a holder may not make isn't on its handle, so it doesn't compile.

mod admin;
mod bulk;
mod delegated;
mod feed;
mod into_key_store;
mod keys;
mod manager;
mod owner;
mod verifier;

pub use admin::{AdminKeys, AsAdmin};
pub use bulk::Bulk;
pub use delegated::{AsDelegate, DelegatedKeys};
pub use feed::{EventFeed, FeedItem};
pub use into_key_store::IntoKeyStore;
pub use keys::{Keys, Managing};
pub use manager::{AsManager, ManagerKeys, OfOneOwner};
pub use owner::{AsOwner, OwnerKeys};
pub use verifier::{Reservation, Verifier};
