//! APIs with an error shape of their own.

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use keyhasp::integrations::http::{AuthError, Credentials, ErrorResponse};
use keyhasp::key::LimitHolder;
use keyhasp::store::Unavailable;
use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer, RejectReason, VerifyError};
use serde_json::json;

use crate::common::World;
use crate::http::site::{fetch, routes, with_token};

/// As SensorBucket answers: its own bodies, and 500 where the store can't answer.
fn shape(response: &ErrorResponse<'_>) -> http::Response<String> {
    match response.status() {
        StatusCode::UNAUTHORIZED => {
            response.json(&json!({"message": "Unauthorized", "code": "UNAUTHORIZED"}))
        }
        StatusCode::FORBIDDEN => {
            response.json(&json!({"message": "Forbidden", "code": "FORBIDDEN"}))
        }
        _ => response.json(&json!({"message": "Internal Server Error"})),
    }
}

#[test]
fn an_api_keeps_its_shape_everywhere() {
    let world = World::new();
    let (_, full) = world.owner("org");
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let keys = KeyLayer::new(world.verifier.clone())
        .allow_anonymous()
        .unavailable_is_500()
        .error_response(shape);
    let guard = keys.require(["links:write"]).unwrap();
    let open = routes(&world).layer(keys.clone());
    let guarded = routes(&world).layer(guard).layer(keys);
    let unauthorized = r#"{"code":"UNAUTHORIZED","message":"Unauthorized"}"#;
    let forbidden = r#"{"code":"FORBIDDEN","message":"Forbidden"}"#;
    let plain = "Bearer realm=\"api\"";
    let invalid = "Bearer realm=\"api\", error=\"invalid_token\"";
    let scope = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"links:write\"";
    for (answer, status, body, challenge) in [
        // The extractor's, the guard's and the layer's refusals.
        (fetch(&open, "/", &[]), 401, unauthorized, plain),
        (fetch(&guarded, "/open", &[]), 401, unauthorized, plain),
        (with_token(&open, "/", "letmein"), 401, unauthorized, invalid),
        // A handler's and the guard's.
        (with_token(&open, "/write", reads.token.expose()), 403, forbidden, scope),
        (with_token(&guarded, "/", reads.token.expose()), 403, forbidden, scope),
    ] {
        assert_eq!((answer.status.as_u16(), &*answer.body), (status, body));
        assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
        assert_eq!(answer.challenges(), [challenge]);
    }
    world.store.close().unwrap();
    let answer = with_token(&open, "/", full.token.expose());
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.body, r#"{"message":"Internal Server Error"}"#);
    assert!(!answer.headers.contains_key(RETRY_AFTER) && answer.challenges().is_empty());
}

/// The function gets the error, and may change the whole response.
#[test]
fn a_shape_gets_the_error() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    world.admin.block(issued.key.id).unwrap();
    let keys = KeyLayer::new(world.verifier.clone()).error_response(|error| {
        let known = matches!(error.cause(), AuthError::Verify(VerifyError::Rejected(_)));
        let mut response = error.respond("text/plain", if known { "rejected" } else { "unknown" });
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let site = routes(&world).layer(keys);
    let answer = with_token(&site, "/", issued.token.expose());
    assert_eq!((answer.status, &*answer.body), (StatusCode::IM_A_TEAPOT, "rejected"));
    assert_eq!(with_token(&site, "/", "letmein").body, "unknown");
}

/// A gRPC client looks into no body, and takes another status than 200 for the transport's failure.
#[test]
fn a_grpc_service_answers_in_headers() {
    let credentials = Credentials::bearer();
    let rejected = |reason| AuthError::Verify(VerifyError::Rejected(reason));
    let unavailable = VerifyError::Unavailable(Unavailable::Recovering);
    for (error, code, retry_after) in [
        (AuthError::Multiple, "3", None),
        (AuthError::Permission("links:write"), "7", None),
        (
            rejected(RejectReason::QuotaExhausted { holder: LimitHolder::Key, refilled_at: None }),
            "8",
            None,
        ),
        (AuthError::NoLayer, "13", None),
        (AuthError::Verify(unavailable), "14", Some("1")),
        (AuthError::Missing, "16", None),
        (AuthError::Verify(VerifyError::Unrecognized), "16", None),
        (rejected(RejectReason::Blocked), "16", None),
    ] {
        let response = ErrorResponse::new(error, &credentials);
        let answer = response.grpc();
        let headers = answer.headers();
        assert_eq!((answer.status(), &**answer.body()), (StatusCode::OK, ""), "{error:?}");
        assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        assert_eq!(headers["grpc-status"], code, "{error:?}");
        assert_eq!(headers["grpc-message"], response.detail());
        assert!(!response.detail().contains('%'), "gRPC would take that for an encoding");
        let told = headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(told, retry_after, "{error:?}");
    }
}
