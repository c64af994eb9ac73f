//! Stand-ins for neighbours of the sources that have no part in any order.

/// Hints that do nothing.
pub mod hints {
    /// Does nothing.
    pub fn prefetch<T>(_: &T) {}

    /// Does nothing.
    pub fn prefer_huge_pages<T>(_: &mut Vec<T>) {}
}

/// Limits of an entry.
pub mod entry {
    /// The greatest number of a permission set.
    pub const MAX_SET: u32 = 1 << 16;
}
