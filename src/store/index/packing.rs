//! Bytes in words: how slots and limit records hold ids and digests.

/// The most bytes of an owner's id that slots and limit records hold themselves.
pub(super) const SHORT_OWNER: usize = 16;

/// An owner's id of at most that length, padded. In words: bytes at an odd place would be copied by
/// loads that each wait for several stores, which adds a tenth to a verification.
pub(in crate::store) type ShortOwner = [u64; SHORT_OWNER / 8];

/// Reads bytes as words in this machine's byte order.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (chunks, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(chunks[at]))
}

/// Reverses [`words`].
#[inline]
pub(super) fn bytes<const N: usize>(words: &[u64]) -> [u8; N] {
    let mut bytes = [0; N];
    for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *chunk = word.to_ne_bytes();
    }
    bytes
}
