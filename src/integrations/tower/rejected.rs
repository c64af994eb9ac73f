//! A request that doesn't pass, as hooks and answers get it.

use http::request::Parts;

use super::authenticated::Authenticated;
use crate::id::{KeyId, OwnerId};
use crate::integrations::http::AuthError;
use crate::verified_key::VerifiedKey;

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

    /// Rejects a caller whom the layer has let in.
    pub(super) fn caller(
        error: AuthError<'a>,
        caller: &'a Authenticated,
        request: Option<&'a Parts>,
    ) -> Self {
        let key = caller.verified_key().map(VerifiedKey::key_id);
        Self { error, request, key, owner: Some(caller.owner()) }
    }
}
