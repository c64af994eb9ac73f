//! The service: a store, and the rules of its callers.

use std::sync::Arc;

use keyhasp::integrations::tokio::AsyncKeys;
use keyhasp::store::{AsAdmin, AsOwner, Resource, StoreBuilder};
use keyhasp::{
    AdminKeys, Clock, Error, Invalid, Key, KeyLayer, KeyStore, NumericId, OwnerKeys, Prefix, State,
    Store, StoreRules, Timestamp, Verifier,
};

use super::caller::Caller;
use super::permissions;
use super::problem::Problem;
use super::sessions::Sessions;
use super::tenant::TenantId;

/// The state of the handlers.
#[derive(Debug)]
pub(crate) struct Service {
    store: Arc<dyn KeyStore>,
    /// An administrator's handle, which reaches every tenant: a handler first checks what its
    /// caller manages.
    pub(crate) keys: AsyncKeys<AsAdmin>,
    pub(crate) verifier: Verifier,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    /// The start of links, before the path of a resource.
    pub(crate) link_base: String,
}

/// Prepares the store's builder, without the place of the database.
pub(crate) fn store(clock: Arc<dyn Clock>) -> Result<StoreBuilder, Invalid> {
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    let builder = Store::builder(permissions::catalogue()?, [Prefix::new("sensorbucket")?]);
    Ok(builder.rules(rules).clock(clock))
}

impl Service {
    pub(crate) fn new(
        store: Arc<dyn KeyStore>,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        link_base: String,
    ) -> Result<Arc<Self>, Invalid> {
        let keys = AdminKeys::new(Arc::clone(&store), "sensorbucket")?.into();
        let verifier = Verifier::new(Arc::clone(&store));
        let sessions = Arc::new(sessions);
        Ok(Arc::new(Self { store, keys, verifier, sessions, clock, link_base }))
    }

    /// Builds the layer. It admits a request with a key, or with a session if no key is sent, and
    /// answers other requests in this API's words. Its document has status 500 instead of 503.
    pub(crate) fn layer(&self) -> KeyLayer {
        let sessions = Arc::clone(&self.sessions);
        KeyLayer::new(self.verifier.clone())
            .clock(Arc::clone(&self.clock))
            .session(move |parts| sessions.find(&parts.headers))
            .error_response(Problem::of_refused)
            .unavailable_is_500()
    }

    /// Returns the time of the clock that the store also uses.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns a handle on the keys of one tenant, with the caller as actor. It acts as the tenant,
    /// provided that the caller's key still holds, which may be another tenant's.
    pub(crate) fn keys_of(
        &self,
        tenant: TenantId,
        caller: &Caller,
    ) -> Result<AsyncKeys<AsOwner>, Problem> {
        let store = Arc::clone(&self.store);
        let keys = OwnerKeys::new(store, tenant.owner()?, caller.name())?;
        Ok(caller.verified_key().map_or(keys.clone(), |verified| keys.provided(verified)).into())
    }

    /// Returns the key of this number. Returns `None` if it is revoked, or if the caller doesn't
    /// manage it.
    pub(crate) async fn find(&self, caller: &Caller, number: i64) -> Result<Option<Key>, Problem> {
        let Some(id) = u64::try_from(number).ok().and_then(|id| NumericId::new(id).ok()) else {
            return Ok(None);
        };
        match self.keys.find(id).await {
            Ok(key) => {
                let is_seen = TenantId::of(&key.owner).is_some_and(|id| caller.manages(id));
                Ok(Some(key).filter(|key| is_seen && key.state != State::Revoked))
            }
            Err(Error::NotFound(Resource::Key)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether a tenant is archived, or `None` if it doesn't exist.
    pub(crate) async fn is_archived(&self, tenant: TenantId) -> Result<Option<bool>, Problem> {
        match self.keys.owner(&tenant.owner()?).await {
            Ok(owner) => Ok(Some(owner.suspended.is_some())),
            Err(Error::NotFound(Resource::Owner)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Revokes an expired key, which frees its name.
    ///
    /// The key is rejected in any case. If the revocation fails, the next request with the key
    /// tries it again.
    pub(crate) async fn remove_expired(&self, key: &Key) {
        if let Ok(keys) = self.keys.with_reason("expired") {
            // A key whose expiry was extended meanwhile has another version, and stays.
            let _ = keys.if_version(key.version).revoke(key.id).await;
        }
    }
}
