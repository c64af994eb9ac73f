//! Bodies of the answers that a layer makes itself.

use std::fmt;

use http::Response;
use http::header::CONTENT_TYPE;

use super::rejection::Rejection;

/// A maker of the bodies of a layer's own answers, of the type that the service behind it has.
///
/// A [`KeyLayer`](super::KeyLayer) begins with [`TextBody`];
/// [`body_with`](super::KeyLayer::body_with) and [`empty_body`](super::KeyLayer::empty_body) choose
/// another.
pub trait MakeBody<B> {
    /// Whether the bodies have the text. Without it an answer has no type of content.
    const HAS_TEXT: bool = true;

    /// Makes a body with this text.
    fn make_body(&self, text: String) -> B;
}

/// Makes bodies that can be made of a text, such as axum's.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextBody;

/// Makes bodies that have a default, and leaves them empty: status and headers are the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyBody;

/// Makes bodies with a function.
#[derive(Clone, Copy)]
pub struct BodyFn<F>(pub(super) F);

impl<B: From<String>> MakeBody<B> for TextBody {
    fn make_body(&self, text: String) -> B {
        B::from(text)
    }
}

impl<B: Default> MakeBody<B> for EmptyBody {
    const HAS_TEXT: bool = false;

    fn make_body(&self, _: String) -> B {
        B::default()
    }
}

impl<B, F: Fn(String) -> B> MakeBody<B> for BodyFn<F> {
    fn make_body(&self, text: String) -> B {
        (self.0)(text)
    }
}

impl Rejection {
    /// Makes the answer, with a body of the service's type.
    #[cold]
    pub(super) fn answer<B, M: MakeBody<B>>(self, bodies: &M) -> Response<B> {
        let mut answer = self.into_text();
        if !M::HAS_TEXT {
            answer.headers_mut().remove(CONTENT_TYPE);
        }
        answer.map(|text| bodies.make_body(text))
    }
}

/// Shows that there is a function, not the function.
impl<F> fmt::Debug for BodyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyFn")
    }
}
