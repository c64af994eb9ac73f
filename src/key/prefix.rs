//! The prefix of a token.

use std::fmt;
use std::str::FromStr;

use crate::invalid::{Invalid, Problem};
use crate::serial::as_text;
use crate::text::StoredText;

/// The prefix of a service's tokens: 1 to 32 characters of a-z, 0-9 and `_`, such as
/// `acme_live`. A plain value, so that it can lie in a verified key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl Prefix {
    /// The greatest length, in characters.
    pub const MAX_LEN: usize = 32;

    /// Takes a prefix.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, too long, or holds another character.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, Invalid> {
        let prefix = prefix.as_ref();
        if prefix.is_empty() {
            return Err(Invalid::new("prefix", Problem::Empty));
        }
        if prefix.len() > Self::MAX_LEN {
            let (given, limit) = (prefix.len(), Self::MAX_LEN);
            return Err(Invalid::new("prefix", Problem::TooLong { given, limit }));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if let Some(position) = prefix.bytes().position(|b| !allowed(b)) {
            let problem = Problem::Character { position, allowed: "a-z, 0-9 and `_`" };
            return Err(Invalid::new("prefix", problem));
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..prefix.len()].copy_from_slice(prefix.as_bytes());
        // At most 32, as checked.
        #[allow(clippy::cast_possible_truncation)]
        Ok(Self { bytes, len: prefix.len() as u8 })
    }

    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII, as checked.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The prefix's bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl StoredText for Prefix {
    fn stored_text(&self) -> &str {
        self.as_str()
    }

    fn from_stored_text(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

impl FromStr for Prefix {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

as_text!(Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners() {
        for good in ["a", "_", "acme_live", "0", &"x".repeat(32)] {
            assert_eq!(Prefix::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "a-b", "a b", "é", &"x".repeat(33)] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
    }
}
