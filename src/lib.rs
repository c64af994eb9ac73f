//! keyhasp
pub mod authority;
pub mod backend;
pub mod clock;
pub mod event;
pub mod grant;
pub mod id;
pub mod invalid;
pub mod key;
pub mod permission;
pub mod secret;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
pub mod token;
pub use invalid::Invalid;
