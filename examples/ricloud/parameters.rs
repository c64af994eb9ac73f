//! The parameters of a request, from its body or its query. The answer reports all faults at once,
//! by parameter. An unknown parameter is a fault too, so that a misspelt name is noticed.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use keyhasp::{Kind, NumericId, State};
use serde_json::{Map, Value, json};

use super::configs;
use super::faults::Fault;
use super::resource::id;
use super::shared::{BodyFault, JsonBody};

/// Parameters that were not taken yet, and the faults found so far.
#[derive(Debug)]
struct Parameters<V> {
    given: Vec<(String, V)>,
    faults: Map<String, Value>,
}

impl<V> Parameters<V> {
    /// A length that no parameter's name has, in bytes.
    const TOO_LONG: usize = 32;

    fn new(given: impl IntoIterator<Item = (String, V)>) -> Self {
        Self { given: given.into_iter().collect(), faults: Map::new() }
    }

    /// Takes a parameter as `read` understands it. If `read` doesn't, `must_be` is its fault.
    fn take<T>(
        &mut self,
        name: &str,
        must_be: &str,
        read: impl FnOnce(&V) -> Option<T>,
    ) -> Option<T> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let value = read(&self.given.remove(at).1);
        if value.is_none() {
            self.fault(name, must_be);
        }
        value
    }

    fn fault(&mut self, name: &str, text: &str) {
        self.faults.insert(name.to_owned(), json!([text]));
    }

    fn finish(mut self) -> Result<(), Fault> {
        for (name, _) in std::mem::take(&mut self.given) {
            // A client may have put a token in place of a name, so a long name isn't quoted.
            let name = if name.len() < Self::TOO_LONG { &*name } else { "…" };
            self.fault(name, "This parameter is not known, or was given before.");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Fault::invalid_parameters(self.faults)) }
    }
}

impl Parameters<Value> {
    fn of_body(JsonBody(body): JsonBody) -> Result<Self, Fault> {
        match body? {
            Value::Object(given) => Ok(Self::new(given)),
            _ => Err(Fault::invalid_body("The request body is not a JSON object.")),
        }
    }
}

/// Reads the settings of a create or an update: a patch, in which null restores the organisation's
/// default.
pub(crate) fn settings(body: JsonBody) -> Result<Value, Fault> {
    let mut parameters = Parameters::of_body(body)?;
    let mut patch = Map::new();
    for name in ["storage_config", "webhook_config"] {
        let must_be = "This must be the id of a configuration, or null.";
        let read = |value: &Value| {
            let known = value.is_null() || value.as_u64().is_some_and(configs::exists);
            known.then(|| value.clone())
        };
        patch.extend(parameters.take(name, must_be, read).map(|value| (name.to_owned(), value)));
    }
    let must_be = "This must be null, or an object with no other member than \
                   `publish_source_files`, which is true or false.";
    let read = |value: &Value| {
        let known = match value {
            Value::Null => true,
            Value::Object(members) => members
                .iter()
                .all(|(name, value)| name == "publish_source_files" && value.is_boolean()),
            _ => false,
        };
        known.then(|| value.clone())
    };
    patch.extend(parameters.take("config", must_be, read).map(|value| ("config".into(), value)));
    parameters.finish()?;
    Ok(patch.into())
}

/// Reads whether a rotation ends the previous tokens at once. The documented command sends no body.
pub(crate) fn force(body: JsonBody) -> Result<bool, Fault> {
    if matches!(body, JsonBody(Err(BodyFault::Empty))) {
        return Ok(false);
    }
    let mut parameters = Parameters::of_body(body)?;
    let force = parameters.take("force", "This must be true or false.", Value::as_bool);
    parameters.finish()?;
    Ok(force.unwrap_or_default())
}

/// The query of a list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) limit: usize,
    pub(crate) after: Option<NumericId>,
    pub(crate) before: Option<NumericId>,
    pub(crate) kind: Option<Kind>,
    pub(crate) state: Option<State>,
}

impl Listing {
    const DEFAULT_LIMIT: usize = 10;
    const MAX_LIMIT: usize = 1_000;
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let mut query = Parameters::new(query.map(|query| query.0).unwrap_or_default());
        let limit =
            query.take("limit", "This must be a number from 1 to 1000.", |text| limit(text));
        let key = "This must be the id of a key.";
        let listing = Self {
            limit: limit.unwrap_or(Self::DEFAULT_LIMIT),
            after: query.take("after_id", key, |text| id(text)),
            before: query.take("before_id", key, |text| id(text)),
            kind: query.take("type", "This must be `standard` or `trial`.", |text| {
                named(text, [Kind::Standard, Kind::Trial])
            }),
            state: query.take(
                "state",
                "This must be `active`, `deactivated`, `blocked` or `expired`.",
                |text| {
                    use State::{Active, Blocked, Deactivated, Expired};
                    named(text, [Active, Deactivated, Blocked, Expired])
                },
            ),
        };
        query.finish()?;
        Ok(listing)
    }
}

/// Reads a number from 1. A greater one than 1,000, of any length, counts as 1,000.
fn limit(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let limit = text.parse().unwrap_or(usize::MAX).min(Listing::MAX_LIMIT);
    (limit > 0).then_some(limit)
}

/// Returns the choice that has this name in JSON.
fn named<T: serde::Serialize>(name: &str, choices: impl IntoIterator<Item = T>) -> Option<T> {
    choices.into_iter().find(|choice| json!(choice) == name)
}
