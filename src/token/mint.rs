//! The making of tokens.

use std::fmt;

use rand_core::TryCryptoRng;
use zeroize::Zeroize;

use super::digest::digest;
use super::format::{self, ALPHABET, MAX_TOKEN_LEN, SECRET_LEN, TAIL_LEN};
use crate::id::KeyId;
use crate::key::{Digest, PepperNumber, Prefix, PrefixNumber, Scheme};
use crate::secret::{Secret, SecretText};

/// A token in plaintext, shown once. It can't be cloned, compared, printed or serialized, and is
/// wiped on drop.
#[derive(Debug)]
pub struct Token(SecretText);

impl Token {
    pub(super) fn from_text(text: String) -> Self {
        Self(SecretText::new(text))
    }

    /// Returns the text for the client. It is the only way to read it: a reviewer can search for
    /// this name.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The error of a source of randomness. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed, nothing was made: {message}")]
pub struct RandomError {
    message: String,
}

impl RandomError {
    /// Reports a source that repeats its bytes, so that they can't be random.
    pub(crate) fn repeats_itself() -> Self {
        Self { message: "it repeats its bytes".into() }
    }
}

/// A source of randomness. Every [`TryCryptoRng`] is one.
pub trait RandomSource: Send {
    /// Fills all of `bytes`, or fails.
    ///
    /// # Errors
    /// [`RandomError`] with the message of the source.
    fn try_fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: TryCryptoRng + Send> RandomSource for R {
    fn try_fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.try_fill_bytes(bytes).map_err(|error| RandomError { message: error.to_string() })
    }
}

impl fmt::Debug for dyn RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSource")
    }
}

/// Draws `N` random bytes.
pub(crate) fn fill<const N: usize>(random: &mut dyn RandomSource) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.try_fill(&mut bytes)?;
    Ok(bytes)
}

/// Makes a token of a key, and the digest that is stored for it.
pub(crate) fn mint(
    random: &mut dyn RandomSource,
    id: KeyId,
    (prefix, prefix_number): (&Prefix, PrefixNumber),
    (pepper_number, pepper): (PepperNumber, &Secret<32>),
) -> Result<(Token, Digest), RandomError> {
    let secret = draw_secret(random)?;
    // The capacity holds any token: a growing string would leave an unwiped copy behind.
    let mut text = String::with_capacity(MAX_TOKEN_LEN);
    format::write(prefix, id, secret.expose(), &mut text);
    let token = Token::from_text(text);
    let mut tail = Secret::new([0; TAIL_LEN]);
    let bytes = token.expose().as_bytes();
    tail.expose_mut().copy_from_slice(&bytes[bytes.len() - TAIL_LEN..]);
    let bytes = digest(pepper, id, tail.expose());
    Ok((token, Digest::new(bytes, Scheme::Blake3Keyed64, pepper_number, prefix_number)))
}

/// Draws characters of base62, each equally likely. A byte of 248 or above is drawn again, since
/// 248 is the greatest multiple of 62 that a byte can hold.
fn draw_secret(random: &mut dyn RandomSource) -> Result<Secret<SECRET_LEN>, RandomError> {
    /// The limit of draws. A working source needs more than two once in millions of tokens.
    const MAX_DRAWS: usize = 128;
    const LIMIT: u8 = (256 / ALPHABET.len() * ALPHABET.len()) as u8;
    let mut secret = Secret::new([0; SECRET_LEN]);
    let mut drawn = [0_u8; 48];
    let mut filled = 0;
    for _ in 0..MAX_DRAWS {
        random.try_fill(&mut drawn)?;
        let wanted = secret.expose_mut()[filled..].iter_mut();
        for (character, byte) in wanted.zip(drawn.iter().filter(|byte| **byte < LIMIT)) {
            *character = ALPHABET[usize::from(*byte) % ALPHABET.len()];
            filled += 1;
        }
        if filled == SECRET_LEN {
            drawn.zeroize();
            return Ok(secret);
        }
    }
    Err(RandomError::repeats_itself())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::token::{Inspection, Peppers, Unverified, inspect};

    struct Failing;

    impl RandomSource for Failing {
        fn try_fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError { message: "no entropy".into() })
        }
    }

    fn mint_one(random: &mut dyn RandomSource) -> Result<(Token, Digest), RandomError> {
        let peppers = Peppers::public();
        let pepper = peppers.iter().next().unwrap();
        let prefix = Prefix::new("acme").unwrap();
        let number = PrefixNumber::new(0).unwrap();
        mint(random, KeyId::from_u128(7), (&prefix, number), pepper)
    }

    #[test]
    fn a_minted_token_is_well_formed_and_has_its_digest() {
        let (token, digest) = mint_one(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let text = token.expose().as_bytes();
        assert!(matches!(inspect(text), Inspection::WellFormed { id, .. } if id.as_u128() == 7));
        let again = Unverified::parse(text).unwrap().digest(Peppers::public().at(0).unwrap());
        assert!(constant_time_eq::constant_time_eq_32(&again, digest.expose()));
        assert!(!format!("{token:?}{digest:?}").contains(&token.expose()[27..40]));
    }

    #[test]
    fn a_failing_source_is_an_error() {
        assert_eq!(mint_one(&mut Failing).unwrap_err().message, "no entropy");
    }

    /// Chi-squared over 62 characters; the seed is fixed, so the answer is too.
    #[test]
    fn each_character_is_equally_likely() {
        let mut random = ChaCha20Rng::seed_from_u64(2);
        let mut counts = [0_u32; 256];
        let tokens = 5_000;
        for _ in 0..tokens {
            let secret = draw_secret(&mut random).unwrap();
            secret.expose().iter().for_each(|c| counts[usize::from(*c)] += 1);
        }
        let expected = f64::from(tokens) * 42.0 / 62.0;
        let chi: f64 = ALPHABET
            .iter()
            .map(|c| (f64::from(counts[usize::from(*c)]) - expected).powi(2) / expected)
            .sum();
        // 61 degrees of freedom: above 118 once in 50,000.
        assert!(chi < 118.0, "{chi}");
        assert_eq!(counts.iter().sum::<u32>(), tokens * 42);
    }

    /// Bytes that must be drawn again are drawn again, however many.
    #[test]
    fn bytes_out_of_range_are_drawn_again() {
        struct Mostly255(u8);
        impl RandomSource for Mostly255 {
            fn try_fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
                bytes.fill(255);
                self.0 = (self.0 + 1) % 248;
                bytes[0] = self.0;
                Ok(())
            }
        }
        let secret = draw_secret(&mut Mostly255(246)).unwrap();
        assert_eq!(&secret.expose()[..3], [ALPHABET[247 % 62], ALPHABET[0], ALPHABET[1]]);
    }
}
