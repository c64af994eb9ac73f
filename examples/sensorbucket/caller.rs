//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use keyhasp::store::Resource;
use keyhasp::{Authenticated, Error, Key};
use serde_json::Value;

use super::problem::Problem;
use super::service::Service;
use super::sessions::Manages;
use super::tenant::{MANAGES, TenantId};

/// A key or a person, and the tenants whose keys it may manage, as far as its permissions go.
#[derive(Debug)]
pub(crate) struct Caller {
    name: String,
    manages: Vec<TenantId>,
}

impl Caller {
    /// What the audit calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn tenants(&self) -> &[TenantId] {
        &self.manages
    }

    pub(crate) fn manages(&self, tenant: TenantId) -> bool {
        self.manages.contains(&tenant)
    }

    /// A key says which tenants it manages; one that doesn't manages its own.
    fn by_key(key: &Key) -> Self {
        let manages = match key.settings.get(MANAGES) {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_i64).map(TenantId).collect(),
            _ => TenantId::of(&key.owner).into_iter().collect(),
        };
        Self { name: format!("key {}", key.id), manages }
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
            return Ok(Self { name: "a session".into(), manages });
        };
        match service.keys.get(verified.key_id()).await {
            Ok(key) => Ok(Self::by_key(&key)),
            // It was there a moment ago.
            Err(Error::NotFound(Resource::Key)) => Err(Problem::UNAUTHORIZED),
            Err(error) => Err(error.into()),
        }
    }
}
