//! The leases that this process has, and those that wait to be given back.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::lease_queue::Account;
use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::key::Lease;
use crate::store::index::DroppedLease;
use crate::store::types::reserved::{OwnerRef, Whose};

/// Number of holders below which none is looked for that has no quota any more.
const FEW: usize = 1_000;
/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// The keys and owners whose quotas may have a lease in the index, and the leases that wait to be
/// given back.
#[derive(Debug, Default)]
pub(super) struct LeaseHolders {
    held: BTreeMap<UsageSubject, Held>,
    /// The rests of leases that are no longer spent. The next write gives them back.
    pub(super) returns: Vec<(UsageSubject, Lease)>,
    /// Number of holders at which those without a quota are removed.
    sweep_at: usize,
    renewal: Option<Renewal>,
    /// The day on which renewal last began.
    renewed_on: Option<u64>,
}

/// A lease of this process.
#[derive(Clone, Copy, Debug)]
struct Held {
    origin: LeaseOrigin,
    owner: OwnerRef,
}

/// The quota and the turn of which a lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseOrigin {
    quota_version: Version,
    turn: u64,
}

/// The renewal of leases at a period's beginning, which goes through the holders in their order.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    at: Timestamp,
    after: Option<UsageSubject>,
}

impl LeaseOrigin {
    pub(super) fn of(lease: &Lease) -> Self {
        Self { quota_version: lease.quota_version, turn: lease.turn }
    }
}

impl Held {
    fn holder(&self, subject: &UsageSubject) -> Whose {
        match subject {
            UsageSubject::Key(id) => Whose::Key(*id, Some(self.owner)),
            UsageSubject::Owner(_) => Whose::Owner(self.owner),
        }
    }
}

impl LeaseHolders {
    /// Returns whether there is no lease to give back.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.returns.is_empty()
    }

    /// Returns the holders, with the ids of those owners that are still there.
    pub(super) fn accounts(&self, owner: impl Fn(OwnerRef) -> Option<OwnerId>) -> Vec<Account> {
        let account = |(subject, held): (&UsageSubject, &Held)| {
            Some(Account { owner: owner(held.owner)?, holder: held.holder(subject) })
        };
        self.held.iter().filter_map(account).collect()
    }

    /// Returns the origin of a holder's lease.
    pub(super) fn origin_of(&self, subject: &UsageSubject) -> Option<LeaseOrigin> {
        self.held.get(subject).map(|held| held.origin)
    }

    /// Notes a holder of a lease. Now and then removes the holders that have no quota any more.
    pub(super) fn note(
        &mut self,
        account: &Account,
        lease: &Lease,
        has_quota: impl Fn(Whose) -> bool,
    ) {
        let (Whose::Key(_, Some(owner)) | Whose::Owner(owner)) = account.holder else { return };
        self.held.insert(account.subject(), Held { origin: LeaseOrigin::of(lease), owner });
        if self.held.len() < self.sweep_at.max(FEW) {
            return;
        }
        self.held.retain(|subject, held| has_quota(held.holder(subject)));
        self.sweep_at = 2 * self.held.len();
    }

    /// Keeps the rest of a lease for the next write.
    pub(super) fn keep(&mut self, subject: UsageSubject, rest: DroppedLease) {
        // Another origin than that of the last lease can't be told. Such a rest is forfeited.
        let origin = self.origin_of(&subject);
        let origin = origin.filter(|origin| origin.quota_version == rest.since);
        if let Some(LeaseOrigin { quota_version, turn }) = origin
            && rest.units > 0
        {
            let units = rest.units;
            let lease = Lease { quota_version, turn, units, left: 0, void_from: None };
            self.returns.push((subject, lease));
        }
    }

    /// Takes up to so many of the leases that wait to be given back, of those subjects that may be.
    pub(super) fn take_returns(
        &mut self,
        limit: usize,
        may_be: impl Fn(&UsageSubject) -> bool,
    ) -> Vec<(UsageSubject, Lease)> {
        let mut left = limit;
        let mut is_taken = |(subject, _): &mut (UsageSubject, Lease)| {
            let is_taken = left > 0 && may_be(subject);
            left -= usize::from(is_taken);
            is_taken
        };
        self.returns.extract_if(.., &mut is_taken).collect()
    }

    /// Begins to renew leases, when the first one is found that became void. Once a day, since
    /// periods begin at midnight.
    pub(super) fn begin_renewal(&mut self, at: Timestamp) {
        let day = at.as_millis() / DAY;
        if self.renewed_on.replace(day) != Some(day) {
            self.renewal = Some(Renewal { at, after: None });
        }
    }

    /// Whether leases are being renewed.
    pub(super) fn renews(&self) -> bool {
        self.renewal.is_some()
    }

    /// Returns some more holders, and the time as of which their leases are renewed.
    pub(super) fn next_renewals(&mut self, limit: usize) -> (Timestamp, Vec<Whose>) {
        let Some(Renewal { at, after }) = self.renewal.take() else {
            return (Timestamp::MIN, Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = || self.held.range((from, Bound::Unbounded)).take(limit);
        let holders = next().map(|(subject, held)| held.holder(subject)).collect();
        let last = next().nth(limit - 1);
        self.renewal = last.map(|(last, _)| Renewal { at, after: Some(*last) });
        (at, holders)
    }
}
