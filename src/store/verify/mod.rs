//! Verification: the path of a request.
//!
//! | room | contents |
//! | --- | --- |
//! | `token` | judging a token: shape, id, digest, state |
//! | `limits` | judging the limits of a key and its owner, and reserving what a use costs |
//! | `quota_leases` | the part of a quota that this process has leased from the backend |
//! | `lease_queue` | the leases that are to be fetched, and pauses after failures |
//! | `lease_waits` | the verifications that wait for leases, and their deadlines |
//! | `lease_fetch` | from what is wanted to a durable write to leases in the index |
//! | `lease_holders` | the leases that this process has; those to be given back |
//! | `parked` | parking a thread while its verification waits |
//! | `settling` | counting what was used in place of what was reserved |
//! | `declassify` | the point after which code may depend on the answer of a comparison |

mod declassify;
mod lease_fetch;
mod lease_holders;
mod lease_queue;
mod lease_waits;
mod limits;
mod parked;
mod quota_leases;
mod settling;
mod token;

#[cfg(keyhasp_constant_time)]
pub use declassify::set_declassifier;
pub use lease_waits::LeaseWait;
pub(super) use parked::parked;
pub(super) use quota_leases::LeaseSettings;
pub(super) use token::TokenVerifier;
