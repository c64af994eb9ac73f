//! The path of a request.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `token` | judging a token: shape, id, digest, state |
//! | `limits` | judging the limits of a key and its owner, and taking a use out of them |
//! | `quota_leases` | the part of a quota that this process has leased from the backend |
//! | `declassify` | the point at which the proof of constant time lets a comparison's answer go |

mod declassify;
mod limits;
mod quota_leases;
mod token;

#[cfg(keyhasp_constant_time)]
pub use declassify::set_declassifier;
pub(super) use token::TokenVerifier;
