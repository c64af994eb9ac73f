//! The handle that only verifies.

use std::sync::Arc;

use crate::permission::{Catalogue, Permission};
use crate::store::key_store::KeyStore;
use crate::store::types::{VerifyError, VerifyRequest};
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
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store }
    }

    /// Verifies a token: one use, from an unknown address.
    ///
    /// # Errors
    /// [`VerifyError`], which is the same for every caller without the right secret.
    pub fn verify(&self, token: impl AsRef<[u8]>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify(token.as_ref())
    }

    /// Verifies a token, by the peer's address and the cost of this use as well.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.store.verify_request(request)
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
