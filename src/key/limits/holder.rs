//! Whose a limit is.

/// The holder of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitHolder {
    /// The key: the limit counts its uses.
    Key,
    /// The key's owner: the limit counts the uses of all its keys together.
    Owner,
}

impl LimitHolder {
    /// Both, in the order in which a verification judges by their limits.
    pub(crate) const BOTH: [Self; 2] = [Self::Key, Self::Owner];
}
