//! The number of the stored format, one for every durable backend.

/// The format that this version writes.
pub(super) const FORMAT: u32 = 5;

/// The oldest format that this version reads: the first that was released, and until there is one,
/// the oldest that migrates. A record without tags is the same in 4 and 5.
pub(super) const OLDEST_READ: u32 = 4;
