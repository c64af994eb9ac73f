//! The number of the stored format, one for every durable backend.

/// The format that this version writes.
pub(super) const FORMAT: u32 = 4;

/// The oldest format that this version reads: the first that was released, and until there is one,
/// the newest.
pub(super) const OLDEST_READ: u32 = FORMAT;
