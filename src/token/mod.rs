//! Tokens: the text that a client holds, its digest and its encryption.
//!
//! A token is `{prefix}_{id}{secret}{checksum}`. The last three have 22, 42 and 6 characters of
//! base62. The digest is a keyed BLAKE3 of exactly one compression over id, secret and checksum. So
//! each token has exactly one text, and only its public id needs decoding.

mod digest;
mod format;
mod mint;
mod numbered;
mod pepper;
#[cfg(feature = "recoverable")]
mod seal;

pub(crate) use digest::Unverified;
pub use format::{Found, Inspection, MAX_TOKEN_LEN, hint, inspect, pattern, scan};
pub use mint::{RandomError, RandomSource, Token};
pub(crate) use mint::{fill, mint};
pub(crate) use numbered::Mismatch;
pub use pepper::Peppers;
#[cfg(feature = "recoverable")]
pub use seal::RecoveryKeys;
#[cfg(feature = "recoverable")]
pub(crate) use seal::{seal, unseal};
