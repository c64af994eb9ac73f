//! Requirements of a route on its callers.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::authenticated::{Anonymous, Authenticated};
use super::body::{MakeBody, TextBody};
use super::future::ResponseFuture;
use super::rejected::Rejected;
use super::rejection::Rejection;
use super::settings::Settings;
use crate::integrations::http::AuthError;
use crate::permission::PermissionSet;
use crate::store::VerifyError;
use crate::verified_key::VerifiedKey;

/// A layer that lets a request pass if its caller may use the route. A
/// [`KeyLayer`](super::KeyLayer) makes it and stands before it. Without such a layer, or behind one
/// of another store, it rejects every request.
#[derive(Clone, Debug)]
#[must_use]
pub struct Guard<M = TextBody> {
    inner: Arc<Inner>,
    bodies: M,
}

#[derive(Debug)]
struct Inner {
    settings: Arc<Settings>,
    rule: Rule,
}

type Predicate = dyn Fn(&Authenticated, &Parts) -> bool + Send + Sync;

/// A rule of a guard. Names of permissions have spaces between.
pub(super) enum Rule {
    /// The permissions that a caller needs, and their names.
    All(PermissionSet, Box<str>),
    /// The permissions of which a caller needs one, and their names.
    Any(PermissionSet, Box<str>),
    /// The permissions that only read. A caller with no other permissions may only read.
    ReadOnly(PermissionSet),
    /// A function of the service.
    Predicate(Box<Predicate>),
    /// Keys pass, sessions don't.
    Keys,
    /// Sessions pass, keys don't.
    Sessions,
}

impl<M> Guard<M> {
    pub(super) fn new(settings: Arc<Settings>, rule: Rule, bodies: M) -> Self {
        Self { inner: Arc::new(Inner { settings, rule }), bodies }
    }
}

impl Inner {
    fn check(&self, request: &Parts) -> Result<(), Rejection> {
        let caller = request.extensions.get::<Authenticated>();
        let has_layer = match caller {
            // The same bits mean other permissions in another store's catalogue.
            Some(caller) => caller.is_known_to(&self.settings),
            None => {
                let mark = request.extensions.get::<Anonymous>();
                mark.is_some_and(|Anonymous(of)| of.has_catalogue_of(&self.settings))
            }
        };
        if !has_layer {
            return Err(self.settings.reject(&Rejected::of(AuthError::NoLayer, request)));
        }
        // A guard of a layer with prefixes of its own holds also behind one without.
        let is_accepted =
            |key: &VerifiedKey| self.settings.verifier.accepts(key.prefix().as_bytes());
        let key = caller.and_then(Authenticated::verified_key);
        let error = match key.is_none_or(is_accepted) {
            true => self.rule.check(request, caller),
            false => Some(AuthError::Verify(VerifyError::Unrecognized)),
        };
        let Some(error) = error else { return Ok(()) };
        Err(self.settings.reject(&match caller {
            Some(caller) => caller.rejected(error, Some(request)),
            None => Rejected::of(error, request),
        }))
    }
}

impl Rule {
    /// Returns the error for this caller, or for an anonymous one; `None` if it may pass.
    fn check(&self, request: &Parts, caller: Option<&Authenticated>) -> Option<AuthError<'_>> {
        if let Self::ReadOnly(_) = self
            && reads(&request.method)
        {
            return None;
        }
        let Some(caller) = caller else { return Some(AuthError::Missing) };
        let (passes, error) = match self {
            Self::All(needed, names) => {
                (caller.permissions().is_superset(needed), AuthError::Permission(names))
            }
            Self::Any(any, names) => (
                !caller.permissions().intersection(any).is_empty(),
                AuthError::AnyPermission(names),
            ),
            Self::ReadOnly(read_only) => {
                (!read_only.is_superset(caller.permissions()), AuthError::ReadOnly)
            }
            Self::Predicate(allows) => (allows(caller, request), AuthError::NotAllowed),
            Self::Keys => (caller.verified_key().is_some(), AuthError::NeedsKey),
            Self::Sessions => (caller.verified_key().is_none(), AuthError::NeedsSession),
        };
        (!passes).then_some(error)
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl<S, M: Clone> Layer<S> for Guard<M> {
    type Service = GuardService<S, M>;

    fn layer(&self, inner: S) -> GuardService<S, M> {
        GuardService { inner, guard: self.clone() }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct GuardService<S, M = TextBody> {
    inner: S,
    guard: Guard<M>,
}

impl<S, B, R, M> Service<Request<B>> for GuardService<S, M>
where
    S: Service<Request<B>, Response = Response<R>>,
    M: MakeBody<R>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        if parts.extensions.get::<Authenticated>().is_none() {
            // Perhaps no layer stands before, and hooks get the request.
            self.guard.inner.settings.credentials.mark_sensitive(&mut parts.headers);
        }
        match self.guard.inner.check(&parts) {
            Ok(()) => ResponseFuture::passing(self.inner.call(Request::from_parts(parts, body))),
            Err(rejection) => ResponseFuture::rejected(rejection.answer(&self.guard.bodies)),
        }
    }
}

/// Shows a function of the service as its name alone.
impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, permissions) = match self {
            Self::All(_, names) => ("All", &**names),
            Self::Any(_, names) => ("Any", &**names),
            Self::ReadOnly(_) => ("ReadOnly", ""),
            Self::Predicate(_) => ("Predicate", ""),
            Self::Keys => ("Keys", ""),
            Self::Sessions => ("Sessions", ""),
        };
        f.debug_tuple(name).field(&permissions).finish()
    }
}
