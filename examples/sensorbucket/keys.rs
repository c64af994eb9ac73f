//! The calls on a key by its number: reading and revoking.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use keyhasp::State as KeyState;
use serde_json::{Value, json};

use super::api_key::ApiKey;
use super::caller::Caller;
use super::problem::Problem;
use super::service::Service;
use super::tenant::TenantId;

/// The last segment of the path, which may be no valid UTF-8.
type Segment = Result<Path<String>, PathRejection>;

pub(crate) async fn get_api_key(
    State(service): State<Arc<Service>>,
    caller: Caller,
    id: Segment,
) -> Result<Json<ApiKey>, Problem> {
    let key = service.find(&caller, number(id)?).await?.ok_or(Problem::KEY_NOT_FOUND)?;
    if key.state == KeyState::Expired {
        service.remove_expired(&key).await;
        return Err(Problem::KEY_NOT_FOUND);
    }
    let tenant = TenantId::of(&key.owner).ok_or(Problem::KEY_NOT_FOUND)?;
    if service.is_archived(tenant).await? != Some(false) {
        return Err(Problem::KEY_NOT_FOUND);
    }
    let shown = ApiKey::of(&key, service.verifier.catalogue());
    shown.map(Json).ok_or(Problem::KEY_NOT_FOUND)
}

pub(crate) async fn revoke_api_key(
    State(service): State<Arc<Service>>,
    caller: Caller,
    id: Segment,
) -> Result<Json<Value>, Problem> {
    let key = service.find(&caller, number(id)?).await?.ok_or(Problem::NO_SUCH_KEY)?;
    let tenant = TenantId::of(&key.owner).ok_or(Problem::NO_SUCH_KEY)?;
    service.keys_of(tenant, &caller)?.revoke(key.id).await?;
    Ok(Json(json!({"message": "API key has been revoked"})))
}

fn number(segment: Segment) -> Result<i64, Problem> {
    let Path(text) = segment.map_err(|_| Problem::NOT_A_NUMBER)?;
    text.parse().map_err(|_| Problem::NOT_A_NUMBER)
}
