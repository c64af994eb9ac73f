//! The check of a whole database, and what a repair has done.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use serde::Serialize;

use super::damage::{Damage, DamagedRecord};
use super::{
    Backend, BackendError, BackendErrorKind, EventFilter, EventQuery, KeyFilter, KeyPageQuery,
    OwnerPageQuery, Scanned, StateSet, UsageSubject,
};
use crate::clock::Timestamp;
use crate::key::Limits;

/// The number of records that one read shows.
const AT_ONCE: usize = 512;

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

/// What a repair has done. Faults that others cause or mend meanwhile may be in neither list.
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

    fn record(&mut self, damage: Damage) {
        self.add(Finding::Record(damage));
    }

    /// Takes in the error of a read, if it is about damage.
    fn failed(&mut self, error: &BackendError) -> Result<(), BackendError> {
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

/// Lists the faults that the reads of a backend show.
pub(super) fn by_reading<B: Backend + ?Sized>(backend: &B) -> Result<Findings, BackendError> {
    let mut findings = Findings::default();
    let parts = [metadata, owners, keys, scan, events];
    for part in parts {
        if let Err(error) = part(backend, &mut findings) {
            findings.failed(&error)?;
        }
    }
    Ok(findings)
}

type Checked = Result<(), BackendError>;

fn metadata<B: Backend + ?Sized>(backend: &B, _: &mut Findings) -> Checked {
    backend.metadata().map(drop)
}

fn owners<B: Backend + ?Sized>(backend: &B, findings: &mut Findings) -> Checked {
    let mut query =
        OwnerPageQuery { after: None, suspended: None, limit: AT_ONCE, examine: AT_ONCE };
    loop {
        let page = backend.page_owners(&query)?;
        page.damaged.into_iter().for_each(|damage| findings.record(damage));
        let of = page.owners.iter().map(|owner| (UsageSubject::Owner(owner.id), &owner.limits));
        usage(backend, findings, of)?;
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

fn keys<B: Backend + ?Sized>(backend: &B, findings: &mut Findings) -> Checked {
    let filter = KeyFilter::new(StateSet::ALL, Timestamp::MIN);
    let mut query =
        KeyPageQuery { filter, before: None, after: None, limit: AT_ONCE, examine: AT_ONCE };
    loop {
        let page = backend.page_keys(&query)?;
        page.damaged.into_iter().for_each(|row| findings.record(row.damage));
        let of = page.keys.iter().map(|key| (UsageSubject::Key(key.id), &key.limits));
        usage(backend, findings, of)?;
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(()),
        }
    }
}

/// Each quota has a state.
fn usage<'a, B: Backend + ?Sized>(
    backend: &B,
    findings: &mut Findings,
    of: impl Iterator<Item = (UsageSubject, &'a Limits)>,
) -> Checked {
    let (subjects, limits): (Vec<_>, Vec<_>) = of.unzip();
    let all = backend.usage(&subjects).ok();
    for (at, (subject, limits)) in subjects.iter().zip(limits).enumerate() {
        let usage = match &all {
            Some(usages) => usages.get(at).copied().unwrap_or_default(),
            None => match backend.usage(std::slice::from_ref(subject)) {
                Ok(mut usage) => usage.pop().unwrap_or_default(),
                Err(error) => {
                    match error.damage() {
                        Some(damage) => findings.add(Finding::Usage(damage.clone())),
                        None => findings.failed(&error)?,
                    }
                    continue;
                }
            },
        };
        if limits.quota.is_some_and(|quota| quota.value.has_lost(usage.quota)) {
            findings.add(Finding::Usage(Damage::lost_quota(subject)));
        }
    }
    Ok(())
}

fn scan<B: Backend + ?Sized>(backend: &B, findings: &mut Findings) -> Checked {
    let visit = &mut |scanned| {
        if let Scanned::Damaged(row) = scanned {
            findings.record(row.damage);
        }
    };
    backend.scan(visit).map(drop)
}

/// Events have numbers without a gap.
fn events<B: Backend + ?Sized>(backend: &B, findings: &mut Findings) -> Checked {
    let filter = EventFilter::default();
    let mut query = EventQuery { after: 0, filter, limit: AT_ONCE, examine: AT_ONCE };
    let lost = |number| Damage::new("events", "sequence", DamagedRecord::Event(number));
    let mut seen = 0;
    loop {
        let page = backend.events(&query)?;
        let damaged = |number: &u64| Damage::new("events", "record", DamagedRecord::Event(*number));
        page.damaged.iter().map(damaged).for_each(|damage| findings.record(damage));
        let mut numbers: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
        numbers.extend(page.damaged);
        numbers.sort_unstable();
        seen = seen.max(page.pruned_through);
        for number in numbers {
            (seen + 1..number).map(lost).for_each(|damage| findings.record(damage));
            seen = number;
        }
        match page.next {
            Some(next) => query.after = next,
            None => break,
        }
    }
    (seen + 1..=backend.last_event()?).map(lost).for_each(|damage| findings.record(damage));
    Ok(())
}
