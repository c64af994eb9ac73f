//! The layer that verifies each request.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::admission::{Admission, admit};
use super::authenticated::Authenticated;
use super::body::{BodyFn, EmptyBody, MakeBody, TextBody};
use super::future::KeyFuture;
use super::guard::{Guard, Rule};
use super::session::Session;
use super::settings::Settings;
use crate::clock::Clock;
use crate::integrations::http::{Credentials, ErrorResponse, PeerAddress, RateHeaders};
use crate::invalid::{Invalid, Problem};
use crate::key::Prefix;
use crate::permission::PermissionSet;
use crate::store::Verifier;
use crate::verified_key::VerifiedKey;

/// A layer that verifies the token of each request, and lets the request pass with an
/// [`Authenticated`](super::Authenticated) in its extensions.
///
/// Its defaults take `Authorization: Bearer TOKEN` and answer with problem details:
///
/// - 401 without a token, or with one that isn't accepted;
/// - 400 with several credentials;
/// - 403 where the key isn't accepted from the peer's address;
/// - 429 where its rate or quota is used up, with `Retry-After` where waiting helps;
/// - 503 where the store can't answer, with `Retry-After`.
///
/// A client without the right secret gets the same answer whatever it sent. A client with the right
/// secret learns of its limits by the status. It learns other reasons only if the service
/// [discloses](Self::disclose_reason) them.
///
/// The layer verifies on the calling thread. That takes about a microsecond. A request that finds its
/// quota's lease spent waits as a future, and holds no thread: the service behind the layer is cloned
/// then.
///
/// Each guard keeps the settings of the moment at which it is made: set everything first.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyLayer<M = TextBody> {
    settings: Arc<Settings>,
    bodies: M,
}

impl KeyLayer {
    /// Makes a layer that verifies tokens with this verifier.
    pub fn new(verifier: Verifier) -> Self {
        Self { settings: Arc::new(Settings::new(verifier)), bodies: TextBody }
    }
}

impl<M> KeyLayer<M> {
    /// Makes the bodies of the layer's own answers with this function, for a service whose bodies
    /// can't be made of a text. Guards made after this call do too.
    ///
    /// ```
    /// # use keyhasp::{KeyLayer, Verifier};
    /// # fn f(verifier: Verifier) {
    /// use axum::body::Bytes;
    /// use http_body_util::{BodyExt, Full};
    ///
    /// let keys = KeyLayer::new(verifier).body_with(|text| Full::<Bytes>::from(text).boxed());
    /// # let _ = keys;
    /// # }
    /// ```
    ///
    /// Some layers have a body of their own that no other code can make, such as tower-http's for
    /// compression and for a limit. One line makes of it a body that the service knows:
    ///
    /// ```
    /// # use keyhasp::{KeyLayer, Verifier};
    /// # fn f(verifier: Verifier) -> axum::Router {
    /// use axum::body::Body;
    /// use http::Response;
    /// use tower_http::{compression::CompressionLayer, limit::RequestBodyLimitLayer};
    ///
    /// let layers = tower::ServiceBuilder::new()
    ///     .layer(KeyLayer::new(verifier))
    ///     .map_response(|answer: Response<_>| answer.map(Body::new))
    ///     .layer(CompressionLayer::new())
    ///     .layer(RequestBodyLimitLayer::new(1_000_000));
    /// # axum::Router::new().layer(layers)
    /// # }
    /// ```
    pub fn body_with<B, F: Fn(String) -> B>(self, make: F) -> KeyLayer<BodyFn<F>> {
        KeyLayer { settings: self.settings, bodies: BodyFn(make) }
    }

    /// Leaves the bodies of the layer's own answers empty, for a service whose bodies have a default
    /// and can't be made of a text: status and headers are the answer. Guards made after this
    /// call do too.
    pub fn empty_body(self) -> KeyLayer<EmptyBody> {
        KeyLayer { settings: self.settings, bodies: EmptyBody }
    }

    /// Sets the places where the layer looks for a token. Defaults to [`Credentials::bearer`].
    pub fn credentials(self, credentials: Credentials) -> Self {
        self.with(|settings| settings.credentials = credentials)
    }

    /// Accepts tokens of these prefixes alone, such as those of a test environment. Defaults to all
    /// that the verifier accepts. A token of another prefix is answered like a wrong one, and counts as
    /// no use. Guards that are made after this call reject its key too, whichever layer let it in.
    ///
    /// # Errors
    /// As [`Verifier::with_prefixes`]: for no prefix, and for one that the verifier doesn't accept.
    pub fn prefixes(self, prefixes: impl IntoIterator<Item = Prefix>) -> Result<Self, Invalid> {
        let verifier = self.settings.verifier.with_prefixes(prefixes)?;
        Ok(self.with(|settings| settings.verifier = verifier))
    }

