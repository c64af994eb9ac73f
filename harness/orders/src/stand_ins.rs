//! What the sources need of their neighbours, where it has no part in any order.

/// Hints are not heard.
pub mod hints {
    /// Nothing.
    pub fn prefetch<T>(_: &T) {}

    /// Nothing.
    pub fn prefer_huge_pages<T>(_: &mut Vec<T>) {}
}

/// Limits of an entry.
pub mod entry {
    /// How many sets there may be.
    pub const MAX_SET: u32 = 1 << 16;
}
