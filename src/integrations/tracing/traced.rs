//! Spans around the calls of a store.

use tracing::field::Empty;

use crate::authority::Role;
use crate::integrations::observed::{Call, Observed, Observer, call_outcome, verification_outcome};
use crate::store::{Error, KeyStore, VerifyError};
use crate::verified_key::VerifiedKey;

/// A store whose management calls are spans.
///
/// ```
/// # use std::sync::Arc;
/// # use keyhasp::integrations::tracing::Traced;
/// # fn f(store: keyhasp::Store) -> Arc<dyn keyhasp::KeyStore> {
/// Arc::new(Traced::new(store))
/// # }
/// ```
pub type Traced<S> = Observed<S, Spans>;

/// What makes an [`Observed`] store a traced one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Spans;

impl<S: KeyStore> Traced<S> {
    /// Traces what this store is asked.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::by(Spans, store)
    }
}

impl Observer for Spans {
    #[inline]
    fn verified(&self, answer: &Result<VerifiedKey, VerifyError>) {
        if answer.is_err() {
            let outcome = verification_outcome(answer);
            tracing::debug!(target: "keyhasp", outcome, "token refused");
        }
    }

    fn around<T>(
        &self,
        call: &Call<'_>,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let span = tracing::info_span!(
            target: "keyhasp",
            "keyhasp",
            call = call.name,
            role = call.by.map(|by| role(&by.role)),
            owner = call.owner.or_else(|| call.by?.role.owner()).map(display),
            key = call.key.map(display),
            correlation_id = call.by.and_then(|by| by.correlation_id.as_ref()).map(display),
            outcome = Empty,
        );
        let answer = span.in_scope(run);
        span.record("outcome", call_outcome(&answer));
        if let Err(error @ (Error::Backend(_) | Error::OutcomeUnknown(_) | Error::Unavailable(_))) =
            &answer
        {
            // These say what a store's own parts have said; the others may name what was asked.
            span.in_scope(|| tracing::warn!(target: "keyhasp", %error, "call failed"));
        }
        answer
    }
}

fn role(role: &Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Delegate { .. } => "delegate",
        Role::Owner { .. } => "owner",
    }
}
