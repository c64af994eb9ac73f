//! Recoverable tokens: tokens that the store also keeps encrypted, for services whose clients must
//! read them again.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroize;

use super::mint::{RandomError, RandomSource, Token, fill};
use super::numbered::{Mismatch, check_added, mismatch};
use crate::id::{Generation, KeyId};
use crate::invalid::{Invalid, Problem};
use crate::key::{RecoveryKeyCheck, Seal};
use crate::secret::Secret;

/// The context in which the check value is derived.
const CHECK_CONTEXT: &str = "keyhasp recovery key check v1";

/// The keys that encrypt recoverable tokens (XChaCha20-Poly1305). The service gives 1 to 16 keys of
/// 32 bytes, numbered from 1 to 65,535, of which one is current. Keep them apart from the database:
/// with both, an attacker can read every recoverable token.
#[derive(Debug)]
pub struct RecoveryKeys(Vec<(u16, Secret<32>)>);

/// The error of decrypting a recoverable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the store was opened without recovery key {0}; open it with that key too")]
    KeyMissing(u16),
    #[error(
        "recovery key {0} does not decrypt it; open the store with the key that was used under \
         this number, or rotate the key"
    )]
    DoesNotOpen(u16),
}

impl RecoveryKeys {
    /// The greatest number of recovery keys open at once, 16.
    pub const MAX_OPEN: usize = 16;

    /// Takes the current key, with its number.
    ///
    /// # Errors
    /// [`Invalid`] for number 0, and for a key of zeros.
    pub fn new(number: u16, key: [u8; 32]) -> Result<Self, Invalid> {
        // Capacity for all keys: a growing vector would leave unwiped copies behind.
        Self(Vec::with_capacity(Self::MAX_OPEN)).and(number, key)
    }

    /// Adds a key, for tokens that were encrypted under it.
    ///
    /// # Errors
    /// [`Invalid`] for number 0, a key of zeros, a number or a key given twice, or a seventeenth
    /// key.
    pub fn and(mut self, number: u16, key: [u8; 32]) -> Result<Self, Invalid> {
        if number == 0 {
            let problem = Problem::OutOfRange { given: 0, min: 1, max: u16::MAX.into(), unit: "" };
            return Err(Invalid::new("recovery key", problem));
        }
        let key = Secret::new(key);
        let before = self.0.iter().map(|(number, key)| (*number, key));
        check_added("recovery key", before, number, &key)?;
        if self.0.len() == Self::MAX_OPEN {
            let (given, limit) = (self.0.len() + 1, Self::MAX_OPEN);
            return Err(Invalid::new("recovery keys", Problem::TooMany { given, limit }));
        }
        self.0.push((number, key));
        Ok(self)
    }

    /// Computes a check value of each key. The store keeps them to detect a wrong key.
    pub(crate) fn checks(&self) -> Vec<RecoveryKeyCheck> {
        let check = |(number, key): &(u16, Secret<32>)| RecoveryKeyCheck {
            number: *number,
            value: check_of(key, *number),
        };
        self.0.iter().map(check).collect()
    }

    /// Finds an open key that the database knows otherwise.
    pub(crate) fn mismatch(&self, known: &[RecoveryKeyCheck]) -> Option<Mismatch> {
        let known: Vec<_> = known.iter().map(|check| (check.number, check.value)).collect();
        mismatch(self.0.iter().map(|(number, key)| (*number, key)), &known, check_of)
    }

    fn cipher(&self, number: u16) -> Result<XChaCha20Poly1305, SealError> {
        let (_, key) =
            self.0.iter().find(|(n, _)| *n == number).ok_or(SealError::KeyMissing(number))?;
        Ok(XChaCha20Poly1305::new(Key::cast_from_core(key.expose())))
    }
}

/// Computes the check value of a recovery key under a number. It is derived by a context of its own,
/// so that it is no output of the cipher.
fn check_of(key: &Secret<32>, number: u16) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(key.expose()).update(&number.to_be_bytes());
    let mut value = [0; 16];
    hasher.finalize_xof().fill(&mut value);
    value
}

/// Encrypts a token under the current key. The associated data bind the seal to this recovery key's
/// number, the key's id and the generation.
pub(crate) fn seal(
    keys: &RecoveryKeys,
    random: &mut dyn RandomSource,
    token: &Token,
    id: KeyId,
    generation: Generation,
) -> Result<Seal, RandomError> {
    let nonce: [u8; 24] = fill(random)?;
    let key_number = keys.0.first().map_or(0, |(number, _)| *number);
    let aad = associated_data(key_number, id, generation);
    let payload = Payload { msg: token.expose().as_bytes(), aad: &aad };
    // Encryption fails for a message of 256 GiB or without any key. Then the ciphertext is empty,
    // and never decrypts.
    let ciphertext = keys
        .cipher(key_number)
        .ok()
        .and_then(|cipher| cipher.encrypt(&XNonce::from(nonce), payload).ok())
        .unwrap_or_default();
    Ok(Seal { key_number, nonce, ciphertext: ciphertext.into_boxed_slice() })
}

