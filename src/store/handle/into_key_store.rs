//! Stores as the handles take them.

use std::sync::Arc;

use crate::store::key_store::KeyStore;

/// A shared store, which the handles take: an [`Arc`] of any [`KeyStore`], its type known or not.
pub trait IntoKeyStore {
    /// Returns the store with its type erased.
    fn into_key_store(self) -> Arc<dyn KeyStore>;
}

impl<S: KeyStore> IntoKeyStore for Arc<S> {
    fn into_key_store(self) -> Arc<dyn KeyStore> {
        self
    }
}

impl IntoKeyStore for Arc<dyn KeyStore> {
    fn into_key_store(self) -> Arc<dyn KeyStore> {
        self
    }
}
