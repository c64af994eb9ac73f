//! Extractors for axum 0.8, behind a [`KeyLayer`](super::tower::KeyLayer).
//!
//! `Authenticated` as a handler's argument is the request's caller. `Option<Authenticated>` is
//! `None` for a request that presents nothing, where the layer lets such pass; a token that isn't
//! accepted is refused by the layer in any case. Without a layer before them both answer 500:
//! nobody is taken for anonymous because a layer was forgotten.
//!
//! [`Rejection`](super::tower::Rejection) is a response, so a handler may answer
//! `Result<_, Rejection>` and ask with `?`.

mod extract;
