//! The digest of a token.

use std::fmt;

use super::{Field, Sink, Source};
use crate::invalid::{Invalid, Problem};

/// The scheme by which a digest was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// `blake3::keyed_hash(pepper, id ‖ secret ‖ checksum)`: 16, 42 and 6 bytes.
    Blake3Keyed64,
}

impl Scheme {
    /// The number under which it is stored.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Blake3Keyed64 => 1,
        }
    }

    /// The scheme of a stored number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that this version doesn't know.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::Blake3Keyed64),
            _ => Err(Invalid::new(
                "digest scheme",
                Problem::OutOfRange { given: number.into(), min: 1, max: 1, unit: "" },
            )),
        }
    }
}

/// The service's number for a pepper: 1 to 65,535, and 0 for the fixed public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PepperNumber(u16);

impl PepperNumber {
    /// The number of the fixed public pepper.
    pub const PUBLIC: Self = Self(0);

    /// The pepper of this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The store's number for a prefix, given once and for ever: 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixNumber(u8);

impl PrefixNumber {
    /// The number of prefixes that a store can have had.
    pub const LIMIT: u8 = 64;

    /// The prefix of this number.
    ///
    /// # Errors
    /// [`Invalid`] for 64 and above.
    pub fn new(number: u8) -> Result<Self, Invalid> {
        if number < Self::LIMIT {
            return Ok(Self(number));
        }
        let max = u64::from(Self::LIMIT - 1);
        Err(Invalid::new(
            "prefix number",
            Problem::OutOfRange { given: number.into(), min: 0, max, unit: "" },
        ))
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The digest of a token: 32 bytes and how they were made. It is neither compared nor printed.
///
/// `Clone`, because records are; a digest is worth nothing without the token that it was made of.
#[derive(Clone)]
pub struct Digest {
    bytes: [u8; 32],
    /// The scheme by which it was made.
    pub scheme: Scheme,
    /// Under which pepper.
    pub pepper: PepperNumber,
    /// The prefix that the token has.
    pub prefix: PrefixNumber,
}

impl Digest {
    /// A digest of these bytes.
    #[must_use]
    pub fn new(
        bytes: [u8; 32],
        scheme: Scheme,
        pepper: PepperNumber,
        prefix: PrefixNumber,
    ) -> Self {
        Self { bytes, scheme, pepper, prefix }
    }

    /// The bytes, to be stored or compared in constant time: search for this name in a review.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl Field for Scheme {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.number(self.number().into())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.number_as(name, |number| Self::from_number(number.try_into().ok()?).ok())
    }
}

impl Field for PepperNumber {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.number(self.0.into())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.number_as(name, |number| number.try_into().ok().map(Self))
    }
}

impl Field for PrefixNumber {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.number(self.0.into())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.number_as(name, |number| Self::new(number.try_into().ok()?).ok())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest")
            .field("scheme", &self.scheme)
            .field("pepper", &self.pepper)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_bytes() {
        let digest =
            Digest::new([0xab; 32], Scheme::Blake3Keyed64, PepperNumber::PUBLIC, PrefixNumber(0));
        let shown = format!("{digest:?}").to_lowercase();
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn numbers_of_other_versions_are_refused() {
        assert!(Scheme::from_number(0).is_err() && Scheme::from_number(2).is_err());
        assert!(PrefixNumber::new(63).is_ok() && PrefixNumber::new(64).is_err());
    }
}
