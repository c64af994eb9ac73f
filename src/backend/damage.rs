//! Damaged rows: records that can't be what was written.

use std::fmt;

use serde::{Serialize, Serializer};

use super::UsageSubject;
use crate::id::{KeyId, OwnerId};
use crate::key::{Digest, Quarantine};

/// The record that a damaged row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamagedRecord {
    /// An event, by its number.
    Event(u64),
    /// A key.
    Key(KeyId),
    /// An owner.
    Owner(OwnerId),
    /// The record of a request that takes effect once.
    Request,
    /// A record whose id can't be read.
    Unknown,
}

/// The place of damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The table or tree.
    pub table: &'static str,
    /// The column in which the damage showed. It is the checksum's if each value alone could be
    /// right.
    pub column: &'static str,
    /// The record.
    pub record: DamagedRecord,
}

/// A damaged key or owner, and what can be read of it.
#[derive(Clone, Debug)]
pub struct DamagedRow {
    /// The place of the damage.
    pub damage: Damage,
    /// The digests of the key's tokens, as far as they can be read. They prove nothing by
    /// themselves: a token that hashes to one of them is the key's.
    pub digests: Vec<Digest>,
    /// The entry that lies over the key's record.
    pub quarantine: Option<Box<Quarantine>>,
}

impl Damage {
    /// Damage in this place.
    #[must_use]
    pub const fn new(table: &'static str, column: &'static str, record: DamagedRecord) -> Self {
        Self { table, column, record }
    }
}

impl Damage {
    /// The state of a quota is lost.
    pub(crate) fn lost_quota(of: &UsageSubject) -> Self {
        let record = match of {
            UsageSubject::Key(id) => DamagedRecord::Key(*id),
            UsageSubject::Owner(id) => DamagedRecord::Owner(*id),
        };
        Self::new("usage", "quota", record)
    }
}

impl DamagedRow {
    /// Damage of which nothing more is known.
    #[must_use]
    pub const fn new(damage: Damage) -> Self {
        Self { damage, digests: Vec::new(), quarantine: None }
    }

    /// Returns whether an entry that lies over the record revokes the key.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.quarantine.as_ref().is_some_and(|entry| entry.revoked.is_some())
    }

    /// Returns the id of the key, if it is one and the id can be read.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self.damage.record {
            DamagedRecord::Key(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for DamagedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(number) => write!(f, "event {number}"),
            Self::Key(id) => write!(f, "key {id}"),
            Self::Owner(id) => write!(f, "owner {id}"),
            Self::Request => f.write_str("a request that took effect once"),
            Self::Unknown => f.write_str("a record without a readable id"),
        }
    }
}

impl Serialize for DamagedRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, column, record } = self;
        match (*table, record) {
            (QUARANTINE, DamagedRecord::Key(id)) => write!(
                f,
                "{table}.{column} of key {id}: a quarantine entry lies over the key's record; an \
                 administrator may purge the key"
            ),
            _ => write!(
                f,
                "{table}.{column} of {record}: likely a row that was edited by hand, otherwise a \
                 fault of the disk"
            ),
        }
    }
}

impl std::error::Error for Damage {}

/// The table of quarantine entries.
pub(crate) const QUARANTINE: &str = "quarantine";

/// The damage that a key under quarantine shows, whatever its record is like.
pub(crate) const fn quarantined(id: KeyId) -> Damage {
    Damage::new(QUARANTINE, "id", DamagedRecord::Key(id))
}
