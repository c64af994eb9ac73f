//! What a layer was told.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};

use super::authenticated::{Anonymous, Authenticated};
use super::rejection::Rejection;
use super::session::Session;
use crate::clock::{Clock, SystemClock};
use crate::integrations::http::{Credentials, PeerAddress, Presented, RateHeaders, Refused, Why};
use crate::key::{RateStatus, RejectReason};
use crate::store::{Verifier, VerifyError, VerifyRequest};
use crate::verified_key::VerifiedKey;

pub(super) type SessionHook = dyn Fn(&Parts) -> Option<Session> + Send + Sync;
pub(super) type Cost = dyn Fn(&Parts) -> u32 + Send + Sync;
pub(super) type Shape = dyn Fn(&Refused<'_>) -> Response<String> + Send + Sync;

/// Shared by a layer, its guards, and the requests on their way.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) verifier: Verifier,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) credentials: Credentials,
    pub(super) peer_address: Option<PeerAddress>,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) rate_headers: RateHeaders,
    pub(super) session: Option<Arc<SessionHook>>,
    pub(super) shape: Option<Arc<Shape>>,
    pub(super) lets_anonymous_pass: bool,
    pub(super) unavailable_is_500: bool,
    pub(super) discloses_reason: bool,
}

impl Settings {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self {
            verifier,
            clock: Arc::new(SystemClock::new()),
            credentials: Credentials::bearer(),
            peer_address: None,
            cost: None,
            rate_headers: RateHeaders::draft(),
            session: None,
            shape: None,
            lets_anonymous_pass: false,
            unavailable_is_500: false,
            discloses_reason: false,
        }
    }

    /// The request as it passes on, with its caller and what is left of that one's rate; or why it
    /// doesn't.
    #[inline]
    pub(super) fn admit<B>(
        self: &Arc<Self>,
        request: Request<B>,
    ) -> Result<(Request<B>, Option<RateStatus>), Rejection> {
        let (mut parts, body) = request.into_parts();
        let rate = match self.credentials.find(&parts.headers) {
            Presented::Token(token) => {
                let verified = self.verify(token, &parts);
                let verified = verified.map_err(|refusal| self.reject(refusal.into()))?;
                parts.extensions.insert(Authenticated::by_key(verified, Arc::clone(self)));
                verified.rate()
            }
            Presented::Multiple => return Err(self.reject(Why::Multiple)),
            other @ (Presented::OtherScheme | Presented::Nothing) => {
                let is_other = matches!(other, Presented::OtherScheme);
                self.admit_without_token(&mut parts, is_other)?;
                None
            }
        };
        Ok((Request::from_parts(parts, body), rate))
    }

    #[inline]
    fn verify(&self, token: &[u8], parts: &Parts) -> Result<VerifiedKey, VerifyError> {
        let mut request = VerifyRequest::new(token);
        if let Some(address) = self.peer_address.as_ref().and_then(|peer| peer.of(parts)) {
            request = request.address(address);
        }
        if let Some(cost) = &self.cost {
            request = request.cost(cost(parts));
        }
        self.verifier.verify_request(&request)
    }

    /// Without a token, a session stands in. Without that too, a request passes as anonymous where
    /// this is allowed; one that tried to say who it is, in a scheme that isn't known here, never.
    fn admit_without_token(
        self: &Arc<Self>,
        parts: &mut Parts,
        is_other: bool,
    ) -> Result<(), Rejection> {
        if let Some(mut session) = self.session.as_ref().and_then(|hook| hook(parts)) {
            parts.extensions.extend(session.take_extensions());
            parts.extensions.insert(Authenticated::by_session(session, Arc::clone(self)));
            return Ok(());
        }
        if is_other || !self.lets_anonymous_pass {
            return Err(self.reject(Why::Missing));
        }
        // Whom a layer around this one let in is somebody to that one alone.
        parts.extensions.remove::<Authenticated>();
        parts.extensions.insert(Anonymous(Arc::clone(self)));
        Ok(())
    }

    /// The answer to a refused request.
    #[cold]
    pub(super) fn reject(&self, why: Why<'_>) -> Rejection {
        let mut refused = Refused::new(why, &self.credentials).at(self.clock.now());
        if self.unavailable_is_500 {
            refused = refused.unavailable_is_500();
        }
        if self.discloses_reason {
            refused = refused.disclosing_reason();
        }
        let mut answer =
            self.shape.as_ref().map_or_else(|| refused.problem(), |shape| shape(&refused));
        if let Why::Verify(VerifyError::Rejected(RejectReason::RateLimited(limited))) = &why {
            self.rate_headers.add_refused(limited, answer.headers_mut());
        }
        Rejection::new(answer)
    }
}

/// The functions in it have no words.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("verifier", &self.verifier)
            .field("clock", &self.clock)
            .field("credentials", &self.credentials)
            .field("peer_address", &self.peer_address)
            .field("cost", &self.cost.is_some())
            .field("rate_headers", &self.rate_headers)
            .field("session", &self.session.is_some())
            .field("shape", &self.shape.is_some())
            .field("lets_anonymous_pass", &self.lets_anonymous_pass)
            .field("unavailable_is_500", &self.unavailable_is_500)
            .field("discloses_reason", &self.discloses_reason)
            .finish()
    }
}
