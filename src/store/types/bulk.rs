//! The size of a piece of a bulk call.

/// Largest number of changes in one piece, which is one durable write. Other callers wait for one piece
/// at most.
pub(in crate::store) const PIECE: usize = 64;
