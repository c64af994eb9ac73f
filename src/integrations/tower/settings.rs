//! The settings of a layer.

use std::fmt;
use std::sync::Arc;

use http::Response;
use http::request::Parts;

use super::rejection::Rejection;
use super::session::Session;
use crate::clock::{Clock, SystemClock};
use crate::integrations::http::{AuthError, Credentials, ErrorResponse, PeerAddress, RateHeaders};
use crate::key::RejectReason;
use crate::permission::{CatalogueTag, PermissionSet};
use crate::store::{Verifier, VerifyError};

pub(super) type SessionHook = dyn Fn(&Parts) -> Option<Session> + Send + Sync;
pub(super) type Cost = dyn Fn(&Parts) -> u32 + Send + Sync;
pub(super) type ErrorHook = dyn Fn(&ErrorResponse<'_>) -> Response<String> + Send + Sync;

/// Settings that a layer shares with its guards and with the requests on their way.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) verifier: Verifier,
    /// The tag of the verifier's catalogue, kept here so that no request has to look it up.
    catalogue: CatalogueTag,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) credentials: Credentials,
    pub(super) peer_address: Option<PeerAddress>,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) rate_headers: RateHeaders,
    pub(super) session: Option<Arc<SessionHook>>,
    pub(super) error_response: Option<Arc<ErrorHook>>,
    pub(super) allows_anonymous: bool,
    pub(super) unavailable_is_500: bool,
    pub(super) discloses_reason: bool,
}

impl Settings {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self {
            catalogue: verifier.catalogue().tag(),
            verifier,
            clock: Arc::new(SystemClock::new()),
            credentials: Credentials::bearer(),
            peer_address: None,
            cost: None,
            rate_headers: RateHeaders::draft(),
            session: None,
            error_response: None,
            allows_anonymous: false,
            unavailable_is_500: false,
            discloses_reason: false,
        }
    }

    /// Checks that a caller's permissions are of the catalogue in which guards and handlers resolve
    /// theirs.
    ///
    /// # Errors
    /// [`Rejection`] with 500: a store behind the verifier, or the session's hook, has another
    /// catalogue.
    #[inline]
    pub(super) fn check_catalogue(&self, permissions: &PermissionSet) -> Result<(), Rejection> {
        if permissions.belongs_to(self.catalogue) {
            return Ok(());
        }
        Err(self.reject(AuthError::OtherCatalogue))
    }

    /// Makes the answer to a rejected request.
    #[cold]
    pub(super) fn reject(&self, error: AuthError<'_>) -> Rejection {
        let mut response = ErrorResponse::new(error, &self.credentials).at(self.clock.now());
        if self.unavailable_is_500 {
            response = response.unavailable_is_500();
        }
        if self.discloses_reason {
            response = response.disclosing_reason();
        }
        let hook = self.error_response.as_ref();
        let mut answer = hook.map_or_else(|| response.problem(), |hook| hook(&response));
        if let AuthError::Verify(VerifyError::Rejected(RejectReason::RateLimited(limited))) = &error
        {
            self.rate_headers.add_rejected(limited, answer.headers_mut());
        }
        Rejection::new(answer)
    }
}

/// Shows whether each function is set, not the function.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("verifier", &self.verifier)
            .field("catalogue", &self.catalogue)
            .field("clock", &self.clock)
            .field("credentials", &self.credentials)
            .field("peer_address", &self.peer_address)
            .field("cost", &self.cost.is_some())
            .field("rate_headers", &self.rate_headers)
            .field("session", &self.session.is_some())
            .field("error_response", &self.error_response.is_some())
            .field("allows_anonymous", &self.allows_anonymous)
            .field("unavailable_is_500", &self.unavailable_is_500)
            .field("discloses_reason", &self.discloses_reason)
            .finish()
    }
}
