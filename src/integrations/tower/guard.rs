//! Requirements of a route on its callers.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::authenticated::{Anonymous, Authenticated};
use super::body::{MakeBody, TextBody};
use super::future::ResponseFuture;
use super::rejection::Rejection;
use super::settings::Settings;
use crate::integrations::http::AuthError;
use crate::permission::PermissionSet;

/// A layer that lets a request pass if its caller has the permissions of the route. A
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

#[derive(Debug)]
enum Rule {
    /// The permissions that a caller needs, and their names with spaces between.
    Permissions(PermissionSet, Box<str>),
    /// The permissions that only read. A caller with no other permissions may only read.
    ReadOnly(PermissionSet),
}

impl<M> Guard<M> {
    pub(super) fn permissions(
        settings: Arc<Settings>,
        needed: PermissionSet,
        names: String,
        bodies: M,
    ) -> Self {
        let rule = Rule::Permissions(needed, names.into());
        Self { inner: Arc::new(Inner { settings, rule }), bodies }
    }

    pub(super) fn read_only(settings: Arc<Settings>, bodies: M) -> Self {
        let rule = Rule::ReadOnly(settings.verifier.catalogue().read_only());
        Self { inner: Arc::new(Inner { settings, rule }), bodies }
    }
}

impl Inner {
    fn check(&self, method: &Method, extensions: &Extensions) -> Result<(), Rejection> {
        let caller = extensions.get::<Authenticated>();
        let has_layer = match caller {
            // The same bits mean other permissions in another store's catalogue.
            Some(caller) => caller.is_known_to(&self.settings),
            None => extensions.get::<Anonymous>().is_some(),
        };
        if !has_layer {
            return Err(self.settings.reject(AuthError::NoLayer));
        }
        match self.rule.check(method, caller) {
            None => Ok(()),
            Some(error) => Err(self.settings.reject(error)),
        }
    }
}

impl Rule {
    /// Returns the error for this caller, or for an anonymous one; `None` if it may pass.
    fn check(&self, method: &Method, caller: Option<&Authenticated>) -> Option<AuthError<'_>> {
        match self {
            Self::Permissions(needed, names) => match caller {
                None => Some(AuthError::Missing),
                Some(caller) if caller.permissions().is_superset(needed) => None,
                Some(_) => Some(AuthError::Permission(names)),
            },
            Self::ReadOnly(_) if reads(method) => None,
            Self::ReadOnly(read_only) => match caller {
                None => Some(AuthError::Missing),
                Some(caller) if read_only.is_superset(caller.permissions()) => {
                    Some(AuthError::ReadOnly)
                }
                Some(_) => None,
            },
        }
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
        match self.guard.inner.check(request.method(), request.extensions()) {
            Ok(()) => ResponseFuture::passing(self.inner.call(request)),
            Err(rejection) => ResponseFuture::rejected(rejection.answer(&self.guard.bodies)),
        }
    }
}
