//! Authentication of a key, for a gateway in front of other services.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use keyhasp::integrations::http::{Credentials, ErrorResponse, Presented};
use keyhasp::token::Inspection;
use keyhasp::{RejectReason, State as KeyState, VerifiedKey, VerifyError};
use serde::Serialize;
use serde_json::json;

use super::permissions;
use super::problem::Problem;
use super::service::Service;
use super::tenant::TenantId;

/// The data that the gateway passes on.
#[derive(Debug, Serialize)]
struct Extra {
    /// The end of the token, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    perms: Vec<String>,
    tid: TenantId,
}

pub(crate) async fn authenticate_api_key(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let credentials = Credentials::bearer();
    let token = match credentials.find(&headers) {
        Presented::Token(token) if !token.is_empty() => token,
        Presented::Multiple => return Err(Problem::INVALID_INPUT),
        _ => return Err(Problem::NO_AUTHORIZATION),
    };
    let refused = (StatusCode::UNAUTHORIZED, Json(json!({}))).into_response();
    match service.verifier.verify(&token) {
        Ok(verified) => {
            let extra = service.extra(&verified).ok_or(Problem::INTERNAL)?;
            Ok(Json(json!({ "extra": extra })).into_response())
        }
        Err(VerifyError::Unavailable(_)) => Err(Problem::INTERNAL),
        // The key is good but has used up its limit. The gateway must not take it for a bad one.
        Err(
            error @ (VerifyError::Rejected(RejectReason::RateLimited(_))
            | VerifyError::Rejected(RejectReason::QuotaExhausted { .. })),
        ) => {
            let response = ErrorResponse::new(error.into(), &credentials).at(service.now());
            Ok(Problem::of_refused(&response).into_response())
        }
        Err(VerifyError::Rejected(RejectReason::Expired)) => {
            if let Inspection::WellFormed { id, .. } = service.verifier.inspect(&token)
                && let Ok(key) = service.keys.get(id).await
                && key.state == KeyState::Expired
            {
                service.remove_expired(&key).await;
            }
            Ok(refused)
        }
        Err(_) if service.verifier.inspect(&token) == Inspection::NotAToken => {
            Err(Problem::INVALID_INPUT)
        }
        Err(_) => Ok(refused),
    }
}

impl Service {
    fn extra(&self, verified: &VerifiedKey) -> Option<Extra> {
        Some(Extra {
            exp: verified.ends_at().map(|end| end.as_millis() / 1_000),
            perms: permissions::names(self.verifier.catalogue(), verified.permissions()),
            tid: TenantId::of(verified.owner_id())?,
        })
    }
}
