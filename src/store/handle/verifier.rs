//! The handle that only verifies.

use std::sync::Arc;

use crate::permission::{Catalogue, Permission};
use crate::store::key_store::KeyStore;
use crate::store::types::error::VerifyError;
use crate::store::types::request::VerifyRequest;
use crate::token::{Inspection, inspect};
use crate::verified_key::VerifiedKey;

/// Verifies, and nothing else.
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
    /// A handle that verifies against this store.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store }
    }

    /// Judges a token.
    ///
    /// # Errors
    /// [`VerifyError`]: one and the same for everybody without the right secret.
    pub fn verify(&self, token: impl AsRef<[u8]>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify(token.as_ref())
    }

    /// Judges a token by the peer's address and what it costs as well.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify_request(request)
    }

    /// What can be told of a text without any key: whether it was mistyped, or never was a token.
    #[must_use]
    pub fn inspect(&self, token: impl AsRef<[u8]>) -> Inspection {
        inspect(token.as_ref())
    }

    /// The permissions that the service declared.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        self.store.catalogue()
    }

    /// Resolves the name of a permission, once, so that each check is one bit test.
    #[must_use]
    pub fn permission(&self, name: &str) -> Option<Permission> {
        self.store.catalogue().permission(name)
    }
}
