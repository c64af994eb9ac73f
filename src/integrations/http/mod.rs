//! Plain functions over the types of the crate `http`, which find a request's token and answer a
//! rejected request. The layer uses them, and so may a service without the layer.
//!
//! [`Credentials::find`] takes the token from `Authorization` or from a named header, never from a
//! query or a body. [`ErrorResponse`] has status and headers by RFC 6750, and a body by RFC 9457
//! for an API without a shape of its own; [`ManagementError`] answers a management call that failed.
//! [`PeerAddress`] finds the address that a request comes from. [`RateHeaders`] show a client what is
//! left of its limits.
//!
//! # Cost above burst
//!
//! The type of the problem with a request that costs more uses than the key's rate ever has at once,
//! answered with 403. Waiting doesn't help. A smaller request does, or a key with a greater burst.

mod answer;
mod caching;
mod challenge;
mod credentials;
mod error_response;
mod forwarding;
mod management_error;
mod peer;
mod rate_headers;
mod source;
mod text;

pub use caching::no_store;
pub(in crate::integrations) use caching::vary;
pub use credentials::{Credentials, Presented};
pub use error_response::{AuthError, ErrorResponse};
pub use management_error::ManagementError;
pub use peer::PeerAddress;
pub use rate_headers::RateHeaders;
