//! A request's body, as JSON.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is read of a body: far more than any request here needs.
const LIMIT: usize = 64 * 1024;
/// What is thrown away of a longer one: a client that isn't heard out sees a broken connection in
/// place of its answer.
const PATIENCE: usize = 4 * 1024 * 1024;

/// The body as JSON, or what is wrong with it, for each API to answer in its own words.
///
/// The content type isn't looked at: there are clients who send none. An API that insists on one
/// looks at the header itself. JSON that is none of the type asked for counts as none at all.
#[derive(Debug)]
pub(crate) struct JsonBody<T = Value>(pub(crate) Result<T, BodyFault>);

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It ended before its end: nobody waits for the answer.
    Interrupted,
    /// Not JSON: empty, not UTF-8, malformed, or nested deeper than 127 levels.
    NotJson,
    /// Longer than 64 KiB.
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
    serde_json::from_slice(&text).map_err(|_| BodyFault::NotJson)
}
