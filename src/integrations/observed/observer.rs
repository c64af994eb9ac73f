//! Who is told.

use std::fmt::Debug;

use crate::authority::Authority;
use crate::id::{KeyId, OwnerId};
use crate::store::{Error, VerifyError};
use crate::verified_key::VerifiedKey;

/// Is told of each call of a store, around which it may put something.
pub trait Observer: Debug + Send + Sync + 'static {
    /// A token was judged.
    fn verified(&self, answer: &Result<VerifiedKey, VerifyError>);

    /// Runs a management call.
    ///
    /// # Errors
    /// The call's own.
    fn around<T>(
        &self,
        call: &Call<'_>,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error>;
}

/// A management call: its name, on whose authority, and whom it is about.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Call<'a> {
    /// The name of the method of [`KeyStore`](crate::store::KeyStore).
    pub name: &'static str,
    /// On whose authority.
    pub by: Option<&'a Authority>,
    /// The owner that it names.
    pub owner: Option<&'a OwnerId>,
    /// The key that it names.
    pub key: Option<KeyId>,
}
