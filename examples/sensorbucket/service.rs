//! The service: a store, and who may ask it what.

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

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Service {
    store: Arc<dyn KeyStore>,
    /// Reaches every tenant: a handler asks first whether its caller does.
    pub(crate) keys: AsyncKeys<AsAdmin>,
    pub(crate) verifier: Verifier,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    /// What links begin with.
    pub(crate) url: String,
}

/// How the store is opened, but for the place.
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
        url: String,
    ) -> Result<Arc<Self>, Invalid> {
        let keys = AdminKeys::new(Arc::clone(&store), "sensorbucket")?.into();
        let verifier = Verifier::new(Arc::clone(&store));
        let sessions = Arc::new(sessions);
        Ok(Arc::new(Self { store, keys, verifier, sessions, clock, url }))
    }

    /// Lets in who has a key, or a session where no key is sent, and answers others in this API's
    /// words. Its document has 500 for what elsewhere is 503.
    pub(crate) fn layer(&self) -> KeyLayer {
        let sessions = Arc::clone(&self.sessions);
        KeyLayer::new(self.verifier.clone())
            .clock(Arc::clone(&self.clock))
            .session(move |parts| sessions.find(&parts.headers))
            .error_response(Problem::of_refused)
            .unavailable_is_500()
    }

    /// The time by which the store judges too.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What this caller does to the keys of one tenant.
    pub(crate) fn keys_of(
        &self,
        tenant: TenantId,
        caller: &Caller,
    ) -> Result<AsyncKeys<AsOwner>, Problem> {
        let store = Arc::clone(&self.store);
        Ok(OwnerKeys::new(store, tenant.owner()?, caller.name())?.into())
    }

    /// The key of this number; none if it is revoked, or not the caller's to manage.
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

    /// A tenant by its number: whether it is archived; none if there is none.
    pub(crate) async fn is_archived(&self, tenant: TenantId) -> Result<Option<bool>, Problem> {
        match self.keys.owner(tenant.owner()?).await {
            Ok(owner) => Ok(Some(owner.suspended.is_some())),
            Err(Error::NotFound(Resource::Owner)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes away a key that was met after its expiry, and with it the claim to its name.
    ///
    /// It is refused either way: if this fails, it is done when the key is met again.
    pub(crate) async fn remove_expired(&self, key: &Key) {
        if let Ok(keys) = self.keys.with_reason("expired") {
            // A key that was prolonged meanwhile has another version.
            let _ = keys.if_version(key.version).revoke(key.id).await;
        }
    }
}
