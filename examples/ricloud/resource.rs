//! The API's view of a key, and the ids in its paths.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use keyhasp::{Catalogue, Key, NumericId, Owner, OwnerId, Timestamp, Token};
use serde_json::{Value, json};

use super::faults::Fault;
use super::permissions;

/// Returns the view of a key with its current token.
pub(crate) fn key(key: &Key, owner: &Owner, catalogue: &Catalogue, token: &Token) -> Value {
    let mut shown = without_token(key, owner, catalogue);
    shown["token"] = token.expose().into();
    shown
}

/// Returns the view of a key without its token. The configurations are those that the key uses: its
/// own, or its organisation's. `scopes`, the permissions of the key, is a member of ours.
pub(crate) fn without_token(key: &Key, owner: &Owner, catalogue: &Catalogue) -> Value {
    json!({
        "id": key.numeric_id,
        "resource": "key",
        "organisation": number(&key.owner),
        "type": key.kind,
        "config": key.own_settings.get("config").cloned().unwrap_or_else(|| json!({})),
        "storage_config": key.settings.get("storage_config"),
        "webhook_config": key.settings.get("webhook_config"),
        "scopes": permissions::of_key(key, owner, catalogue),
        "state": key.state,
        "date_created": date(key.created_at),
        "date_expires": key.expires_at.map(date),
    })
}

/// Returns the number of an organisation.
pub(crate) fn number(organisation: &OwnerId) -> Option<u64> {
    organisation.as_str().parse().ok()
}

/// Formats a date with six digits of a second, or none: the two forms of the API.
pub(crate) fn date(at: Timestamp) -> String {
    let text = at.to_string();
    match text.trim_end_matches('Z').split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<6}Z"),
        None => text,
    }
}

/// The number in the path. Text that can't be a number is answered as not found.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) NumericId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let path = RawPathParams::from_request_parts(parts, state).await;
        let path = path.map_err(|_| Fault::not_found())?;
        let id = path.iter().find(|(name, _)| *name == "id").and_then(|(_, text)| id(text));
        id.map(Id).ok_or_else(Fault::not_found)
    }
}

/// Parses an id in decimal, without sign, blanks or leading zeros.
pub(crate) fn id(text: &str) -> Option<NumericId> {
    let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
    number.and_then(|number| NumericId::new(number).ok())
}
