//! Where a request's token stands, and what a refused request is answered: plain functions over
//! the types of the crate `http`, for the layer and for services that do without it.
//!
//! [`Credentials::find`] takes the token from `Authorization` or from a named header, never from a
//! query or a body. [`Refused`] knows status and headers by RFC 6750, and a body by RFC 9457 for an
//! API that has no shape of its own. [`PeerAddress`] says from which address a request comes, and
//! [`RateHeaders`] how a client learns what is left of its rate.

mod credentials;
mod forwarding;
mod peer;
mod rate_headers;
mod refused;

pub use credentials::{Credentials, Presented};
pub use peer::PeerAddress;
pub use rate_headers::RateHeaders;
pub use refused::{Refused, Why};