    /// Sets the source of the peer's address. Defaults to none: then the store rejects keys that
    /// are limited to networks. A layer inside another one, that finds another address than that one
    /// did, verifies the token again, which is a second use.
    pub fn peer_address(self, from: PeerAddress) -> Self {
        self.with(|settings| settings.peer_address = Some(from))
    }

    /// Returns a layer that counts each request as this number of uses against rates and quotas.
    /// Without a cost it is 1.
    ///
    /// On a route behind this layer it is a charge on top: the request was counted once already, so
    /// `cost(9)` there makes a route cost 10. It verifies the token again, and so still guards the
    /// route if this layer is forgotten.
    ///
    /// ```
    /// # use axum::{Router, routing::get};
    /// # use keyhasp::KeyLayer;
    /// # fn f(keys: KeyLayer) -> Router {
    /// Router::new()
    ///     .route("/export", get(async || "all of it").layer(keys.cost(9)))
    ///     .route("/links", get(async || "a page of them"))
    ///     .layer(keys)
    /// # }
    /// ```
    pub fn cost(&self, uses: u32) -> Self
    where
        M: Clone,
    {
        self.clone().cost_by(move |_| uses)
    }

    /// Sets the function that counts a request's uses against rates and quotas. Defaults to 1. The
    /// layer calls it for each request with a token, before it verifies the token.
    ///
    /// Under `nest` axum strips the path of `uri`. The extensions hold the route and the whole path:
    ///
    /// ```
    /// # use keyhasp::KeyLayer;
    /// # fn f(keys: KeyLayer) -> KeyLayer {
    /// use axum::extract::MatchedPath;
    ///
    /// keys.cost_by(|request| match request.extensions.get().map(MatchedPath::as_str) {
    ///     Some("/api/export/{id}") => 10,
    ///     _ => 1,
    /// })
    /// # }
    /// ```
    pub fn cost_by(self, cost: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// Adds a function that the layer calls with each key that it lets in, before the service. A
    /// layer that uses the verified key of one around it doesn't call its own hook: set the hook on
    /// the outer layer.
    pub fn on_verified(self, hook: impl Fn(&VerifiedKey, &Parts) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.on_verified.push(Arc::new(hook)))
    }

    /// Adds a function that the layer, its guards and its callers call with each request that they
    /// reject, before it is answered. It learns which key was rejected
    /// ([`ErrorResponse::key_id`]), why ([`cause`](ErrorResponse::cause)) and what was asked
    /// ([`request`](ErrorResponse::request)).
    pub fn on_rejected(self, hook: impl Fn(&ErrorResponse<'_>) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.on_rejected.push(Arc::new(hook)))
    }

    /// Sets the headers that show what is left of a key's rate and quota, in each answer to such a key.
    /// Defaults to [`RateHeaders::draft`].
    pub fn rate_headers(self, headers: RateHeaders) -> Self {
        self.with(|settings| settings.rate_headers = headers)
    }

    /// Sets the clock for the time until a quota is refilled, in `Retry-After` and `RateLimit`. Defaults
    /// to the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// Lets requests pass that present no credentials. The layer still rejects a token that isn't
    /// accepted, and a scheme of `Authorization` that isn't: a client's mistake must not make it
    /// anonymous.
    pub fn allow_anonymous(self) -> Self {
        self.with(|settings| settings.allows_anonymous = true)
    }

    /// Lets a session of the service's own, such as a cookie's, stand in for a missing token. A
    /// token takes precedence, even if it isn't accepted.
    ///
    /// The hook runs on each request without a token, and must not wait. A service with sessions in
    /// a database looks them up in a layer around this one, and the hook takes the session from the
    /// request's extensions. The hook returns `None` for no session and for an expired one.
    /// Browsers send cookies by themselves, so the service must keep other sites from using them. An
    /// answer that depends on a cookie needs `Vary: Cookie`, or `Cache-Control: no-store`, from the
    /// service: the layer can't know what the hook reads.
    pub fn session(self, hook: impl Fn(&Parts) -> Option<Session> + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.session = Some(Arc::new(hook)))
    }

