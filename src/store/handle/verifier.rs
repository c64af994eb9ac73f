//! The handle that only verifies.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use crate::permission::{Catalogue, Permission};
use crate::store::key_store::{IntoKeyStore, KeyStore};
use crate::store::types::reserved::ReservedQuotas;
use crate::store::types::{Error, ReservedUses, VerifyError, VerifyRequest};
use crate::store::verify::LeaseWait;
use crate::token::{Inspection, inspect};
use crate::verified_key::VerifiedKey;

/// The handle that verifies, and has no other call.
///
/// ```
/// # fn f(keys: keyhasp::Verifier) { let _ = keys.verify(b"acme_..."); }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::Verifier, id: keyhasp::KeyId) { let _ = keys.revoke(id); }
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    store: Arc<dyn KeyStore>,
}

impl Verifier {
    /// Creates a handle that verifies against this store.
    #[must_use]
    pub fn new(store: impl IntoKeyStore) -> Self {
        Self { store: store.into_key_store() }
    }

    /// Returns whether both verify against one and the same store. A store around another one is
    /// another: it may judge by rules of its own.
    #[cfg(feature = "tower")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.store), Arc::as_ptr(&other.store))
    }

    /// Verifies a token: one use, from an unknown address.
    ///
    /// # Errors
    /// [`VerifyError`], which is the same for every caller without the right secret.
    pub fn verify(&self, token: impl AsRef<[u8]>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify(token.as_ref())
    }

    /// Verifies a token, by the peer's address and the cost of this use as well. Where a quota's
    /// lease is spent, it parks this thread, as
    /// [`KeyStore::verify_request`](crate::KeyStore::verify_request) says.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify_request(request)
    }

    /// Verifies as [`verify_request`](Self::verify_request) does, without parking the thread: on any
    /// runtime. Nearly always the future is ready at its first poll. Dropped before its answer, it
    /// has taken nothing.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_async(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<VerifiedKey, VerifyError> {
        let mut wait = None;
        poll_fn(|context| self.poll_verify(request, &mut wait, context)).await
    }

    /// Polls a verification: [`KeyStore::poll_verify`](crate::KeyStore::poll_verify).
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    #[inline]
    pub fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        self.store.poll_verify(request, wait, context)
    }

    /// Verifies a token whose use is charged after the work, such as the words that a model wrote.
    /// The cost of the request is reserved from the quotas of the key and its owner;
    /// [`Reservation::settle`] then counts what the work cost. Rates count the reserved cost alone.
    ///
    /// ```
    /// # use keyhasp::{Verifier, VerifyRequest};
    /// # fn answer() -> u32 { 0 }
    /// # fn f(keys: &Verifier, token: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = VerifyRequest::new(token).cost(500);
    /// let (verified, reservation) = keys.verify_reserving(&request)?;
    /// let words = answer();
    /// reservation.settle(words)?;
    /// # let _ = verified;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_reserving(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<(VerifiedKey, Reservation), VerifyError> {
        let quotas = OnceLock::new();
        let verified =
            self.store.verify_request(&VerifyRequest { quotas: Some(&quotas), ..*request })?;
        Ok(self.reserved(verified, request, quotas))
    }

    /// Verifies as [`verify_reserving`](Self::verify_reserving) does, and as
    /// [`verify_async`](Self::verify_async).
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_reserving_async(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<(VerifiedKey, Reservation), VerifyError> {
        let quotas = OnceLock::new();
        let reserving = VerifyRequest { quotas: Some(&quotas), ..*request };
        let verified = self.verify_async(&reserving).await?;
        Ok(self.reserved(verified, request, quotas))
    }

    fn reserved(
        &self,
        verified: VerifiedKey,
        request: &VerifyRequest<'_>,
        quotas: OnceLock<ReservedQuotas>,
    ) -> (VerifiedKey, Reservation) {
        let quotas = quotas.into_inner().unwrap_or_default();
        let (key, owner) = (verified.key_id(), *verified.owner_id());
        let uses = ReservedUses { key, owner, cost: request.cost, quotas };
        (verified, Reservation { store: Arc::clone(&self.store), uses })
    }

    /// Inspects the shape and checksum of a text, without any secret. Tells a mistyped token from a
    /// text that never was one.
    #[must_use]
    pub fn inspect(&self, token: impl AsRef<[u8]>) -> Inspection {
        inspect(token.as_ref())
    }

    /// Returns the permissions that the service declared.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        self.store.catalogue()
    }

    /// Resolves the name of a permission, or returns `None` if it isn't declared. Resolve it once:
    /// then each check is one bit test.
    #[must_use]
    pub fn permission(&self, name: &str) -> Option<Permission> {
        self.store.catalogue().permission(name)
    }
}

/// The uses that one verification took from the quotas of a key and its owner, until the caller
/// knows what the work cost. Dropped without being settled, it stands as it is.
///
/// It is settled once:
///
/// ```compile_fail,E0382
/// # fn f(reservation: keyhasp::store::Reservation) {
/// let _ = reservation.settle(3);
/// let _ = reservation.settle(3);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a reservation that isn't settled stands as it is"]
pub struct Reservation {
    store: Arc<dyn KeyStore>,
    uses: ReservedUses,
}

impl Reservation {
    /// Returns the number of uses that are reserved.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.uses.cost()
    }

    /// Counts `actual` uses in place of the reserved ones, for the key and its owner together.
    ///
    /// What was reserved beyond that is given back, unless the quota was changed or its period is
    /// over: then it is gone. What goes beyond the reservation is charged to the quotas as they are
    /// now, all of it: what a quota lacks is a debt, which is paid out of what is given back or
    /// added later, and ends with the period.
    ///
    /// A charge that a lease doesn't cover is one durable write on the caller's thread. While
    /// another process has the database it is tried for about a second. No verification waits for it.
    ///
    /// # Errors
    /// As [`KeyStore::settle`].
    pub fn settle(self, actual: u32) -> Result<(), Error> {
        self.store.settle(self.uses, actual)
    }
}
