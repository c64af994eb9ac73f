//! Peppers: the secrets under which tokens are hashed.

use super::numbered::{Mismatch, check_added, mismatch};
use crate::invalid::{Invalid, Problem};
use crate::key::{PepperCheck, PepperNumber};
use crate::secret::Secret;

/// The pepper of a store that was opened without one. It is public, so it protects nothing.
const PUBLIC: [u8; 32] = *b"keyhasp: the public pepper, v. 1";
/// The text whose keyed hash is the check value. No token has its length.
const CHECK_CONTEXT: &[u8] = b"keyhasp pepper check";

/// The peppers that a store is opened with: 1 to 4, of which one is current.
///
/// New tokens are hashed under the current pepper. The others serve the tokens that were issued
/// under them. A pepper is 32 bytes from a cryptographic generator. The service chooses it, and
/// keeps it apart from the database.
///
/// # Security
/// Without a pepper of its own ([`Peppers::public`]), a store can't detect a planted digest: an
/// attacker who can write to the database can store the digest of a token that the attacker made.
/// Tokens carry 250 random bits, so a stolen database reveals no token, with or without a pepper.
#[derive(Debug)]
pub struct Peppers(Vec<(PepperNumber, Secret<32>)>);

impl Peppers {
    /// The greatest number of peppers open at once, 4.
    pub const MAX_OPEN: usize = 4;

    /// Takes the current pepper of the service, with its number, 1 to 65,535.
    ///
    /// # Errors
    /// [`Invalid`] for number 0, which belongs to the public pepper, and for bytes that are no
    /// secret: all zeros, or those of the public pepper.
    pub fn new(number: u16, pepper: [u8; 32]) -> Result<Self, Invalid> {
        // Capacity for all peppers: a growing vector would leave unwiped copies behind.
        Self(Vec::with_capacity(Self::MAX_OPEN)).and(number, pepper)
    }

    /// Takes the fixed public pepper alone.
    #[must_use]
    pub fn public() -> Self {
        Self(vec![(PepperNumber::PUBLIC, Secret::new(PUBLIC))])
    }

    /// Adds a pepper, for tokens that were issued under it.
    ///
    /// # Errors
    /// [`Invalid`] as [`new`](Self::new), for a number or a pepper given twice, or for a fifth
    /// pepper.
    pub fn and(self, number: u16, pepper: [u8; 32]) -> Result<Self, Invalid> {
        if number == PepperNumber::PUBLIC.get() {
            let problem = Problem::OutOfRange { given: 0, min: 1, max: u16::MAX.into(), unit: "" };
            return Err(Invalid::new("pepper", problem));
        }
        if pepper == PUBLIC {
            let expected = "a secret of the service, and not the public pepper";
            return Err(Invalid::new("pepper", Problem::Malformed { expected }));
        }
        self.push(PepperNumber::new(number), Secret::new(pepper))
    }

    /// Adds the public pepper, for tokens that were issued before the store had one of its own.
    ///
    /// # Errors
    /// [`Invalid`] if it was added before, or as a fifth pepper.
    pub fn and_public(self) -> Result<Self, Invalid> {
        self.push(PepperNumber::PUBLIC, Secret::new(PUBLIC))
    }

    fn push(mut self, number: PepperNumber, pepper: Secret<32>) -> Result<Self, Invalid> {
        let before = self.0.iter().map(|(number, pepper)| (number.get(), pepper));
        check_added("pepper", before, number.get(), &pepper)?;
        if self.0.len() == Self::MAX_OPEN {
            let (given, limit) = (self.0.len() + 1, Self::MAX_OPEN);
            return Err(Invalid::new("peppers", Problem::TooMany { given, limit }));
        }
        self.0.push((number, pepper));
        Ok(self)
    }

