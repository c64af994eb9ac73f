//! Tokens that can be shown again.

use super::core::Core;
use super::error::Error;
use crate::id::{Generation, KeyId};
use crate::key::{KeyRecord, Seal};
use crate::token::{RandomSource, Token};

#[cfg(feature = "sealed")]
impl Core {
    pub(super) fn has_sealing_key(&self) -> bool {
        self.sealing_keys.is_some()
    }

    pub(super) fn seal(
        &self,
        random: &mut dyn RandomSource,
        token: &Token,
        id: KeyId,
        generation: Generation,
    ) -> Result<Option<Seal>, Error> {
        match &self.sealing_keys {
            Some(keys) => Ok(Some(crate::token::seal(keys, random, token, id, generation)?)),
            None => Err(Error::State(super::error::StateProblem::SealingOff)),
        }
    }

    /// A key's current token, if it is sealed.
    pub(super) fn unseal(&self, key: &KeyRecord) -> Result<Option<Token>, Error> {
        let Some(seal) = &key.seal else { return Ok(None) };
        let keys = self.sealing_keys.as_ref();
        let keys = keys.ok_or(Error::State(super::error::StateProblem::SealingOff))?;
        let opened = crate::token::unseal(keys, seal, key.id, key.current.generation);
        opened.map(Some).map_err(|error| Error::Seal(error.to_string()))
    }
}

#[cfg(not(feature = "sealed"))]
impl Core {
    #[allow(clippy::unused_self)]
    pub(super) fn has_sealing_key(&self) -> bool {
        false
    }

    #[allow(clippy::unused_self)]
    pub(super) fn seal(
        &self,
        _random: &mut dyn RandomSource,
        _token: &Token,
        _id: KeyId,
        _generation: Generation,
    ) -> Result<Option<Seal>, Error> {
        Err(Error::State(super::error::StateProblem::SealingOff))
    }

    #[allow(clippy::unused_self)]
    pub(super) fn unseal(&self, key: &KeyRecord) -> Result<Option<Token>, Error> {
        match key.seal {
            Some(_) => Err(Error::State(super::error::StateProblem::SealingOff)),
            None => Ok(None),
        }
    }
}
