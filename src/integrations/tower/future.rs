//! The answer of a service behind the layer, or that to a rejected request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::admission::{Admitted, Waiting};
use super::body::MakeBody;
use super::settings::Settings;
use crate::verified_key::LimitsLeft;

pin_project! {
    /// The future of [`KeyService`](super::KeyService). Dropped while its request waits for the lease
    /// of a quota, it has taken nothing.
    #[must_use = "futures do nothing unless polled"]
    pub struct KeyFuture<S, B, R, M>
    where
        S: Service<Request<B>>,
    {
        // Apart, since a request seldom waits.
        waiting: Option<Box<Waits<S, B, M>>>,
        #[pin]
        response: Option<ResponseFuture<S::Future, R>>,
    }
}

/// A request that waits, and the service that is ready for it.
struct Waits<S, B, M> {
    request: Waiting<B>,
    service: S,
    settings: Arc<Settings>,
    bodies: M,
}

impl<S, B, R, M> KeyFuture<S, B, R, M>
where
    S: Service<Request<B>>,
{
    /// Passes a request on.
    pub(super) fn passing(
        service: &mut S,
        (request, left): Admitted<B>,
        settings: &Arc<Settings>,
    ) -> Self {
        let inner = service.call(request);
        let has_some = left != LimitsLeft::NOTHING_KNOWN;
        let response = if has_some || settings.marks_answers() {
            ResponseFuture::marked(inner, left, Arc::clone(settings))
        } else {
            ResponseFuture::passing(inner)
        };
        Self { waiting: None, response: Some(response) }
    }

    /// Waits, and passes the request on to this service, which is ready.
    pub(super) fn waiting(
        service: S,
        request: Waiting<B>,
        settings: &Arc<Settings>,
        bodies: M,
    ) -> Self {
        let waits = Waits { request, service, settings: Arc::clone(settings), bodies };
        Self { waiting: Some(Box::new(waits)), response: None }
    }

    pub(super) fn rejected(response: Response<R>) -> Self {
        Self { waiting: None, response: Some(ResponseFuture::rejected(response)) }
    }
}

impl<S, B, R, M> Future for KeyFuture<S, B, R, M>
where
    S: Service<Request<B>, Response = Response<R>>,
    M: MakeBody<R>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(waiting) = this.waiting {
            let admitted = ready!(waiting.request.poll(&waiting.settings, context));
            let passed = match admitted {
                Ok(admitted) => Self::passing(&mut waiting.service, admitted, &waiting.settings),
                Err(rejection) => Self::rejected(rejection.answer(&waiting.bodies)),
            };
            this.response.set(passed.response);
            *this.waiting = None;
        }
        // There is a response if no request waits.
        this.response.as_pin_mut().map_or(Poll::Pending, |response| response.poll(context))
    }
}

impl<S, B, R, M> fmt::Debug for KeyFuture<S, B, R, M>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFuture").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of a service behind the layer, or the answer to a rejected request.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = Projected]
    enum State<F, R> {
        Passing { #[pin] inner: F, marks: Option<(LimitsLeft, Arc<Settings>)> },
        // Boxed, since it is rare, and a response is large.
        Rejected { response: Option<Box<Response<R>>> },
    }
}

impl<F, R> ResponseFuture<F, R> {
    pub(super) fn passing(inner: F) -> Self {
        Self { state: State::Passing { inner, marks: None } }
    }

    /// Passes the request on, and adds the layer's headers to the answer.
    pub(super) fn marked(inner: F, left: LimitsLeft, settings: Arc<Settings>) -> Self {
        Self { state: State::Passing { inner, marks: Some((left, settings)) } }
    }

    #[cold]
    pub(super) fn rejected(response: Response<R>) -> Self {
        Self { state: State::Rejected { response: Some(Box::new(response)) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Passing { inner, marks } => {
                let mut answer = ready!(inner.poll(context));
                if let (Ok(response), Some((left, settings))) = (&mut answer, marks) {
                    settings.mark(*left, response.headers_mut());
                }
                Poll::Ready(answer)
            }
            // A future that is polled again after its end has no answer left.
            Projected::Rejected { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response)))
            }
        }
    }
}
