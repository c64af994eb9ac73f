//! The caller of a request.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderMap};

use super::rejected::Rejected;
use super::rejection::Rejection;
use super::session::Session;
use super::settings::Settings;
use crate::id::OwnerId;
use crate::integrations::http::{AuthError, Credentials, ErrorResponse, Presented};
use crate::invalid::Invalid;
use crate::permission::{Permission, PermissionSet};
use crate::store::{DelegatedKeys, KeyDetails, ManagerKeys, OwnerKeys, VerifyError};
use crate::token::Unverified;
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
    /// A key, and the address by which it was judged.
    Key(VerifiedKey, Option<IpAddr>),
    Session(Session),
}

/// A mark in the extensions of a request that passes without a caller. It has the settings by which
/// a guard or an extractor rejects the request later, in the layer's shape.
#[derive(Clone, Debug)]
pub(super) struct Anonymous(pub(super) Arc<Settings>);

impl Authenticated {
    #[inline]
    pub(super) fn by_key(
        verified: VerifiedKey,
        address: Option<IpAddr>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { caller: Caller::Key(verified, address), settings }
    }

    pub(super) fn by_session(session: Session, settings: Arc<Settings>) -> Self {
        Self { caller: Caller::Session(session), settings }
    }

    /// Returns whether a layer of the same store has let this caller in: the two then have one
    /// catalogue, at one address.
    pub(super) fn is_known_to(&self, settings: &Settings) -> bool {
        self.settings.has_catalogue_of(settings)
    }

    /// Rejects this caller, whom the layer has let in.
    pub(super) fn rejected<'a>(
        &'a self,
        error: AuthError<'a>,
        request: Option<&'a Parts>,
    ) -> Rejected<'a> {
        let key = self.verified_key().map(VerifiedKey::key_id);
        Rejected { error, request, key, owner: Some(self.owner()) }
    }

    /// Returns whether this caller's key was verified by this very token in this very store, so that
    /// a layer further in need not verify it again. A store around it is another one. The address is
    /// that by which the layer further in would judge the key; `None` if it has no rule on addresses.
    pub(super) fn has_verified(
        &self,
        settings: &Settings,
        headers: &HeaderMap,
        token: &[u8],
        address: Option<Option<IpAddr>>,
    ) -> bool {
        let Caller::Key(verified, judged_by) = &self.caller else { return false };
        let parsed = Unverified::parse(token);
        // Both are from the same request, so that this comparison tells nothing of a secret. The id
        // notices a service that has put another key's token into the request since.
        let is_same_token = matches!(
            self.settings.credentials.find(headers),
            Presented::Token(other) if *other == *token
        ) && parsed.is_some_and(|parsed| parsed.id == verified.key_id());
        is_same_token
            && self.settings.verifier.is_same(&settings.verifier)
            && address.is_none_or(|address| address == *judged_by)
    }

    /// Returns whether the layer that let this caller in has the cost of this one.
    pub(super) fn has_cost_of(&self, settings: &Settings) -> bool {
        let costs = (&self.settings.cost, &settings.cost);
        matches!(costs, (Some(cost), Some(other)) if Arc::ptr_eq(cost, other))
    }

    /// Returns the address by which the key was judged.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match &self.caller {
            Caller::Key(_, address) => *address,
            Caller::Session(_) => None,
        }
    }

    /// Returns the caller of a request with these extensions.
    ///
    /// # Errors
    /// [`Rejection`] with 401 for a request that the layer let pass as anonymous; with 500 where no
    /// layer stands before.
    pub fn of(extensions: &Extensions) -> Result<&Self, Rejection> {
        Self::find(extensions, None)
    }

    /// Returns the caller of this request.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    #[cfg(feature = "axum")]
    pub(in crate::integrations) fn of_request(parts: &Parts) -> Result<&Self, Rejection> {
        Self::find(&parts.extensions, Some(parts))
    }

    fn find<'a>(
        extensions: &'a Extensions,
        request: Option<&Parts>,
    ) -> Result<&'a Self, Rejection> {
        if let Some(caller) = extensions.get::<Self>() {
            return Ok(caller);
        }
        Err(match extensions.get::<Anonymous>() {
            Some(Anonymous(settings)) => {
                let error = AuthError::Missing;
                settings.reject(&Rejected { error, request, key: None, owner: None })
            }
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
            Caller::Key(verified, _) => verified.owner_id(),
            Caller::Session(session) => session.owner(),
        }
    }

    /// Returns the caller's permissions.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        match &self.caller {
            Caller::Key(verified, _) => verified.permissions(),
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
            Caller::Key(verified, _) => Some(verified),
            Caller::Session(_) => None,
        }
    }

    /// Judges the caller's key again, from the address by which the layer judged it: a WebSocket or a
    /// stream of events asks now and then whether its caller is still good, and goes on with the
    /// answer. It needs no token and counts no use. Returns a session as it is, which only the service
    /// can judge.
    ///
    /// # Errors
    /// The answer that the token would get now, as
    /// [`KeyStore::recheck_from`](crate::KeyStore::recheck_from) says.
    pub fn recheck(&self) -> Result<Self, VerifyError> {
        let Caller::Key(verified, address) = &self.caller else { return Ok(self.clone()) };
        let verifier = &self.settings.verifier;
        let verified = match address {
            Some(address) => verifier.recheck_from(verified, *address)?,
            None => verifier.recheck(verified)?,
        };
        Ok(Self::by_key(verified, *address, Arc::clone(&self.settings)))
    }

    /// Returns the data of the caller's key, as [`Verifier::details`](crate::Verifier::details) does;
    /// `None` also where a session stands in.
    #[must_use]
    pub fn details(&self) -> Option<Arc<KeyDetails>> {
        self.settings.verifier.details(self.verified_key()?)
    }

    /// Returns a handle on the keys of the caller's owner, used by `actor` (1 to 255 bytes, in the
    /// service's own words). With a key it acts as that key's delegate, as
    /// [`DelegatedKeys`](crate::DelegatedKeys) says; with a session it acts as the owner, as
    /// [`OwnerKeys`](crate::OwnerKeys) does.
    ///
    /// Whether the caller may manage keys at all, the service checks first, by a permission. The
    /// permissions of a session don't bound the handle.
    ///
    /// ```
    /// # use keyhasp::{Access, CreateKey, store::Issued};
    /// # use keyhasp::integrations::tokio::AsyncKeys;
    /// # use keyhasp::integrations::tower::Authenticated;
    /// # async fn f(caller: Authenticated) -> Result<Issued, keyhasp::Error> {
    /// let keys = AsyncKeys::from(caller.manager("the page of keys")?);
    /// keys.create(CreateKey::new(Access::ReadOnly).name("laptop")).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for an actor that is empty, too long, has a character that names may not have, or
    /// is named `keyhasp` as the store itself.
    pub fn manager(&self, actor: impl Into<String>) -> Result<ManagerKeys, Invalid> {
        let store = self.settings.verifier.store();
        match &self.caller {
            Caller::Key(verified, _) => {
                DelegatedKeys::new(store, verified, actor).map(ManagerKeys::from)
            }
            Caller::Session(session) => {
                OwnerKeys::new(store, *session.owner(), actor).map(ManagerKeys::from)
            }
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
        Err(self.settings.reject(&self.rejected(error, None)))
    }
}
