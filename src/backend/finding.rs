//! The faults that a check of a whole database finds, and what a repair has done.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use serde::Serialize;

use super::damage::Damage;
#[cfg(any(feature = "sled", feature = "sqlite"))]
use super::damage::DamagedRecord;
use super::error::{BackendError, BackendErrorKind};
#[cfg(any(feature = "sled", feature = "sqlite"))]
use super::usage::UsageSubject;

/// A fault that a check has found, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A record is damaged or lost: a key, an owner, an event, a quarantine entry, a request. A
    /// repair leaves it as it is. A key is out, and stays out until an administrator purges it.
    Record(Damage),
    /// The usage of a key or of an owner is damaged. A repair replaces it: nothing used, and the
    /// quota used up until its next refill.
    Usage(Damage),
    /// An index or a count disagrees with the records from which it follows, or is about none. A
    /// repair makes it again from them.
    Derived(String),
    /// The engine can't make sense of a part of its files, in which records may be lost. A repair
    /// leaves it as it is.
    Structure(String),
}

/// The outcome of a repair. Faults that others cause or mend meanwhile may be in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Repaired {
    /// The faults that it has mended.
    pub mended: Vec<Finding>,
    /// The faults that it has left: only a person can tell what was there.
    pub left: Vec<Finding>,
}

impl Finding {
    /// Returns whether a repair mends such a fault.
    #[must_use]
    pub fn is_mendable(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Derived(_))
    }

    /// The key or owner whose usage is damaged.
    #[cfg(any(feature = "sled", feature = "sqlite"))]
    pub(super) fn usage_of(&self) -> Option<UsageSubject> {
        match self {
            Self::Usage(Damage { record: DamagedRecord::Key(id), .. }) => {
                Some(UsageSubject::Key(*id))
            }
            Self::Usage(Damage { record: DamagedRecord::Owner(id), .. }) => {
                Some(UsageSubject::Owner(*id))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(damage) => damage.fmt(f),
            Self::Usage(Damage { table, column, record }) => write!(
                f,
                "{table}.{column} of {record}: a repair counts its uses from 0, and its quota as used up"
            ),
            Self::Derived(what) => write!(f, "{what}: a repair makes it again from the records"),
            Self::Structure(what) => {
                write!(f, "{what}: put back a backup, or rescue what can be read")
            }
        }
    }
}

impl Repaired {
    /// Tells what became of the faults that were there before a repair.
    #[cfg(any(feature = "sled", feature = "sqlite"))]
    pub(super) fn between(before: Vec<Finding>, after: Vec<Finding>) -> Self {
        let mended = before.into_iter().filter(|finding| !after.contains(finding)).collect();
        Self { mended, left: after }
    }
}

/// Findings, each once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
    known: BTreeSet<String>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        if self.known.insert(finding.to_string()) {
            self.all.push(finding);
        }
    }

    pub(super) fn into_all(self) -> Vec<Finding> {
        self.all
    }

    pub(super) fn record(&mut self, damage: Damage) {
        self.add(Finding::Record(damage));
    }

    /// Takes in the error of a read, if it is about damage.
    pub(super) fn failed(&mut self, error: &BackendError) -> Result<(), BackendError> {
        use BackendErrorKind::{Corrupt, EarlierState};
        match (error.damage(), error.kind()) {
            (Some(damage), _) => self.record(damage.clone()),
            (None, Corrupt | EarlierState) => {
                let source = error.source().map(|source| format!(" ({source})"));
                let (operation, source) = (error.operation(), source.unwrap_or_default());
                self.add(Finding::Structure(format!("{operation} fails{source}")));
            }
            _ => return Err(error.clone()),
        }
        Ok(())
    }
}
