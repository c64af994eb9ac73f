//! The handle that only verifies.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use super::into_key_store::IntoKeyStore;
use crate::invalid::{Invalid, Problem};
use crate::key::Prefix;
use crate::permission::{Catalogue, Permission};
use crate::store::key_store::KeyStore;
use crate::store::types::reserved::ReservedQuotas;
use crate::store::types::{Error, KeyDetails, ReservedUses, VerifyError, VerifyRequest};
use crate::store::verify::LeaseWait;
use crate::token::{Inspection, Unverified, inspect};
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
    /// The prefixes of the tokens that it accepts; `None` for all of the store's.
    prefixes: Option<Arc<[Prefix]>>,
}

impl Verifier {
    /// Creates a handle that verifies against this store.
    #[must_use]
    pub fn new(store: impl IntoKeyStore) -> Self {
        Self { store: store.into_key_store(), prefixes: None }
    }

    /// Returns a handle that accepts tokens of these prefixes alone, such as those of a test
    /// environment. Every other token is [`VerifyError::Unrecognized`], as one that no store issued: it
    /// counts as no use, and no one learns whether it is a good one elsewhere. So is a key of another
    /// prefix that is checked [again](Self::recheck).
    ///
    /// ```
    /// # use keyhasp::{Catalogue, Prefix, Store, Verifier, backend::Memory};
    /// # use std::sync::Arc;
    /// let (live, test) = (Prefix::new("acme_live")?, Prefix::new("acme_test")?);
    /// let catalogue = Catalogue::builder().build()?;
    /// let store = Store::builder(catalogue, [live, test]).open(Memory::new())?;
    /// let sandbox = Verifier::new(Arc::new(store)).with_prefixes([test])?;
    /// assert!(sandbox.with_prefixes([live]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for no prefix, and for one that this handle or its store doesn't accept.
    pub fn with_prefixes(
        &self,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) -> Result<Self, Invalid> {
        let mut known = self.store.prefixes();
        known.retain(|prefix| self.accepts(prefix.as_bytes()));
        let prefixes: Arc<[Prefix]> = prefixes.into_iter().collect();
        if prefixes.is_empty() {
            return Err(Invalid::new("prefix", Problem::Empty));
        }
        if let Some(unknown) = prefixes.iter().find(|prefix| !known.contains(prefix)) {
            let problem = Problem::Unknown { name: unknown.as_str().to_owned() };
            return Err(Invalid::new("prefix", problem));
        }
        Ok(Self { store: Arc::clone(&self.store), prefixes: Some(prefixes) })
    }

    /// Returns whether it accepts tokens of a prefix, as far as this is up to the handle.
    #[inline]
    pub(crate) fn accepts(&self, prefix: &[u8]) -> bool {
        self.prefixes
            .as_ref()
            .is_none_or(|prefixes| prefixes.iter().any(|accepted| accepted.as_bytes() == prefix))
    }

    /// Returns whether it accepts tokens of the prefix that this one has.
    ///
    /// # Errors
    /// `Unrecognized` for a token of another prefix, and for a text that isn't a token.
    #[inline]
    pub(crate) fn check_prefix(&self, token: &[u8]) -> Result<(), VerifyError> {
        if self.prefixes.is_none() {
            return Ok(());
        }
        let prefix = Unverified::parse(token).map(|token| token.prefix);
        let is_accepted = prefix.is_some_and(|prefix| self.accepts(prefix));
        is_accepted.then_some(()).ok_or(VerifyError::Unrecognized)
    }

    /// Returns the store.
    #[cfg(feature = "tower")]
    pub(crate) fn store(&self) -> Arc<dyn KeyStore> {
        Arc::clone(&self.store)
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
        self.verify_request(&VerifyRequest::new(&token))
    }

    /// Verifies a token, by the peer's address and the cost of this use as well. Where a quota's
    /// lease is spent, it parks this thread, as
    /// [`KeyStore::verify_request`](crate::KeyStore::verify_request) says.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.check_prefix(request.token())?;
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
        if let Err(error) = self.check_prefix(request.token()) {
            return Poll::Ready(Err(error));
        }
        self.store.poll_verify(request, wait, context)
    }

    /// Judges again the token of an answer that was given before, for a peer whose address isn't
    /// known: a WebSocket, a stream or any connection that stays open. It needs neither the token nor a
    /// hash, waits for nothing, and counts no use.
    ///
    /// ```
    /// # use keyhasp::{VerifiedKey, Verifier};
    /// # struct Socket; impl Socket { fn close(self) {} }
    /// # fn each_ten_seconds(keys: &Verifier, verified: &mut VerifiedKey, socket: Socket) {
    /// match keys.recheck(verified) {
    ///     Ok(now) => *verified = now,
    ///     Err(_) => socket.close(),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The answer that the token would get now, as
    /// [`KeyStore::recheck_from`](crate::KeyStore::recheck_from) says.
    pub fn recheck(&self, verified: &VerifiedKey) -> Result<VerifiedKey, VerifyError> {
        if !self.accepts(verified.prefix().as_bytes()) {
            return Err(VerifyError::Unrecognized);
        }
        self.store.recheck_from(verified, None)
    }

    /// Judges again as [`recheck`](Self::recheck) does, from the peer's address, which a key that is
    /// limited to networks needs.
    ///
    /// # Errors
    /// As [`recheck`](Self::recheck).
    pub fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: IpAddr,
    ) -> Result<VerifiedKey, VerifyError> {
        if !self.accepts(verified.prefix().as_bytes()) {
            return Err(VerifyError::Unrecognized);
        }
        self.store.recheck_from(verified, Some(address))
    }

    /// Returns the data of a verified key: its name, its numeric id, its tags and some settings, where
    /// [`StoreBuilder::key_details`](crate::StoreBuilder::key_details) has the store keep them in memory.
    /// It reads no backend. `None` if the store keeps none, or if the key is gone since; a key that is no
    /// longer accepted may have none.
    ///
    /// ```
    /// # use keyhasp::{VerifiedKey, Verifier};
    /// # fn f(keys: &Verifier, verified: &VerifiedKey) {
    /// if let Some(key) = keys.details(verified) {
    ///     println!("{} on plan {:?}", key.name().unwrap_or("unnamed"), key.setting("plan"));
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn details(&self, verified: &VerifiedKey) -> Option<Arc<KeyDetails>> {
        if self.accepts(verified.prefix().as_bytes()) { self.store.details(verified) } else { None }
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
        let verified = self.verify_request(&VerifyRequest { quotas: Some(&quotas), ..*request })?;
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
