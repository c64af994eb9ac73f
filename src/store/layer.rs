//! Stores around a store: the only file that forwards each call.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::key_store::KeyStore;
use super::types::details::KeyDetails;
use super::types::error::Error;
use super::types::explanation::Explanation;
use super::types::health::Health;
use super::types::owner_view::Owner;
use super::types::request::{
    ChangeRules, CreateKey, CreateOwner, IfInUse, KeyAction, ListEvents, ListKeys, ListOwners,
    OwnerAction, Rotate, VerifyRequest,
};
use super::types::reserved::ReservedUses;
use super::types::verify_error::VerifyError;
use super::types::views::{
    ChangedKey, CreatedOwner, Events, FoundToken, Issued, IssuedOnce, Key, Page, RetiredPepper,
    RevealedToken, RevokedAll, RevokedTree, Rules,
};
use super::verify::{LeaseWait, parked};
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{IdempotencyKey, Prefix};
use crate::permission::Catalogue;
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// A management call of a [`KeyStore`], as [`StoreLayer::around`] sees it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StoreCall<'a> {
    /// The name of the method of [`KeyStore`].
    pub name: &'static str,
    /// The caller's authority; `None` for the four calls that take none.
    pub by: Option<&'a Authority>,
    /// The owner that the call names.
    pub owner: Option<&'a OwnerId>,
    /// The key that the call names.
    pub key: Option<KeyId>,
}

/// Declares the layer's methods and forwards them, from one list of a store's management calls.
/// The brackets hold what a call names, as fields of [`StoreCall`].
macro_rules! store_layer {
    ($(
        $name:ident($($argument:ident: $type:ty),* $(,)?) -> $answer:ty
            [$($field:ident: $value:expr),*];
    )*) => {
        /// A store around another one, which changes some calls and forwards the rest.
        ///
        /// Every layer is a [`KeyStore`]. Its methods have the names of the store's; each defaults
        /// to the inner store's. [`around`](Self::around) runs around every management call,
        /// whether the layer changes it or not: this one hook serves traces, metrics and audits. A
        /// layer that observes or changes verifications overrides
        /// [`poll_verify`](Self::poll_verify) and [`recheck_from`](Self::recheck_from). One that changes
        /// or refuses creations overrides `create_key`, `create_key_once` and `create_keys`; of single
        /// changes that also come in bulk, `change_key` and `revoke_keys`, `purge_key` and `purge_keys`.
        ///
        /// Import this trait only in the file that implements it. With both traits in scope, a call
        /// on the layer itself is ambiguous.
        ///
        /// ```
        /// use keyhasp::store::{Error, StoreCall, StoreLayer};
        /// use keyhasp::{KeyStore, Store};
        ///
        /// /// A store that logs what fails.
        /// #[derive(Debug)]
        /// struct Logged(Store);
        ///
        /// impl StoreLayer for Logged {
        ///     fn inner(&self) -> &dyn KeyStore {
        ///         &self.0
        ///     }
        ///
        ///     fn around<T>(
        ///         &self,
        ///         call: &StoreCall<'_>,
        ///         run: impl FnOnce() -> Result<T, Error>,
        ///     ) -> Result<T, Error> {
        ///         run().inspect_err(|error| eprintln!("{} failed: {error}", call.name))
        ///     }
        /// }
        ///
        /// # use std::sync::Arc;
        /// # use keyhasp::{Catalogue, Prefix, backend::Memory};
        /// # let builder = Store::builder(Catalogue::builder().build()?, [Prefix::new("acme")?]);
        /// # let store = builder.open(Memory::new())?;
        /// let store: Arc<dyn KeyStore> = Arc::new(Logged(store));
        /// # let _ = store;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub trait StoreLayer: Debug + Send + Sync + 'static {
            /// Returns the store that gets the calls.
            fn inner(&self) -> &dyn KeyStore;

            /// Runs a management call. A layer may add work before and after it, change its error,
            /// or fail without running it.
            ///
            /// # Errors
            /// The call's own, unless the layer changes it.
            fn around<T>(
                &self,
                call: &StoreCall<'_>,
                run: impl FnOnce() -> Result<T, Error>,
            ) -> Result<T, Error> {
                let _ = call;
                run()
            }

            /// Answers [`KeyStore::poll_verify`], and with it [`KeyStore::verify_request`] and
            /// [`KeyStore::verify`]: no verification goes by another way.
            ///
            /// # Errors
            /// Those of its namesake.
            fn poll_verify(
                &self,
                request: &VerifyRequest<'_>,
                wait: &mut Option<LeaseWait>,
                context: &mut Context<'_>,
            ) -> Poll<Result<VerifiedKey, VerifyError>> {
                self.inner().poll_verify(request, wait, context)
            }

            /// Answers [`KeyStore::recheck_from`]. A layer that rejects keys by a rule of its own must
            /// reject them here too.
            ///
            /// # Errors
            /// Those of its namesake.
            fn recheck_from(
                &self,
                verified: &VerifiedKey,
                address: Option<IpAddr>,
            ) -> Result<VerifiedKey, VerifyError> {
                self.inner().recheck_from(verified, address)
            }

            /// Answers [`KeyStore::details`].
            fn details(&self, verified: &VerifiedKey) -> Option<Arc<KeyDetails>> {
                self.inner().details(verified)
            }

            /// Answers [`KeyStore::catalogue`].
            fn catalogue(&self) -> &Catalogue {
                self.inner().catalogue()
            }

            /// Answers [`KeyStore::prefixes`].
            fn prefixes(&self) -> Vec<Prefix> {
                self.inner().prefixes()
            }

            /// Answers [`KeyStore::health`].
            fn health(&self) -> Health {
                self.inner().health()
            }

            $(
                #[doc = concat!("Answers [`KeyStore::", stringify!($name), "`].")]
                ///
                /// # Errors
                /// Those of its namesake.
                fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
                    self.inner().$name($($argument),*)
                }
            )*
        }

        impl<L: StoreLayer> KeyStore for L {
            #[inline]
            fn verify_request(
                &self,
                request: &VerifyRequest<'_>,
            ) -> Result<VerifiedKey, VerifyError> {
                parked(|wait, context| StoreLayer::poll_verify(self, request, wait, context))
            }

            #[inline]
            fn poll_verify(
                &self,
                request: &VerifyRequest<'_>,
                wait: &mut Option<LeaseWait>,
                context: &mut Context<'_>,
            ) -> Poll<Result<VerifiedKey, VerifyError>> {
                StoreLayer::poll_verify(self, request, wait, context)
            }

            #[inline]
            fn recheck_from(
                &self,
                verified: &VerifiedKey,
                address: Option<IpAddr>,
            ) -> Result<VerifiedKey, VerifyError> {
                StoreLayer::recheck_from(self, verified, address)
            }

            fn details(&self, verified: &VerifiedKey) -> Option<Arc<KeyDetails>> {
                StoreLayer::details(self, verified)
            }

            fn catalogue(&self) -> &Catalogue {
                StoreLayer::catalogue(self)
            }

            fn prefixes(&self) -> Vec<Prefix> {
                StoreLayer::prefixes(self)
            }

            fn health(&self) -> Health {
                StoreLayer::health(self)
            }

            $(
                fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
                    let name = stringify!($name);
                    let call = StoreCall {
                        name,
                        $($field: Some($value),)*
                        ..StoreCall::default()
                    };
                    self.around(&call, || StoreLayer::$name(self, $($argument),*))
                }
            )*
        }
    };
}