/// Decrypts a seal.
pub(crate) fn unseal(
    keys: &RecoveryKeys,
    seal: &Seal,
    id: KeyId,
    generation: Generation,
) -> Result<Token, SealError> {
    let does_not_open = SealError::DoesNotOpen(seal.key_number);
    let aad = associated_data(seal.key_number, id, generation);
    let payload = Payload { msg: &seal.ciphertext, aad: &aad };
    let plain = keys
        .cipher(seal.key_number)?
        .decrypt(&XNonce::from(seal.nonce), payload)
        .map_err(|_| does_not_open)?;
    String::from_utf8(plain).map(Token::from_text).map_err(|error| {
        error.into_bytes().zeroize();
        does_not_open
    })
}

fn associated_data(number: u16, id: KeyId, generation: Generation) -> [u8; 22] {
    let mut data = [0; 22];
    data[..2].copy_from_slice(&number.to_be_bytes());
    data[2..18].copy_from_slice(&id.to_bytes());
    data[18..].copy_from_slice(&generation.get().to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const ID: KeyId = KeyId::from_u128(9);

    #[test]
    fn opens_for_its_own_key_id_and_generation_alone() {
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let keys = RecoveryKeys::new(1, [1; 32]).unwrap();
        let token = Token::from_text("acme_token".into());
        let first = Generation::FIRST;
        let sealed = seal(&keys, &mut random, &token, ID, first).unwrap();
        assert_eq!(unseal(&keys, &sealed, ID, first).unwrap().expose(), "acme_token");

        let refused = SealError::DoesNotOpen(1);
        let second = first.next().unwrap();
        assert_eq!(unseal(&keys, &sealed, ID, second).unwrap_err(), refused);
        assert_eq!(unseal(&keys, &sealed, KeyId::from_u128(8), first).unwrap_err(), refused);
        let other = RecoveryKeys::new(1, [2; 32]).unwrap();
        assert_eq!(unseal(&other, &sealed, ID, first).unwrap_err(), refused);
        let newer = RecoveryKeys::new(2, [3; 32]).unwrap();
        assert_eq!(unseal(&newer, &sealed, ID, first).unwrap_err(), SealError::KeyMissing(1));
        let both = newer.and(1, [1; 32]).unwrap();
        assert!(unseal(&both, &sealed, ID, first).is_ok());
        for at in 0..sealed.ciphertext.len() {
            let mut damaged = sealed.clone();
            damaged.ciphertext[at] ^= 1;
            assert_eq!(unseal(&keys, &damaged, ID, first).unwrap_err(), refused);
        }
        assert!(!format!("{sealed:?}{keys:?}").contains("acme"));
    }

    #[test]
    fn check_values_tell_keys_and_numbers_apart() {
        let keys = |number, key| RecoveryKeys::new(number, key).unwrap();
        let stored = keys(1, [1; 32]).and(2, [2; 32]).unwrap().checks();
        assert_eq!(keys(1, [1; 32]).mismatch(&stored), None);
        assert_eq!(keys(3, [3; 32]).mismatch(&stored), None);
        let wrong = Some(Mismatch::Wrong { number: 1 });
        assert_eq!(keys(1, [3; 32]).mismatch(&stored), wrong);
        let known_as = Some(Mismatch::KnownAs { number: 3, known_as: 2 });
        assert_eq!(keys(3, [2; 32]).mismatch(&stored), known_as);
        assert_ne!(stored[0].value, keys(2, [1; 32]).checks()[0].value);
        let shown = format!("{:?}", stored[0]);
        assert_eq!(shown, "RecoveryKeyCheck { number: 1, .. }");
    }

    #[test]
    fn corners() {
        assert!(RecoveryKeys::new(0, [1; 32]).is_err());
        assert!(RecoveryKeys::new(1, [1; 32]).unwrap().and(1, [2; 32]).is_err());
        assert!(RecoveryKeys::new(1, [0; 32]).is_err());
        let error = RecoveryKeys::new(1, [1; 32]).unwrap().and(2, [1; 32]).unwrap_err();
        assert_eq!(error.problem(), &Problem::SameSecret { numbers: [1, 2] });
    }
}
