//! The needs that wait for leases, and the leases that this process has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::key::Lease;
use crate::store::index::DroppedLease;

/// The uses that verifications wait for, by quota. Locked, since verifications add to it while
/// another takes it: without the lock a request could be lost, and its verification would fail.
#[derive(Debug, Default)]
pub(super) struct LeaseQueue(Mutex<BTreeMap<UsageSubject, Needs>>);

/// The uses that the waiting verifications need of one lease: the sum, and the smallest need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) needed: u64,
    pub(super) least: u64,
}

/// The keys and owners whose quotas may have a lease in the index, and the leases that wait to be
/// given back.
#[derive(Debug, Default)]
pub(super) struct LeaseHolders {
    pub(super) held: BTreeMap<UsageSubject, LeaseOrigin>,
    /// The rests of leases that are no longer spent. The next write gives them back.
    pub(super) returns: Vec<(UsageSubject, Lease)>,
    /// Number of holders at which those without a quota are removed.
    sweep_at: usize,
}

/// The quota and the turn of which a lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseOrigin {
    quota_version: Version,
    turn: u64,
}

/// Number of holders below which none is looked for that has no quota any more.
const FEW: usize = 1_000;

impl LeaseQueue {
    /// Adds the uses that a verification needs.
    pub(super) fn add(&self, subject: UsageSubject, needed: u64) {
        let first = Needs { needed: 0, least: needed };
        let mut queued = self.lock();
        let needs = queued.entry(subject).or_insert(first);
        needs.needed += needed;
        needs.least = needs.least.min(needed);
    }

    /// Takes all that is queued.
    pub(super) fn take(&self) -> BTreeMap<UsageSubject, Needs> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UsageSubject, Needs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseOrigin {
    pub(super) fn of(lease: &Lease) -> Self {
        Self { quota_version: lease.quota_version, turn: lease.turn }
    }
}

impl LeaseHolders {
    /// Notes a holder of a lease. Now and then removes the holders that have no quota any more.
    pub(super) fn note(
        &mut self,
        subject: UsageSubject,
        lease: &Lease,
        has_quota: impl Fn(&UsageSubject) -> bool,
    ) {
        self.held.insert(subject, LeaseOrigin::of(lease));
        if self.held.len() < self.sweep_at.max(FEW) {
            return;
        }
        self.held.retain(|subject, _| has_quota(subject));
        self.sweep_at = 2 * self.held.len();
    }

    /// Keeps the rest of a lease for the next write.
    pub(super) fn keep(&mut self, subject: UsageSubject, rest: DroppedLease) {
        // Another origin than that of the last lease can't be told. Such a rest is forfeited.
        let origin = self.held.get(&subject).filter(|origin| origin.quota_version == rest.since);
        if let Some(LeaseOrigin { quota_version, turn }) = origin.copied()
            && rest.units > 0
        {
            let units = rest.units;
            let lease = Lease { quota_version, turn, units, left: 0, void_from: None };
            self.returns.push((subject, lease));
        }
    }

    /// Takes up to so many of the leases that wait to be given back.
    pub(super) fn take_returns(&mut self, at: Timestamp, limit: usize) -> Vec<UsageChange> {
        let taken = self.returns.drain(..self.returns.len().min(limit));
        taken.map(|(of, lease)| UsageChange::GiveBack { of, lease, at }).collect()
    }

    /// Keeps leases that weren't given back for the next write.
    pub(super) fn put_back(&mut self, returns: Vec<UsageChange>) {
        self.returns.extend(returns.into_iter().filter_map(|change| match change {
            UsageChange::GiveBack { of, lease, .. } => Some((of, lease)),
            _ => None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyId;

    /// The backend learns the smallest need too, so that a request for more than is left doesn't
    /// keep a smaller one waiting.
    #[test]
    fn needs_are_summed_and_the_smallest_is_kept() {
        let (queue, of) = (LeaseQueue::default(), |id| UsageSubject::Key(KeyId::from_u128(id)));
        for (id, needed) in [(1, 20_000), (1, 3), (2, 7), (1, 5)] {
            queue.add(of(id), needed);
        }
        let needs = |needed, least| Some(Needs { needed, least });
        let queued = queue.take();
        assert_eq!(queued.get(&of(1)).copied(), needs(20_008, 3));
        assert_eq!(queued.get(&of(2)).copied(), needs(7, 7));
    }
}