store_layer! {
    settle(reserved: ReservedUses, actual: u32) -> () [];
    create_key(by: &Authority, owner: &OwnerId, request: &CreateKey) -> Issued
        [by: by, owner: owner];
    create_key_once(
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
        key: &IdempotencyKey,
    ) -> IssuedOnce [by: by, owner: owner];
    create_keys(
        by: &Authority,
        requests: &[(OwnerId, CreateKey)],
    ) -> Vec<Result<Issued, Error>> [by: by];
    revoke_keys(
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Vec<Result<ChangedKey, Error>> [by: by];
    purge_keys(
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Vec<Result<(), Error>> [by: by];
    key(by: &Authority, id: KeyId) -> Key [by: by, key: id];
    key_by_numeric_id(by: &Authority, id: NumericId) -> Key [by: by];
    list_keys(by: &Authority, query: &ListKeys) -> Page<Key> [by: by];
    list_unmatched(by: &Authority, query: &ListKeys) -> Page<Key> [by: by];
    count_keys(by: &Authority, query: &ListKeys) -> u64 [by: by];
    change_key(by: &Authority, id: KeyId, action: &KeyAction, expected: Option<Version>) -> ChangedKey
        [by: by, key: id];
    revoke_with_descendants(by: &Authority, id: KeyId, expected: Option<Version>) -> RevokedTree
        [by: by, key: id];
    rotate_key(by: &Authority, id: KeyId, request: &Rotate, expected: Option<Version>) -> Issued
        [by: by, key: id];
    rotate_key_once(
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
        key: &IdempotencyKey,
    ) -> IssuedOnce [by: by, key: id];
    replace_lost_token(by: &Authority, id: KeyId, key: &IdempotencyKey) -> Issued
        [by: by, key: id];
    purge_key(by: &Authority, id: KeyId, expected: Option<Version>) -> () [by: by, key: id];
    reveal_token(by: &Authority, id: KeyId) -> Token [by: by, key: id];
    reveal_tokens(by: &Authority, query: &ListKeys) -> Page<RevealedToken> [by: by];
    identify(by: &Authority, token: &[u8]) -> Option<FoundToken> [by: by];
    explain(by: &Authority, token: &[u8]) -> Explanation [by: by];
    block_leaked(by: &Authority, token: &[u8]) -> Option<FoundToken> [by: by];
    create_owner(by: &Authority, id: &OwnerId, request: &CreateOwner) -> CreatedOwner
        [by: by, owner: id];
    owner(by: &Authority, id: &OwnerId) -> Owner [by: by, owner: id];
    list_owners(by: &Authority, query: &ListOwners) -> Page<Owner> [by: by];
    change_owner(
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Owner [by: by, owner: id];
    revoke_all(
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> RevokedAll [by: by, owner: owner];
    purge_owner(by: &Authority, id: &OwnerId, expected: Option<Version>) -> ()
        [by: by, owner: id];
    rules(by: &Authority) -> Rules [by: by];
    change_rules(by: &Authority, request: &ChangeRules, expected: Option<Version>) -> Rules
        [by: by];
    invalidate_tokens_issued_before(
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Rules [by: by];
    retire_pepper(
        by: &Authority,
        number: u16,
        if_in_use: IfInUse,
        expected: Option<Version>,
    ) -> RetiredPepper [by: by];
    events(by: &Authority, query: &ListEvents) -> Events [by: by];
    prune_events(by: &Authority, before: Timestamp) -> u64 [by: by];
    wait_for_event(after: u64, timeout: Duration) -> u64 [];
    recover() -> () [];
    close() -> () [];
}
