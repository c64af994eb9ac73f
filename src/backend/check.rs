//! The check of a whole database by its reads.

use super::damage::{Damage, DamagedRecord};
use super::finding::{Finding, Findings};
use super::{
    Backend, BackendError, EventFilter, EventQuery, KeyFilter, KeyPageQuery, OwnerPageQuery,
    Scanned, StateSet, UsageSubject,
};
use crate::clock::Timestamp;
use crate::key::Limits;

/// The number of records that one read shows.
const AT_ONCE: usize = 512;

/// Lists the faults that the reads of a backend show: what [`Backend::check`] answers at least.
///
/// # Errors
/// [`BackendError`] if it can't read for another reason than damage.
pub fn check_by_reading<B: Backend + ?Sized>(backend: &B) -> Result<Vec<Finding>, BackendError> {
    Ok(by_reading(backend)?.into_all())
}

/// As [`check_by_reading`], to be added to.
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
    let mut query = OwnerPageQuery::all(AT_ONCE);
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
    let mut query = EventQuery { after: 0, before: None, filter, limit: AT_ONCE, examine: AT_ONCE };
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
