//! The layer that verifies each request.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::future::ResponseFuture;
use super::guard::Guard;
use super::session::Session;
use super::settings::Settings;
use crate::clock::Clock;
use crate::integrations::http::{Credentials, PeerAddress, RateHeaders, Refused};
use crate::invalid::{Invalid, Problem};
use crate::permission::PermissionSet;
use crate::store::Verifier;

/// Verifies the token of each request, and lets it pass with an
/// [`Authenticated`](super::Authenticated) in its extensions.
///
/// Out of the box it takes `Authorization: Bearer TOKEN` and answers with problem details: 401
/// where no token was sent, or one that isn't accepted; 400 where there are several credentials;
/// 403 where the key isn't accepted from the peer's address; 429 where its rate or quota is used
/// up; 503 where the store can't answer, and `Retry-After` with these two. Who lacks the right
/// secret is told the same whatever it sent; who has it learns of its limits by the status, and of
/// all else no more than that, unless [told](Self::disclose_reason).
///
/// It verifies where it is called, without leaving the thread: that takes a microsecond, but for a
/// use that finds its quota's lease spent, which waits for one durable write.
///
/// Say all that it is to do before making guards of it: each guard keeps what was said by then.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyLayer {
    settings: Arc<Settings>,
}

impl KeyLayer {
    /// A layer that judges tokens by this verifier.
    pub fn new(verifier: Verifier) -> Self {
        Self { settings: Arc::new(Settings::new(verifier)) }
    }

    /// Where the token stands.
    pub fn credentials(self, credentials: Credentials) -> Self {
        self.with(|settings| settings.credentials = credentials)
    }

    /// Where the peer's address is taken from. Unless told, none is passed on, and keys that are
    /// limited to networks are refused.
    pub fn peer_address(self, from: PeerAddress) -> Self {
        self.with(|settings| settings.peer_address = Some(from))
    }

    /// How many uses a request counts for against rates and quotas; 1 unless told. It is asked for
    /// each request with a token, before that is judged.
    pub fn cost(self, cost: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// In which headers each answer to a key with a rate says what is left of it;
    /// [`RateHeaders::draft`] unless told.
    pub fn rate_headers(self, headers: RateHeaders) -> Self {
        self.with(|settings| settings.rate_headers = headers)
    }

    /// By which clock `Retry-After` is told where a quota is used up; the system's unless told.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// Lets requests pass that present nothing at all. A token that isn't accepted is refused all
    /// the same, and so is a scheme of `Authorization` that isn't known here: a slip must not turn
    /// a caller into nobody.
    pub fn allow_anonymous(self) -> Self {
        self.with(|settings| settings.lets_anonymous_pass = true)
    }

    /// Where no token is presented, a session of the service's own may stand in: a cookie's, say.
    /// A token wins, also one that isn't accepted.
    ///
    /// The hook runs on each such request and doesn't wait. A service that looks sessions up in a
    /// database does so in a layer around this one, and the hook takes what that has put into the
    /// extensions. `None` is what nobody has: an expired session is none. Cookies come along by
    /// themselves, so keeping other sites from using one is the service's part.
    pub fn session(self, hook: impl Fn(&Parts) -> Option<Session> + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.session = Some(Arc::new(hook)))
    }

    /// Answers refused requests by this function, for an API with an error shape of its own.
    ///
    /// [`Refused::json`] and [`Refused::respond`] set the status and the headers that belong to it.
    /// [`Refused::why`] tells more than an outsider should learn.
    pub fn error_response(
        self,
        shape: impl Fn(&Refused<'_>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.shape = Some(Arc::new(shape)))
    }

    /// Answers 500 in place of 503 where the store can't answer.
    pub fn unavailable_is_500(self) -> Self {
        self.with(|settings| settings.unavailable_is_500 = true)
    }

    /// Tells whoever has shown the right secret why it isn't accepted now, or not from there: that
    /// the key has expired, say. It helps its holder, and whoever has found the token.
    pub fn disclose_reason(self) -> Self {
        self.with(|settings| settings.discloses_reason = true)
    }

    /// A guard for what is behind the layer: the caller needs each of these permissions. With none,
    /// it only has to be somebody. The layer has verified the request before, so one that a guard
    /// refuses counts as a use.
    ///
    /// # Errors
    /// [`Invalid`] for a name that the catalogue lacks.
    pub fn require<'a>(
        &self,
        permissions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Guard, Invalid> {
        let catalogue = self.settings.verifier.catalogue();
        let names: Vec<&str> = permissions.into_iter().collect();
        let resolve = |name: &&str| {
            let unknown = || Problem::Unknown { name: (*name).to_owned() };
            catalogue.permission(name).ok_or_else(|| Invalid::new("permission", unknown()))
        };
        let needed = names.iter().map(resolve).collect::<Result<PermissionSet, _>>()?;
        Ok(Guard::permissions(Arc::clone(&self.settings), needed, names.join(" ")))
    }

    /// A guard that refuses every method but `GET`, `HEAD` and `OPTIONS` to callers who may only
    /// read: all of whose permissions the catalogue marks as read-only. Where requests without a
    /// caller pass, it lets those read.
    pub fn read_only_reads(&self) -> Guard {
        Guard::read_only(Arc::clone(&self.settings))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for KeyLayer {
    type Service = KeyService<S>;

    fn layer(&self, inner: S) -> KeyService<S> {
        KeyService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// A service behind a [`KeyLayer`].
#[derive(Clone, Debug)]
pub struct KeyService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B, R> Service<Request<B>> for KeyService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.settings.admit(request) {
            Ok((request, None)) => ResponseFuture::passing(self.inner.call(request)),
            Ok((request, Some(rate))) => {
                let inner = self.inner.call(request);
                ResponseFuture::with_rate(inner, rate, Arc::clone(&self.settings))
            }
            Err(rejection) => ResponseFuture::refused(rejection),
        }
    }
}
