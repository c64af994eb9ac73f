//! The `/api-keys` resource: listing the keys of the caller's user, validating the calling key,
//! limiting a key to networks, rotating and deactivating a key. Keys are created on the command line, since
//! the real API leaves that to its dashboard.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use keyhasp::key::Networks;
use keyhasp::store::AsDelegate;
use keyhasp::{
    AsyncKeys, Authenticated, DelegatedKeys, Error, Invalid, Key, KeyId, ListKeys, Network, Rotate,
    SetLimits, State as KeyState, Timestamp, UpdateKey,
};
use serde_json::{Value, json};

use super::api::Site;
use super::level;
use super::page::{Asked, PageQuery};
use super::problem::Problem;
use super::shared::{BodyFault, JsonBody};

pub(crate) type Answer = Result<Json<Value>, Problem>;

/// Answers `GET /api-keys`.
pub(crate) async fn list(State(site): State<Site>, caller: Authenticated, asked: Asked) -> Answer {
    let query = PageQuery::parse(asked)?;
    let keys = handle(&site, &caller)?.call(all).await?;
    Ok(Json(query.envelope(&keys, |key| key.id.as_u128(), shown)))
}

/// Answers `GET /api-keys/validate`.
pub(crate) async fn validate(State(site): State<Site>, caller: Authenticated) -> Answer {
    let own = caller.verified_key().ok_or_else(Problem::unauthorized)?.key_id();
    let key = handle(&site, &caller)?.get(own).await.map_err(|error| match error {
        Error::NotFound(_) => Problem::unauthorized(),
        other => other.into(),
    })?;
    let mut answer = shown(&key);
    answer["valid"] = true.into();
    Ok(Json(answer))
}

/// Answers `DELETE /api-keys/{id}`.
pub(crate) async fn deactivate(
    State(site): State<Site>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    let key = handle(&site, &caller)?.deactivate(named(id)?).await?;
    Ok(Json(shown(&key)))
}

/// Answers `PATCH /api-keys/{id}`.
pub(crate) async fn update(
    State(site): State<Site>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody,
) -> Answer {
    let id = named(id)?;
    let limits = match networks_in(&body?)? {
        Some(networks) => SetLimits::new().networks(networks),
        None => SetLimits::new().clear_networks(),
    };
    let key = handle(&site, &caller)?.update(id, UpdateKey::new().limits(limits)).await?;
    Ok(Json(shown(&key)))
}

/// Answers `POST /api-keys/{id}/rotate` with the key and its new token, which is shown this once.
pub(crate) async fn rotate(
    State(site): State<Site>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody,
) -> Answer {
    let id = named(id)?;
    let request = if force_in(body)? { Rotate::forced() } else { Rotate::new() };
    let issued = handle(&site, &caller)?.rotate(id, request).await?;
    let mut answer = shown(&issued.key);
    let end = issued.key.previous_tokens.iter().map(|token| token.ends_at).max();
    answer["previous_token_until"] = end.map(shown_time).into();
    answer["token"] = issued.token.expose().into();
    Ok(Json(answer))
}

/// Reads `{"force": true}`: the previous tokens end at once. Without it, or without a body, they
/// stay valid for 6 hours. Ignores other members.
fn force_in(body: Result<Value, BodyFault>) -> Result<bool, Problem> {
    let body = match body {
        Err(BodyFault::Empty) => return Ok(false),
        body => body?,
    };
    match body.as_object().map(|members| members.get("force")) {
        Some(None) => Ok(false),
        Some(Some(Value::Bool(force))) => Ok(*force),
        Some(Some(_)) => Err(Problem::body("force must be true or false.")),
        None => Err(Problem::body("The body must be a JSON object, or none.")),
    }
}

/// Reads `{"allowed_ips": ["…"]}`, or `{"allowed_ips": null}` for no limit. Ignores other members.
fn networks_in(body: &Value) -> Result<Option<Vec<Network>>, Problem> {
    let expected =
        || Problem::body("allowed_ips must be a list of IP addresses and networks, or null.");
    let listed = body.get("allowed_ips").ok_or_else(expected)?;
    if listed.is_null() {
        return Ok(None);
    }
    let listed = listed.as_array().ok_or_else(expected)?;
    let network = |text: &Value| -> Result<Network, Problem> {
        let text = text.as_str().ok_or_else(expected)?;
        text.parse().map_err(|invalid: Invalid| Problem::body(invalid.to_string()))
    };
    listed.iter().map(network).collect::<Result<_, _>>().map(Some)
}

fn named(id: Result<Path<String>, PathRejection>) -> Result<KeyId, Problem> {
    id.ok().and_then(|Path(id)| parse_id(&id)).ok_or_else(Problem::not_found)
}

/// Returns a handle that acts with the caller's key. So each call checks again that the key is
/// accepted, and reaches the keys of its own user alone.
pub(crate) fn handle(
    site: &Site,
    caller: &Authenticated,
) -> Result<AsyncKeys<AsDelegate>, Problem> {
    let verified = caller.verified_key().ok_or_else(Problem::unauthorized)?;
    let actor = format!("api key {}", shown_id(verified.key_id()));
    DelegatedKeys::new(site.store.clone(), verified, actor)
        .map(AsyncKeys::from)
        .map_err(|invalid| Error::from(invalid).into())
}

/// Returns all keys, newest first. A user has at most 1,000, so this is one page of the store's, or
/// two.
fn all(keys: &DelegatedKeys) -> Result<Vec<Key>, Error> {
    let mut all = Vec::new();
    let mut query = ListKeys::new().limit(ListKeys::MAX_LIMIT);
    loop {
        let page = keys.list(&query)?;
        all.extend(page.items);
        match page.next {
            Some(cursor) => query = ListKeys::new().cursor(cursor),
            None => return Ok(all),
        }
    }
}

/// Returns the view of a key, without its token, which is shown only at creation.
pub(crate) fn shown(key: &Key) -> Value {
    let networks = key.limits.networks.as_ref().map(|limit| &limit.value);
    let last_used_at = key.usage.and_then(|usage| usage.last_used_at);
    json!({
        "id": shown_id(key.id),
        "name": key.name,
        "prefix": format!("{}_", key.prefix.as_str()),
        "permission_level": level::name(&key.access),
        "permissions": level::permissions(&key.access),
        "allowed_ips": networks.map(Networks::as_slice),
        "is_active": key.state == KeyState::Active,
        "created_at": shown_time(key.created_at),
        "last_used_at": last_used_at.map(shown_time),
    })
}

/// Formats a date in whole seconds, like all dates of this API.
pub(crate) fn shown_time(at: Timestamp) -> String {
    let seconds = at.as_millis() / 1_000 * 1_000;
    Timestamp::from_millis(seconds).unwrap_or(at).to_string()
}

pub(crate) fn shown_id(id: KeyId) -> String {
    format!("key_{:032x}", id.as_u128())
}

fn parse_id(text: &str) -> Option<KeyId> {
    let digits = text.strip_prefix("key_")?;
    let id = KeyId::from_u128(u128::from_str_radix(digits, 16).ok()?);
    (shown_id(id) == text).then_some(id)
}
