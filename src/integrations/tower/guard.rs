//! Requirements of a route on its callers.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::authenticated::{Anonymous, Authenticated};
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
pub struct Guard {
    inner: Arc<Inner>,
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

impl Guard {
    pub(super) fn permissions(
        settings: Arc<Settings>,
        needed: PermissionSet,
        names: String,
    ) -> Self {
        let rule = Rule::Permissions(needed, names.into());
        Self { inner: Arc::new(Inner { settings, rule }) }
    }

    pub(super) fn read_only(settings: Arc<Settings>) -> Self {
        let rule = Rule::ReadOnly(settings.verifier.catalogue().read_only());
        Self { inner: Arc::new(Inner { settings, rule }) }
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

impl<S> Layer<S> for Guard {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService { inner, guard: self.clone() }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    inner: S,
    guard: Guard,
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.guard.inner.check(request.method(), request.extensions()) {
            Ok(()) => ResponseFuture::passing(self.inner.call(request)),
            Err(rejection) => ResponseFuture::rejected(rejection),
        }
    }
}
