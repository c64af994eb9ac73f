//! What a service passes around: owned, `Clone + 'static`, each able to do what its holder may.
//!
//! What a handle may not do isn't on it, so it doesn't compile.

mod admin;
mod delegated;
mod feed;
mod keys;
mod owner;
mod verifier;

pub use admin::{AdminKeys, AsAdmin};
pub use delegated::{AsDelegate, DelegatedKeys};
pub use feed::{EventFeed, FeedItem};
pub use keys::{Keys, Managing};
pub use owner::{AsOwner, OwnerKeys};
pub use verifier::Verifier;
