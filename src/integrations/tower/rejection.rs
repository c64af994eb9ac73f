//! The answer to a rejected request, on its way.

use http::Response;

/// The answer to a rejected request, in the service's shape.
#[derive(Clone, Debug)]
#[must_use]
pub struct Rejection(Box<Response<String>>);

impl Rejection {
    pub(in crate::integrations) fn new(response: Response<String>) -> Self {
        Self(Box::new(response))
    }

    /// Returns the answer, for a body that can be made of a text.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        self.into_text().map(B::from)
    }

    /// Returns the answer with its text, for a service whose bodies are made in another way.
    pub fn into_text(self) -> Response<String> {
        *self.0
    }
}
