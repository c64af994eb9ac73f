//! The body of a request, as JSON.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

/// The bytes of a body that are read: far more than any request here needs.
const LIMIT: usize = 64 * 1024;
/// The bytes of a longer body that are read and discarded. A server that closes earlier breaks the
/// connection, so the client doesn't see the answer.
const PATIENCE: usize = 4 * 1024 * 1024;

/// The body as JSON, or the fault in it. Each API words its own answer to a fault.
///
/// The content type isn't checked, since some clients send none. An API that requires one checks
/// the header itself. JSON of another type than `T` counts as no JSON.
#[derive(Debug)]
pub(crate) struct JsonBody<T = Value>(pub(crate) Result<T, BodyFault>);

/// The fault of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// There is no body, or one of no bytes.
    Empty,
    /// The connection broke within the body, so no client waits for the answer.
    Interrupted,
    /// The body is no JSON: not UTF-8, malformed, or nested deeper than 127 levels. The text says
    /// what is wrong and where, such as `trailing comma at line 1 column 21`, and quotes nothing.
    NotJson(String),
    /// The body is longer than 64 KiB.
    TooLarge,
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(read(request.into_body()).await))
    }
}

async fn read<T: DeserializeOwned>(mut body: Body) -> Result<T, BodyFault> {
    let (mut text, mut seen) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| BodyFault::Interrupted)?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen > PATIENCE {
            break;
        }
        if seen <= LIMIT {
            text.extend_from_slice(data);
        }
    }
    if seen > LIMIT {
        return Err(BodyFault::TooLarge);
    }
    if text.is_empty() {
        return Err(BodyFault::Empty);
    }
    serde_json::from_slice(&text).map_err(|error| {
        BodyFault::NotJson(match error.classify() {
            // It quotes the value, which may be a token.
            Category::Data => "a value is of another type than expected".to_owned(),
            _ => error.to_string(),
        })
    })
}
