//! The creation of a key.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use keyhasp::key::Expiry;
use keyhasp::{Access, Catalogue, CreateKey, NumericIdChoice, Timestamp};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::caller::Caller;
use super::name;
use super::problem::Problem;
use super::service::Service;
use super::shared::{BodyFault, JsonBody};
use super::tenant::TenantId;

const JSON: &str = "application/json";
const CHARSET: &str = "charset";
const UTF_8: &str = "utf-8";

pub(crate) async fn create_api_key(
    State(service): State<Arc<Service>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Members>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if !has_json(&headers) {
        return Err(Problem::INVALID_CONTENT_TYPE);
    }
    let members = body.map_err(|fault| match fault {
        BodyFault::TooLarge => Problem::BODY_TOO_LARGE,
        BodyFault::Empty | BodyFault::Interrupted | BodyFault::NotJson(_) => {
            Problem::MALFORMED_JSON
        }
    })?;
    let key = CreateApiKey::read(members, service.verifier.catalogue())?;
    key.check(service.now())?;
    match service.is_archived(key.tenant_id).await? {
        None => return Err(Problem::TENANT_NOT_FOUND),
        Some(true) => return Err(Problem::TENANT_ARCHIVED),
        Some(false) if !caller.manages(key.tenant_id) => return Err(Problem::FORBIDDEN),
        Some(false) => {}
    }
    let keys = service.keys_of(key.tenant_id, &caller)?;
    let issued = keys.create(key.into_request()?).await?;
    Ok((StatusCode::CREATED, Json(json!({"api_key": issued.token.expose()}))))
}

/// Tests whether the body is sent as JSON: `application/json`, alone or with `charset=utf-8`, which
/// many clients add. JSON in another encoding can't be read. The original takes the first form
/// alone.
fn has_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = content_type.split(';').map(str::trim_ascii);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(JSON));
    is_json && parts.all(|parameter| parameter.is_empty() || is_utf_8(parameter))
}

/// Tests for `charset=utf-8`, whose value may be quoted.
fn is_utf_8(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    name.eq_ignore_ascii_case(CHARSET) && unquoted.unwrap_or(value).eq_ignore_ascii_case(UTF_8)
}

/// The model `CreateApiKeyRequest`.
#[derive(Debug, Default)]
struct CreateApiKey {
    name: String,
    tenant_id: TenantId,
    permissions: Vec<String>,
    expiration_date: Option<Timestamp>,
}

impl CreateApiKey {
    /// Reads the members in their order, so that the first fault in the body is the answer. A null
    /// member counts as missing. Unknown members are ignored.
    fn read(Members(members): Members, catalogue: &Catalogue) -> Result<Self, Problem> {
        let mut key = Self::default();
        for (name, value) in members {
            let value = Some(value).filter(|value| !value.is_null());
            match name.as_str() {
                "name" => key.name = value.map(text).transpose()?.unwrap_or_default(),
                "tenant_id" => key.tenant_id = value.map(number).transpose()?.unwrap_or_default(),
                "expiration_date" => key.expiration_date = value.map(date).transpose()?,
                "permissions" => {
                    let listed = value.map(|value| listed(value, catalogue)).transpose()?;
                    key.permissions = listed.unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(key)
    }

    fn check(&self, now: Timestamp) -> Result<(), Problem> {
        if self.name.is_empty() {
            return Err(Problem::NO_NAME);
        }
        if self.tenant_id.0 <= 0 {
            return Err(Problem::NO_TENANT);
        }
        if self.expiration_date.is_some_and(|end| end <= now) {
            return Err(Problem::NOT_IN_THE_FUTURE);
        }
        if self.permissions.is_empty() {
            return Err(Problem::NO_PERMISSION);
        }
        Ok(())
    }

    fn into_request(self) -> Result<CreateKey, Problem> {
        let request = CreateKey::new(Access::limited(self.permissions)?);
        let request = name::name(request.numeric_id(NumericIdChoice::Next), self.name)?;
        Ok(match self.expiration_date {
            Some(end) => request.expires(Expiry::At(end)),
            None => request,
        })
    }
}

fn text(value: Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Problem::MALFORMED_JSON),
    }
}

fn number(value: Value) -> Result<TenantId, Problem> {
    value.as_i64().map(TenantId).ok_or(Problem::MALFORMED_JSON)
}

/// Reads a date with its zone. A date outside keyhasp's years counts as the nearest within them: it
/// has passed, or lies beyond any wait.
fn date(value: Value) -> Result<Timestamp, Problem> {
    let date = OffsetDateTime::parse(&text(value)?, &Rfc3339);
    let date = date.map_err(|_| Problem::MALFORMED_JSON)?;
    let nearest = if date.unix_timestamp() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Ok(Timestamp::try_from(date).unwrap_or(nearest))
}

fn listed(value: Value, catalogue: &Catalogue) -> Result<Vec<String>, Problem> {
    let Value::Array(values) = value else { return Err(Problem::MALFORMED_JSON) };
    let permission = |value| {
        let name = text(value)?;
        catalogue.permission(&name).map(|_| name).ok_or(Problem::PERMISSION_INVALID)
    };
    values.into_iter().map(permission).collect()
}

/// The members of an object in their order. Null has none.
#[derive(Debug)]
pub(crate) struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Members, E> {
                Ok(Members(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_any(InOrder)
    }
}
