//! Whom a request acts for.

use std::sync::Arc;

use http::Extensions;

use super::rejection::Rejection;
use super::session::Session;
use super::settings::Settings;
use crate::id::OwnerId;
use crate::integrations::http::{Credentials, Refused, Why};
use crate::permission::{Permission, PermissionSet};
use crate::verified_key::VerifiedKey;

/// Whom a request acts for and what it may do: a verified key, or a session of the service's own in
/// its place. The layer makes it; nothing else does.
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

/// Put into the extensions of a request that passes without a caller, so that it is refused later
/// as the layer would have.
#[derive(Clone, Debug)]
pub(super) struct Anonymous(pub(super) Arc<Settings>);

impl Authenticated {
    pub(super) fn by_key(verified: VerifiedKey, settings: Arc<Settings>) -> Self {
        Self { caller: Caller::Key(verified), settings }
    }

    pub(super) fn by_session(session: Session, settings: Arc<Settings>) -> Self {
        Self { caller: Caller::Session(session), settings }
    }

    /// Whether a layer of the same store has let this caller in: its catalogue is one and the same.
    pub(super) fn is_known_to(&self, settings: &Settings) -> bool {
        std::ptr::eq(self.settings.verifier.catalogue(), settings.verifier.catalogue())
    }

    /// The caller of a request with these extensions.
    ///
    /// # Errors
    /// [`Rejection`] as of the layer for a request that it let pass as nobody's; with 500 where no
    /// layer was, of whose request nothing is known.
    pub fn of(extensions: &Extensions) -> Result<&Self, Rejection> {
        if let Some(caller) = extensions.get::<Self>() {
            return Ok(caller);
        }
        Err(match extensions.get::<Anonymous>() {
            Some(Anonymous(settings)) => settings.reject(Why::Missing),
            None => Rejection::new(Refused::new(Why::Unmounted, &Credentials::bearer()).problem()),
        })
    }

    /// The same, where a request may be nobody's.
    ///
    /// # Errors
    /// [`Rejection`] with 500 where no layer was.
    pub fn or_anonymous(extensions: &Extensions) -> Result<Option<&Self>, Rejection> {
        match (extensions.get::<Self>(), extensions.get::<Anonymous>()) {
            (None, Some(_)) => Ok(None),
            _ => Self::of(extensions).map(Some),
        }
    }

    /// For whom the request acts.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        match &self.caller {
            Caller::Key(verified) => verified.owner_id(),
            Caller::Session(session) => session.owner(),
        }
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        match &self.caller {
            Caller::Key(verified) => verified.permissions(),
            Caller::Session(session) => session.permissions(),
        }
    }

    /// Whether it may do this: one bit test.
    #[must_use]
    #[inline]
    pub fn allows(&self, permission: Permission) -> bool {
        self.permissions().contains(permission)
    }

    /// What the token's verification returned; `None` where a session stands in.
    #[must_use]
    pub fn verified_key(&self) -> Option<&VerifiedKey> {
        match &self.caller {
            Caller::Key(verified) => Some(verified),
            Caller::Session(_) => None,
        }
    }

    /// Refuses, in the service's shape, unless the caller may do this: for what only a handler can
    /// tell. What a route always needs, a [`Guard`](super::Guard) asks for.
    ///
    /// # Errors
    /// [`Rejection`] with 403, which names the permission.
    pub fn require(&self, permission: Permission) -> Result<(), Rejection> {
        if self.allows(permission) {
            return Ok(());
        }
        let name = self.settings.verifier.catalogue().name(permission);
        let scope = name.map_or("", |name| name.as_str());
        Err(self.settings.reject(Why::Permission(scope)))
    }
}
