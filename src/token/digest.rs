//! The digest of a presented token.

use super::format::{self, TAIL_LEN};
use crate::id::KeyId;
use crate::secret::Secret;

/// A presented token, split into its parts. Nothing in it has been verified.
pub(crate) struct Unverified<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) id: KeyId,
    tail: &'a [u8; TAIL_LEN],
}

impl<'a> Unverified<'a> {
    /// Checks length, separator and id. Returns `None` if one is malformed.
    #[inline(always)]
    pub(crate) fn parse(token: &'a [u8]) -> Option<Self> {
        let parts = format::parse(token)?;
        Some(Self { prefix: parts.prefix, id: parts.id, tail: parts.tail })
    }

    /// Computes the digest under a pepper.
    #[inline]
    pub(crate) fn digest(&self, pepper: &Secret<32>) -> [u8; 32] {
        digest(pepper, self.id, self.tail)
    }
}

/// Hashes the 16 bytes of the id, the 42 characters of the secret and the 6 of the checksum. These
/// 64 bytes are one BLAKE3 compression.
#[inline]
pub(crate) fn digest(pepper: &Secret<32>, id: KeyId, tail: &[u8; TAIL_LEN]) -> [u8; 32] {
    let mut input = [0; 16 + TAIL_LEN];
    input[..16].copy_from_slice(&id.to_bytes());
    input[16..].copy_from_slice(tail);
    *blake3::keyed_hash(pepper.expose(), &input).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: databases hold such digests. Computed apart from this code, with another BLAKE3.
    #[test]
    fn vector() {
        let token = "acme_02QtLLzD2XsjK4AQTFZkzZ0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefABCDEF";
        let unverified = Unverified::parse(token.as_bytes()).unwrap();
        assert_eq!(unverified.prefix, b"acme");
        let digest = unverified.digest(&Secret::new(*b"whats the Elvish word for friend"));
        let shown: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "b35453c7456b1776654415d23d40540c129863e9749190539cd1f8057877f842");
    }
}