    /// Sets the function that answers rejected requests, for an API with an error shape of its own.
    ///
    /// [`ErrorResponse::json`] and [`ErrorResponse::respond`] set the status and its headers.
    /// [`ErrorResponse::cause`] says more than a client should learn.
    pub fn error_response(
        self,
        hook: impl Fn(&ErrorResponse<'_>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.error_response = Some(Arc::new(hook)))
    }

    /// Answers 500 in place of 503 if the store can't answer.
    pub fn unavailable_is_500(self) -> Self {
        self.with(|settings| settings.unavailable_is_500 = true)
    }

    /// Discloses to a client with the right secret why its token is rejected: for example, that the
    /// key has expired. It helps the key's holder, and also a thief of the token.
    pub fn disclose_reason(self) -> Self {
        self.with(|settings| settings.discloses_reason = true)
    }

    /// Makes a guard for a service behind the layer: a caller needs all of these permissions.
    /// Without any, the guard only rejects anonymous requests. The layer has verified the request
    /// before the guard, so a request that a guard rejects counts as a use.
    ///
    /// # Errors
    /// [`Invalid`] for a permission that the catalogue lacks.
    pub fn require<'a>(
        &self,
        permissions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Guard<M>, Invalid>
    where
        M: Clone,
    {
        let (needed, names) = self.resolve(permissions)?;
        Ok(self.guard(Rule::All(needed, names)))
    }

    /// Makes a guard for a service behind the layer: a caller needs one of these permissions at least.
    ///
    /// # Errors
    /// [`Invalid`] for a permission that the catalogue lacks, and if none is given.
    pub fn require_any<'a>(
        &self,
        permissions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Guard<M>, Invalid>
    where
        M: Clone,
    {
        let (any, names) = self.resolve(permissions)?;
        if names.is_empty() {
            return Err(Invalid::new("permission", Problem::Empty));
        }
        Ok(self.guard(Rule::Any(any, names)))
    }

    /// Makes a guard for a service behind the layer: a caller passes if this function says so. It
    /// gets the request without its body, and must not wait.
    pub fn require_by(
        &self,
        allows: impl Fn(&Authenticated, &Parts) -> bool + Send + Sync + 'static,
    ) -> Guard<M>
    where
        M: Clone,
    {
        self.guard(Rule::Predicate(Box::new(allows)))
    }

    /// Makes a guard for a service behind the layer: keys pass, and sessions don't.
    pub fn keys_only(&self) -> Guard<M>
    where
        M: Clone,
    {
        self.guard(Rule::Keys)
    }

    /// Makes a guard for a service behind the layer: sessions pass, and keys don't. A key that was
    /// stolen then can't make itself another one there.
    pub fn sessions_only(&self) -> Guard<M>
    where
        M: Clone,
    {
        self.guard(Rule::Sessions)
    }

    /// Makes a guard that lets callers who may only read use `GET`, `HEAD` and `OPTIONS` alone. The
    /// catalogue marks all permissions of such a caller as read-only. Anonymous requests, where the
    /// layer allows them, may read too.
    pub fn read_only_reads(&self) -> Guard<M>
    where
        M: Clone,
    {
        self.guard(Rule::ReadOnly(self.settings.verifier.catalogue().read_only()))
    }

    fn guard(&self, rule: Rule) -> Guard<M>
    where
        M: Clone,
    {
        Guard::new(Arc::clone(&self.settings), rule, self.bodies.clone())
    }

    /// Resolves names of permissions, and joins them with spaces.
    fn resolve<'a>(
        &self,
        permissions: impl IntoIterator<Item = &'a str>,
    ) -> Result<(PermissionSet, Box<str>), Invalid> {
        let catalogue = self.settings.verifier.catalogue();
        let names: Vec<&str> = permissions.into_iter().collect();
        let resolve = |name: &&str| {
            let unknown = || Problem::Unknown { name: (*name).to_owned() };
            catalogue.permission(name).ok_or_else(|| Invalid::new("permission", unknown()))
        };
        let set = names.iter().map(resolve).collect::<Result<PermissionSet, _>>()?;
        Ok((set, names.join(" ").into()))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, M: Clone> Layer<S> for KeyLayer<M> {
    type Service = KeyService<S, M>;

    fn layer(&self, inner: S) -> KeyService<S, M> {
        KeyService { inner, settings: Arc::clone(&self.settings), bodies: self.bodies.clone() }
    }
}

/// A service behind a [`KeyLayer`].
#[derive(Clone, Debug)]
pub struct KeyService<S, M = TextBody> {
    inner: S,
    settings: Arc<Settings>,
    bodies: M,
}

impl<S, B, R, M> Service<Request<B>> for KeyService<S, M>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    M: MakeBody<R> + Clone,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = KeyFuture<S, B, R, M>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        match admit(&self.settings, request) {
            Ok(Admission::Admitted(admitted)) => {
                KeyFuture::passing(&mut self.inner, admitted, &self.settings)
            }
            Ok(Admission::Waits(request)) => {
                // The one that was polled is ready. Its clone needn't be.
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                KeyFuture::waiting(ready, request, &self.settings, self.bodies.clone())
            }
            Err(rejection) => KeyFuture::rejected(rejection.answer(&self.bodies)),
        }
    }
}
