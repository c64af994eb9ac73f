//! The caller of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use keyhasp::store::Resource;
use keyhasp::{Authenticated, Error, Key, VerifiedKey};
use serde_json::Value;

use super::problem::Problem;
use super::service::Service;
use super::sessions::Manages;
use super::tenant::{MANAGES, TenantId};

/// A key or a logged-in person, with the tenants whose keys it may manage as far as its permissions
/// allow.
#[derive(Debug)]
pub(crate) struct Caller {
    name: String,
    manages: Vec<TenantId>,
    /// The verified key; `None` for a session.
    verified: Option<VerifiedKey>,
}

impl Caller {
    /// Returns the actor's name for the audit.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn verified_key(&self) -> Option<&VerifiedKey> {
        self.verified.as_ref()
    }

    pub(crate) fn tenants(&self) -> &[TenantId] {
        &self.manages
    }

    pub(crate) fn manages(&self, tenant: TenantId) -> bool {
        self.manages.contains(&tenant)
    }

    /// Reads the managed tenants from the key's settings. A key without that setting manages its
    /// own tenant.
    fn by_key(key: &Key, verified: VerifiedKey) -> Self {
        let manages = match key.settings.get(MANAGES) {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_i64).map(TenantId).collect(),
            _ => TenantId::of(&key.owner).into_iter().collect(),
        };
        Self { name: format!("key {}", key.id), manages, verified: Some(verified) }
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, Problem> {
        let Some(verified) = Authenticated::of(&parts.extensions)?.verified_key().copied() else {
            let manages = parts.extensions.get::<Manages>().map_or_else(Vec::new, |m| m.0.clone());
            return Ok(Self { name: "a session".into(), manages, verified: None });
        };
        match service.keys.get(verified.key_id()).await {
            Ok(key) => Ok(Self::by_key(&key, verified)),
            // The key was removed since the layer verified it.
            Err(Error::NotFound(Resource::Key)) => Err(Problem::UNAUTHORIZED),
            Err(error) => Err(error.into()),
        }
    }
}
