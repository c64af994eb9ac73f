//! Extractors for axum 0.8, behind a [`KeyLayer`](super::tower::KeyLayer).
//!
//! `Authenticated` as a handler's argument is the request's caller. `Option<Authenticated>` is
//! `None` for an anonymous request, where the layer allows such; the layer rejects a token that
//! isn't accepted in any case. Without a layer before them both extractors answer 500, so that a
//! forgotten layer doesn't make callers anonymous.
//!
//! [`Rejection`](super::tower::Rejection) is a response, so a handler may return
//! `Result<_, Rejection>` and use `?`.
//!
//! [The page about HTTP](crate::guide::http) has the status and headers of each answer, the layer's
//! settings, the order of layers, addresses behind proxies, and rates.

mod extract;