    /// Returns the open peppers, the current one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PepperNumber, &Secret<32>)> {
        self.0.iter().map(|(number, pepper)| (*number, pepper))
    }

    /// Returns the pepper under which new tokens are hashed.
    pub(crate) fn current(&self) -> (PepperNumber, &Secret<32>) {
        let (number, pepper) = &self.0[0];
        (*number, pepper)
    }

    /// Returns the pepper at a position, 0 to 3.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> Option<&Secret<32>> {
        self.0.get(position).map(|(_, pepper)| pepper)
    }

    /// Computes a check value of each pepper. The store keeps them to detect a wrong pepper.
    pub(crate) fn checks(&self) -> Vec<PepperCheck> {
        self.iter().map(|(number, pepper)| check_of(pepper, number)).collect()
    }

    /// Finds an open pepper that the database knows otherwise.
    pub(crate) fn mismatch(&self, known: &[PepperCheck]) -> Option<Mismatch> {
        let known: Vec<_> = known.iter().map(|check| (check.number.get(), check.value)).collect();
        let given = self.0.iter().map(|(number, pepper)| (number.get(), pepper));
        mismatch(given, &known, |pepper, number| check_of(pepper, PepperNumber::new(number)).value)
    }
}

/// Computes the check value of a pepper under a number.
fn check_of(pepper: &Secret<32>, number: PepperNumber) -> PepperCheck {
    let mut hasher = blake3::Hasher::new_keyed(pepper.expose());
    hasher.update(CHECK_CONTEXT).update(&number.get().to_be_bytes());
    let mut value = [0; 16];
    hasher.finalize_xof().fill(&mut value);
    PepperCheck { number, value, retired: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners() {
        assert!(Peppers::new(0, [1; 32]).is_err());
        let two = Peppers::new(1, [1; 32]).unwrap().and(2, [2; 32]).unwrap();
        assert_eq!(two.iter().next().unwrap().0.get(), 1);
        assert_eq!(two.iter().nth(1).unwrap().0.get(), 2);
        let four = two.and(3, [3; 32]).unwrap().and_public().unwrap();
        assert!(four.and(4, [4; 32]).is_err());
        assert!(Peppers::new(1, [1; 32]).unwrap().and(1, [2; 32]).is_err());
        assert!(Peppers::public().and_public().is_err());
    }

    #[test]
    fn bytes_that_are_no_secret_of_their_own_number_are_refused() {
        let one = || Peppers::new(1, [1; 32]).unwrap();
        for refused in [Peppers::new(1, [0; 32]), one().and(2, [0; 32])] {
            let error = refused.unwrap_err();
            assert!(matches!(error.problem(), Problem::Malformed { .. }), "{error}");
        }
        for refused in [Peppers::new(1, PUBLIC), one().and(2, PUBLIC)] {
            let error = refused.unwrap_err();
            assert!(matches!(error.problem(), Problem::Malformed { .. }), "{error}");
        }
        let error = one().and(2, [1; 32]).unwrap_err();
        assert_eq!(error.problem(), &Problem::SameSecret { numbers: [1, 2] });
        assert_eq!(error.to_string(), "pepper: the same secret is given as number 1 and as 2");
        assert!(one().and_public().is_ok());
    }

    #[test]
    fn a_pepper_is_found_under_another_number() {
        let stored = Peppers::new(1, [1; 32]).unwrap().and(2, [2; 32]).unwrap().checks();
        let found = |peppers: Peppers| peppers.mismatch(&stored);
        let known_as = |number, known_as| Some(Mismatch::KnownAs { number, known_as });
        assert_eq!(found(Peppers::new(1, [1; 32]).unwrap()), None);
        assert_eq!(found(Peppers::new(3, [3; 32]).unwrap()), None);
        let three = Peppers::new(3, [3; 32]).unwrap().and(4, [2; 32]).unwrap();
        assert_eq!(found(three), known_as(4, 2));
        // Another secret under a known number is said first.
        let wrong = Some(Mismatch::Wrong { number: 2 });
        assert_eq!(found(Peppers::new(2, [1; 32]).unwrap()), wrong);
        let both = Peppers::new(5, [1; 32]).unwrap().and(2, [9; 32]).unwrap();
        assert_eq!(found(both), wrong);
    }

    #[test]
    fn check_values_tell_peppers_and_numbers_apart() {
        let check = |number, pepper| Peppers::new(number, pepper).unwrap().checks().remove(0).value;
        assert_eq!(check(1, [1; 32]), check(1, [1; 32]));
        assert_ne!(check(1, [1; 32]), check(1, [2; 32]));
        assert_ne!(check(1, [1; 32]), check(2, [1; 32]));
    }

    #[test]
    fn debug_shows_no_pepper() {
        let shown = format!("{:?}", Peppers::new(1, [0xab; 32]).unwrap());
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }
}
