//! What the client holds, and what becomes of it.
//!
//! A token is `{prefix}_{id}{secret}{checksum}`: 22, 42 and 6 characters of base62. The digest is
//! a keyed BLAKE3 of exactly one compression over id, secret and checksum, so that each token has
//! one text only and nothing of it needs decoding but the public id.

mod digest;
mod format;
mod mint;
mod pepper;
#[cfg(feature = "recoverable")]
mod seal;

pub(crate) use digest::Unverified;
pub use format::{Found, Inspection, MAX_TOKEN_LEN, inspect, pattern, scan};
pub use mint::{RandomError, RandomSource, Token};
pub(crate) use mint::{fill, mint};
pub use pepper::Peppers;
#[cfg(feature = "recoverable")]
pub use seal::RecoveryKeys;
#[cfg(feature = "recoverable")]
pub(crate) use seal::{seal, unseal};
