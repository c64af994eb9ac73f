//! Recoverable tokens: sealing and unsealing them.

use crate::id::{Generation, KeyId};
use crate::key::{KeyRecord, RecoveryKeyCheck, Seal};
use crate::store::types::error::{Error, StateProblem};
#[cfg(feature = "recoverable")]
use crate::token::RecoveryKeys;
use crate::token::{Mismatch, RandomSource, Token};

/// Seals and unseals tokens under the store's recovery keys, where it has some.
#[derive(Debug)]
pub(in crate::store) struct Sealer {
    #[cfg(feature = "recoverable")]
    pub(in crate::store) keys: Option<RecoveryKeys>,
}

#[cfg(feature = "recoverable")]
impl Sealer {
    /// Computes a check value of each recovery key.
    pub(in crate::store) fn checks(&self) -> Vec<RecoveryKeyCheck> {
        self.keys.as_ref().map(RecoveryKeys::checks).unwrap_or_default()
    }

    /// Finds a recovery key that the database knows otherwise.
    pub(in crate::store) fn mismatch(&self, known: &[RecoveryKeyCheck]) -> Option<Mismatch> {
        self.keys.as_ref()?.mismatch(known)
    }

    pub(in crate::store::manage) fn has_recovery_key(&self) -> bool {
        self.keys.is_some()
    }

    pub(in crate::store::manage) fn seal(
        &self,
        random: &mut dyn RandomSource,
        token: &Token,
        id: KeyId,
        generation: Generation,
    ) -> Result<Option<Seal>, Error> {
        match &self.keys {
            Some(keys) => Ok(Some(crate::token::seal(keys, random, token, id, generation)?)),
            None => Err(Error::State(StateProblem::RecoveryOff)),
        }
    }

    /// Opens the seal of a key's current token; `None` if the token isn't recoverable.
    pub(in crate::store::manage) fn unseal(&self, key: &KeyRecord) -> Result<Option<Token>, Error> {
        let Some(seal) = &key.seal else { return Ok(None) };
        let keys = self.keys.as_ref();
        let keys = keys.ok_or(Error::State(StateProblem::RecoveryOff))?;
        let token = crate::token::unseal(keys, seal, key.id, key.current.generation);
        token.map(Some).map_err(|error| Error::Seal(error.to_string()))
    }
}

#[cfg(not(feature = "recoverable"))]
impl Sealer {
    #[allow(clippy::unused_self)]
    pub(in crate::store) fn checks(&self) -> Vec<RecoveryKeyCheck> {
        Vec::new()
    }

    #[allow(clippy::unused_self)]
    pub(in crate::store) fn mismatch(&self, _known: &[RecoveryKeyCheck]) -> Option<Mismatch> {
        None
    }

    #[allow(clippy::unused_self)]
    pub(in crate::store::manage) fn has_recovery_key(&self) -> bool {
        false
    }

    #[allow(clippy::unused_self)]
    pub(in crate::store::manage) fn seal(
        &self,
        _random: &mut dyn RandomSource,
        _token: &Token,
        _id: KeyId,
        _generation: Generation,
    ) -> Result<Option<Seal>, Error> {
        Err(Error::State(StateProblem::RecoveryOff))
    }

    #[allow(clippy::unused_self)]
    pub(in crate::store::manage) fn unseal(&self, key: &KeyRecord) -> Result<Option<Token>, Error> {
        match key.seal {
            Some(_) => Err(Error::State(StateProblem::RecoveryOff)),
            None => Ok(None),
        }
    }
}
