//! A request that doesn't pass, as hooks and answers get it.

use http::request::Parts;

use crate::id::{KeyId, OwnerId};
use crate::integrations::http::AuthError;

/// A request that doesn't pass: the error, and what is known of the request and its caller.
pub(super) struct Rejected<'a> {
    pub(super) error: AuthError<'a>,
    /// `None` where a handler asks, who has consumed the request.
    pub(super) request: Option<&'a Parts>,
    pub(super) key: Option<KeyId>,
    pub(super) owner: Option<&'a OwnerId>,
}

impl<'a> Rejected<'a> {
    /// Rejects a request whose caller isn't known.
    pub(super) fn of(error: AuthError<'a>, request: &'a Parts) -> Self {
        Self { error, request: Some(request), key: None, owner: None }
    }
}
