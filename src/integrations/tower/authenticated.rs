//! The caller of a request.

use std::sync::Arc;

use http::Extensions;

use super::rejection::Rejection;
use super::session::Session;
use super::settings::Settings;
use crate::id::OwnerId;
use crate::integrations::http::{AuthError, Credentials, ErrorResponse};
use crate::permission::{Permission, PermissionSet};
use crate::verified_key::VerifiedKey;

/// The caller of a request: a verified key, or a session of the service's own in its place. Only
/// the layer makes it.
#[derive(Clone, Debug)]
pub struct Authenticated {
    caller: Caller,
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
enum Caller {
    Key(VerifiedKey),
    Session(Session),
}

/// A mark in the extensions of a request that passes without a caller. It has the settings by which
/// a guard or an extractor rejects the request later, in the layer's shape.
#[derive(Clone, Debug)]
pub(super) struct Anonymous(pub(super) Arc<Settings>);

impl Authenticated {
    pub(super) fn by_key(verified: VerifiedKey, settings: Arc<Settings>) -> Self {
        Self { caller: Caller::Key(verified), settings }
    }

    pub(super) fn by_session(session: Session, settings: Arc<Settings>) -> Self {
        Self { caller: Caller::Session(session), settings }
    }

    /// Returns whether a layer of the same store has let this caller in: the two then have one
    /// catalogue, at one address.
    pub(super) fn is_known_to(&self, settings: &Settings) -> bool {
        std::ptr::eq(self.settings.verifier.catalogue(), settings.verifier.catalogue())
    }

    /// Returns the caller of a request with these extensions.
    ///
    /// # Errors
    /// [`Rejection`] with 401 for a request that the layer let pass as anonymous; with 500 where no
    /// layer stands before.
    pub fn of(extensions: &Extensions) -> Result<&Self, Rejection> {
        if let Some(caller) = extensions.get::<Self>() {
            return Ok(caller);
        }
        Err(match extensions.get::<Anonymous>() {
            Some(Anonymous(settings)) => settings.reject(AuthError::Missing),
            None => Rejection::new(
                ErrorResponse::new(AuthError::NoLayer, &Credentials::bearer()).problem(),
            ),
        })
    }

    /// Returns the caller of a request with these extensions; `None` for an anonymous request.
    ///
    /// # Errors
    /// [`Rejection`] with 500 where no layer stands before.
    pub fn or_anonymous(extensions: &Extensions) -> Result<Option<&Self>, Rejection> {
        match (extensions.get::<Self>(), extensions.get::<Anonymous>()) {
            (None, Some(_)) => Ok(None),
            _ => Self::of(extensions).map(Some),
        }
    }

    /// Returns the owner for whom the request acts.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        match &self.caller {
            Caller::Key(verified) => verified.owner_id(),
            Caller::Session(session) => session.owner(),
        }
    }

    /// Returns the caller's permissions.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        match &self.caller {
            Caller::Key(verified) => verified.permissions(),
            Caller::Session(session) => session.permissions(),
        }
    }

    /// Returns whether the caller has this permission: one bit test. False for a permission of
    /// another catalogue than the store's.
    #[must_use]
    #[inline]
    pub fn allows(&self, permission: Permission) -> bool {
        self.permissions().contains(permission)
    }

    /// Returns the verified key; `None` where a session stands in.
    #[must_use]
    pub fn verified_key(&self) -> Option<&VerifiedKey> {
        match &self.caller {
            Caller::Key(verified) => Some(verified),
            Caller::Session(_) => None,
        }
    }

    /// Requires a permission that only the handler can determine. A [`Guard`](super::Guard)
    /// requires those that a route always needs.
    ///
    /// # Errors
    /// [`Rejection`] with 403, which names the permission, in the service's shape; with 500 for a
    /// permission of another catalogue than the store's.
    pub fn require(&self, permission: Permission) -> Result<(), Rejection> {
        if self.allows(permission) {
            return Ok(());
        }
        let name = self.settings.verifier.catalogue().name(permission);
        let error =
            name.map_or(AuthError::OtherCatalogue, |name| AuthError::Permission(name.as_str()));
        Err(self.settings.reject(error))
    }
}
