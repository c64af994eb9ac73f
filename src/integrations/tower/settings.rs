//! What a layer was told.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};

use super::authenticated::{Anonymous, Authenticated};
use super::rejection::Rejection;
use super::session::Session;
use crate::integrations::http::{Credentials, Presented, Refused, Why};
use crate::store::Verifier;

pub(super) type SessionHook = dyn Fn(&Parts) -> Option<Session> + Send + Sync;
pub(super) type Shape = dyn Fn(&Refused<'_>) -> Response<String> + Send + Sync;

/// Shared by a layer, its guards, and the requests on their way.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) verifier: Verifier,
    pub(super) credentials: Credentials,
    pub(super) session: Option<Arc<SessionHook>>,
    pub(super) shape: Option<Arc<Shape>>,
    pub(super) lets_anonymous_pass: bool,
    pub(super) unavailable_is_500: bool,
    pub(super) tells_holders: bool,
}

impl Settings {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self {
            verifier,
            credentials: Credentials::bearer(),
            session: None,
            shape: None,
            lets_anonymous_pass: false,
            unavailable_is_500: false,
            tells_holders: false,
        }
    }

    /// The request as it passes on, with its caller, or why it doesn't.
    #[inline]
    pub(super) fn admit<B>(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> Result<Request<B>, Rejection> {
        let is_other = match self.credentials.find(request.headers()) {
            Presented::Token(token) => {
                let grant = self.verifier.verify(token);
                let grant = grant.map_err(|refusal| self.reject(refusal.into()))?;
                let caller = Authenticated::by_key(grant, Arc::clone(self));
                request.extensions_mut().insert(caller);
                return Ok(request);
            }
            Presented::Doubled => return Err(self.reject(Why::Doubled)),
            Presented::OtherScheme => true,
            Presented::Nothing => false,
        };
        self.admit_without_token(request, is_other)
    }

    /// Without a token, a session stands in. Without that too, a request passes as anonymous where
    /// this is allowed; one that tried to say who it is, in a scheme that isn't known here, never.
    fn admit_without_token<B>(
        self: &Arc<Self>,
        mut request: Request<B>,
        is_other: bool,
    ) -> Result<Request<B>, Rejection> {
        if let Some(hook) = &self.session {
            let (mut parts, body) = request.into_parts();
            if let Some(mut session) = hook(&parts) {
                parts.extensions.extend(session.take_extensions());
                parts.extensions.insert(Authenticated::by_session(session, Arc::clone(self)));
                return Ok(Request::from_parts(parts, body));
            }
            request = Request::from_parts(parts, body);
        }
        if is_other || !self.lets_anonymous_pass {
            return Err(self.reject(Why::Missing));
        }
        // Whom a layer around this one let in is somebody to that one alone.
        request.extensions_mut().remove::<Authenticated>();
        request.extensions_mut().insert(Anonymous(Arc::clone(self)));
        Ok(request)
    }

    /// The answer to a refused request.
    #[cold]
    pub(super) fn reject(&self, why: Why<'_>) -> Rejection {
        let mut refused = Refused::new(why, &self.credentials);
        if self.unavailable_is_500 {
            refused = refused.unavailable_is_500();
        }
        if self.tells_holders {
            refused = refused.telling_holders();
        }
        let answer = self.shape.as_ref().map_or_else(|| refused.problem(), |shape| shape(&refused));
        Rejection::new(answer)
    }
}

/// The functions in it have no words.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("verifier", &self.verifier)
            .field("credentials", &self.credentials)
            .field("session", &self.session.is_some())
            .field("shape", &self.shape.is_some())
            .field("lets_anonymous_pass", &self.lets_anonymous_pass)
            .field("unavailable_is_500", &self.unavailable_is_500)
            .field("tells_holders", &self.tells_holders)
            .finish()
    }
}
