//! The answer of a service behind the layer, or that to a rejected request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

use super::rejection::Rejection;
use super::settings::Settings;
use crate::key::RateStatus;

pin_project! {
    /// The future of [`KeyService`](super::KeyService) and [`GuardService`](super::GuardService).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F>,
        body: std::marker::PhantomData<fn() -> R>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = Projected]
    enum State<F> {
        Passing { #[pin] inner: F, rate: Option<(RateStatus, Arc<Settings>)> },
        Rejected { rejection: Option<Rejection> },
    }
}

impl<F, R> ResponseFuture<F, R> {
    pub(super) fn passing(inner: F) -> Self {
        Self { state: State::Passing { inner, rate: None }, body: std::marker::PhantomData }
    }

    /// Passes the request on, and adds what is left of a rate to the answer.
    pub(super) fn with_rate(inner: F, rate: RateStatus, settings: Arc<Settings>) -> Self {
        let state = State::Passing { inner, rate: Some((rate, settings)) };
        Self { state, body: std::marker::PhantomData }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        let state = State::Rejected { rejection: Some(rejection) };
        Self { state, body: std::marker::PhantomData }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<String>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Passing { inner, rate } => {
                let mut answer = std::task::ready!(inner.poll(context));
                if let (Ok(response), Some((rate, settings))) = (&mut answer, rate) {
                    settings.rate_headers.add(rate, response.headers_mut());
                }
                Poll::Ready(answer)
            }
            // A future that is polled again after its end has no answer left.
            Projected::Rejected { rejection } => rejection
                .take()
                .map_or(Poll::Pending, |rejection| Poll::Ready(Ok(rejection.into_response()))),
        }
    }
}
