//! Counts of an owner's keys.

use super::{KeyRecord, Kind};

/// Counts of an owner's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// All of them, the revoked too.
    pub all: u64,
    /// The unrevoked, the lapsed too.
    pub unrevoked: u64,
    /// The live: neither revoked nor lapsed.
    pub live: u64,
    /// The live of kind standard.
    pub live_standard: u64,
}

impl KeyCounts {
    /// Counts one key.
    #[must_use]
    pub fn of(key: &KeyRecord) -> Self {
        let live = u64::from(key.is_live());
        Self {
            all: 1,
            unrevoked: u64::from(key.revoked.is_none()),
            live,
            live_standard: live * u64::from(key.kind == Kind::Standard),
        }
    }

    /// Counts a key that may be none.
    #[must_use]
    pub fn of_any(key: Option<&KeyRecord>) -> Self {
        key.map_or(Self::default(), Self::of)
    }

    /// These counts and others together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            unrevoked: self.unrevoked + other.unrevoked,
            live: self.live + other.live,
            live_standard: self.live_standard + other.live_standard,
        }
    }

    /// These counts without others; `None` if they have fewer.
    #[must_use]
    pub fn checked_minus(self, other: Self) -> Option<Self> {
        Some(Self {
            all: self.all.checked_sub(other.all)?,
            unrevoked: self.unrevoked.checked_sub(other.unrevoked)?,
            live: self.live.checked_sub(other.live)?,
            live_standard: self.live_standard.checked_sub(other.live_standard)?,
        })
    }

    /// These counts without others; none is less than 0.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_sub(other.all),
            unrevoked: self.unrevoked.saturating_sub(other.unrevoked),
            live: self.live.saturating_sub(other.live),
            live_standard: self.live_standard.saturating_sub(other.live_standard),
        }
    }
}
