//! Verification: the path of a request.
//!
//! | room | contents |
//! | --- | --- |
//! | `token` | judging a token: shape, id, digest, state |
//! | `limits` | judging the limits of a key and its owner, and reserving what a use costs |
//! | `quota_leases` | the part of a quota that this process has leased from the backend |
//! | `lease_holders` | the needs that wait for leases; the leases to be given back |
//! | `settling` | counting what was used in place of what was reserved |
//! | `declassify` | the point after which code may depend on the answer of a comparison |

mod declassify;
mod lease_holders;
mod limits;
mod quota_leases;
mod settling;
mod token;

#[cfg(keyhasp_constant_time)]
pub use declassify::set_declassifier;
pub(super) use token::TokenVerifier;
