//! The settings of a layer.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};

use super::rejected::Rejected;
use super::rejection::Rejection;
use super::session::Session;
use super::span;
use crate::clock::{Clock, SystemClock};
use crate::integrations::http::{
    AuthError, Credentials, ErrorResponse, PeerAddress, RateHeaders, vary,
};
use crate::permission::{CatalogueTag, PermissionSet};
use crate::store::{Verifier, VerifyError};
use crate::verified_key::{LimitsLeft, VerifiedKey};

pub(super) type SessionHook = dyn Fn(&Parts) -> Option<Session> + Send + Sync;
pub(super) type Cost = dyn Fn(&Parts) -> u32 + Send + Sync;
pub(super) type OnVerified = dyn Fn(&VerifiedKey, &Parts) + Send + Sync;
pub(super) type OnRejected = dyn Fn(&ErrorResponse<'_>) + Send + Sync;
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
    pub(super) on_verified: Vec<Arc<OnVerified>>,
    pub(super) on_rejected: Vec<Arc<OnRejected>>,
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
            on_verified: Vec::new(),
            on_rejected: Vec::new(),
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
    pub(super) fn check_catalogue(
        &self,
        permissions: &PermissionSet,
        request: &Parts,
    ) -> Result<(), Rejection> {
        if permissions.belongs_to(self.catalogue) {
            return Ok(());
        }
        Err(self.reject(&Rejected::of(AuthError::OtherCatalogue, request)))
    }

    /// Calls the hooks for a verified key, and writes who it is into the current span.
    #[inline]
    pub(super) fn note_verified(&self, verified: &VerifiedKey, request: &Parts) {
        span::record(Some(verified.key_id()), Some(verified.owner_id()));
        self.on_verified.iter().for_each(|hook| hook(verified, request));
    }

    /// Returns whether two layers have one catalogue, at one address: that of one store.
    pub(super) fn has_catalogue_of(&self, other: &Self) -> bool {
        std::ptr::eq(self.verifier.catalogue(), other.verifier.catalogue())
    }

    /// Returns whether each answer of the service gets headers, whatever the key's limits are.
    #[inline]
    pub(super) fn marks_answers(&self) -> bool {
        self.varies_by_authorization() || self.credentials.named().next().is_some()
    }

    /// Returns whether an answer to a request without credentials could be taken for one to a request
    /// with some: no rule of caches prevents that.
    fn varies_by_authorization(&self) -> bool {
        let lets_in_without = self.allows_anonymous || self.session.is_some();
        lets_in_without && self.credentials.reads_authorization()
    }

    /// Adds to an answer of the service what is left of the caller's limits, and the headers on which
    /// an answer depends that a cache may store.
    pub(super) fn mark(&self, left: LimitsLeft, headers: &mut HeaderMap) {
        if left != LimitsLeft::NOTHING_KNOWN {
            self.rate_headers.add(left.rate(), left.quota(), self.clock.now(), headers);
        }
        if headers.get(CACHE_CONTROL).is_some_and(|value| value == "no-store") {
            return;
        }
        let authorization = self.varies_by_authorization().then_some(&AUTHORIZATION);
        vary(self.credentials.named().chain(authorization), headers);
    }

    /// Makes the answer to a rejected request.
    #[cold]
    pub(super) fn reject(&self, rejected: &Rejected<'_>) -> Rejection {
        let Rejected { error, request, key, owner } = *rejected;
        span::record(key, owner);
        // Once, so that no header ends before another one.
        let now = self.clock.now();
        let mut response = ErrorResponse::new(error, &self.credentials).at(now).of_key(key, owner);
        if let Some(request) = request {
            response = response.to_request(request);
        }
        if self.unavailable_is_500 {
            response = response.unavailable_is_500();
        }
        if self.discloses_reason {
            response = response.disclosing_reason();
        }
        self.on_rejected.iter().for_each(|hook| hook(&response));
        let hook = self.error_response.as_ref();
        let mut answer = hook.map_or_else(|| response.problem(), |hook| hook(&response));
        if let AuthError::Verify(VerifyError::Rejected(reason)) = &error {
            self.rate_headers.add_rejected(reason, now, answer.headers_mut());
        }
        // A shape of the service's own may have made the answer by itself.
        answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
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
            .field("on_verified", &self.on_verified.len())
            .field("on_rejected", &self.on_rejected.len())
            .field("error_response", &self.error_response.is_some())
            .field("allows_anonymous", &self.allows_anonymous)
            .field("unavailable_is_500", &self.unavailable_is_500)
            .field("discloses_reason", &self.discloses_reason)
            .finish()
    }
}
