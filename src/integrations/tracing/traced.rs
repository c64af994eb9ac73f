//! Spans around the calls of a store.

use std::net::IpAddr;
use std::task::{Context, Poll};

use tracing::field::Empty;

use crate::authority::Role;
use crate::integrations::outcomes::{call_outcome, verification_outcome};
use crate::store::{
    Error, KeyStore, LeaseWait, StoreCall, StoreLayer, Unavailable, VerifyError, VerifyRequest,
};
use crate::verified_key::VerifiedKey;

/// A store around another one that puts a span around each management call.
///
/// ```
/// # use std::sync::Arc;
/// # use keyhasp::integrations::tracing::Traced;
/// # fn f(store: keyhasp::Store) -> Arc<dyn keyhasp::KeyStore> {
/// Arc::new(Traced::new(store))
/// # }
/// ```
#[derive(Debug)]
pub struct Traced<S> {
    store: S,
}

impl<S: KeyStore> Traced<S> {
    /// Traces this store's calls.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Returns the store that gets the calls.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.store
    }
}

impl<S: KeyStore> StoreLayer for Traced<S> {
    fn inner(&self) -> &dyn KeyStore {
        &self.store
    }

    #[inline]
    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        self.store.poll_verify(request, wait, context).map(trace)
    }

    fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        trace(self.store.recheck_from(verified, address))
    }

    fn around<T>(
        &self,
        call: &StoreCall<'_>,
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
        // A feed that waits when the store is closed ends as it should.
        let ends = call.name == "wait_for_event"
            && matches!(answer, Err(Error::Unavailable(Unavailable::Closed)));
        if let Err(error @ (Error::Backend(_) | Error::OutcomeUnknown(_) | Error::Unavailable(_))) =
            &answer
            && !ends
        {
            // The texts of these errors come from the store's own parts. Other errors may repeat
            // what the caller sent.
            span.in_scope(|| tracing::warn!(target: "keyhasp", %error, "call failed"));
        }
        answer
    }
}

/// Writes a rejection to the log.
#[inline]
fn trace<T>(answer: Result<T, VerifyError>) -> Result<T, VerifyError> {
    if answer.is_err() {
        let outcome = verification_outcome(&answer);
        tracing::debug!(target: "keyhasp", outcome, "token rejected");
    }
    answer
}

fn role(role: &Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Delegate { .. } => "delegate",
        Role::Owner { .. } => "owner",
        Role::OwnerByKey { .. } => "owner_by_key",
    }
}
