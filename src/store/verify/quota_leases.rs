//! Leases of quotas. A lease is a part of a quota's uses that this process has reserved in the
//! backend, and spends without a further write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{BackendErrorKind, Sharing, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{Lease, Period, RejectReason};
use crate::store::engine::{AffectedRecords, Engine};
use crate::store::index::{LeaseWord, LeftWord, Limiter, Whose};
use crate::store::types::error::{Error, Unavailable, VerifyError};

/// Milliseconds for which a quota counts as exhausted, if other processes may give back leases of
/// it.
const RECHECK_AFTER: u64 = 1_000;
/// Largest number of changes of a quota during one verification's requests for a lease.
const MAX_CHANGES: usize = 8;
/// Number of leases that are given back at once.
const CHUNK: usize = 1_000;

/// The leases that verifications wait for, and the holders of leases.
///
/// A verification that needs a lease queues a request, and locks `holders`. It then requests all
/// queued leases in one durable write. A verification that waited for the lock meanwhile finds its
/// lease, or requests the leases that are queued by then.
#[derive(Debug)]
pub(in crate::store) struct QuotaLeases {
    engine: Arc<Engine>,
    queue: LeaseQueue,
    /// Held during a request. Without it each verification would make a durable write of its own,
    /// and several would lease the same quota.
    holders: Mutex<LeaseHolders>,
}

/// The uses that verifications wait for, by quota. Locked, since verifications add to it while
/// another takes it: without the lock a request could be lost, and its verification would fail.
#[derive(Debug, Default)]
struct LeaseQueue(Mutex<BTreeMap<UsageSubject, Needs>>);

/// The uses that the waiting verifications need of one lease: the sum, and the smallest need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    needed: u64,
    least: u64,
}

/// The keys and owners whose quotas may have a lease.
#[derive(Debug, Default)]
struct LeaseHolders {
    keys: BTreeSet<KeyId>,
    owners: BTreeSet<OwnerId>,
    /// Number of holders at which those without a quota are removed.
    sweep_at: usize,
}

/// The holder of a quota that is spent.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Account {
    pub(in crate::store) owner: OwnerId,
    pub(in crate::store) holder: Whose,
}

/// The outcome of a request for a lease.
enum LeaseOutcome {
    /// The index has the lease, and knows what is left of the quota. Even both together may not
    /// suffice.
    Leased,
    /// The quota has changed since the request was made.
    Changed,
}

impl Account {
    fn subject(&self) -> UsageSubject {
        match self.holder {
            Whose::Key(id, _) => UsageSubject::Key(id),
            Whose::Owner(_) => UsageSubject::Owner(self.owner),
        }
    }
}

impl QuotaLeases {
    /// Spends uses of a quota's lease; returns the lease that was spent from. If too little is left
    /// of it, requests a new one, which waits for one durable write.
    #[inline]
    pub(in crate::store) fn spend(
        &self,
        account: impl FnOnce() -> Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
        validate: impl Fn() -> bool,
    ) -> Result<LeaseWord, VerifyError> {
        match limiter.spend(now, uses) {
            Some(lease) => Ok(lease),
            None => self.refill(account(), limiter, now, uses, &validate),
        }
    }

    /// Returns an error if the quota is known to lack so many uses.
    #[inline]
    pub(in crate::store) fn check(
        &self,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
    ) -> Result<(), VerifyError> {
        if limiter.lease().units(now) >= uses.into() {
            return Ok(());
        }
        let recheck = match self.engine.records.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { .. } => Some(RECHECK_AFTER),
        };
        if limiter.lacks(now, uses, recheck) {
            return Err(VerifyError::Rejected(RejectReason::QuotaExhausted {
                refilled_at: limiter.lease().void_from(),
            }));
        }
        Ok(())
    }

    /// Requests leases until the uses can be spent, or the quota lacks them.
    #[cold]
    fn refill(
        &self,
        account: Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
        validate: &dyn Fn() -> bool,
    ) -> Result<LeaseWord, VerifyError> {
        let unavailable = |reason| Err(VerifyError::Unavailable(reason));
        let Some(account) = account else { return unavailable(Unavailable::Recovering) };
        let mut changes = 0;
        loop {
            if let Some(lease) = limiter.spend(now, uses) {
                return Ok(lease);
            }
            self.check(limiter, now, uses)?;
            // If the limits were replaced, `judge_limits` drops this error and reads them again.
            if !validate() || changes == MAX_CHANGES {
                return unavailable(Unavailable::Quota);
            }
            let needed = limiter.lease().missing(now, uses);
            if needed == 0 {
                // Another thread has just put a lease there.
                continue;
            }
            match self.request(&account, now, needed) {
                Ok(LeaseOutcome::Leased) => {}
                Ok(LeaseOutcome::Changed) => changes += 1,
                Err(reason) => return unavailable(reason),
            }
        }
    }

    /// Requests all queued leases, this account's among them, unless another thread has just done
    /// so.
    fn request(
        &self,
        account: &Account,
        now: Timestamp,
        needed: u64,
    ) -> Result<LeaseOutcome, Unavailable> {
        self.queue.add(account.subject(), needed);
        let mut holders = self.lock_holders();
        let queued = std::mem::take(&mut *self.queue.lock());
        if let Some(unavailable) = self.engine.records.availability.unavailable() {
            return Err(unavailable);
        }
        if self.engine.records.availability.is_recovering() {
            return Err(Unavailable::Recovering);
        }
        if !queued.contains_key(&account.subject()) {
            return Ok(LeaseOutcome::Leased);
        }
        let lease = |(subject, needs): (&_, &Needs)| {
            let Needs { needed, least } = *needs;
            UsageChange::Lease { of: *subject, needed, least, at: now }
        };
        let batch: Vec<UsageChange> = queued.iter().map(lease).collect();
        // Read before the request. If a quota is tightened meanwhile, the lease may be more than
        // the new quota has left: `put_lease` then finds another quota, and the lease is given
        // back.
        let quotas = queued.keys().map(|subject| {
            let is_own = *subject == account.subject();
            let holder =
                if is_own { Some(account.holder) } else { holder_of(&self.engine, subject) };
            holder.and_then(|holder| Some((holder, self.engine.records.index.quota(holder)?)))
        });
        let quotas: Vec<_> = quotas.collect();
        let outcome = self.engine.records.backend.record_usage(&batch);
        let leases = match outcome {
            Ok(leases) if leases.len() == batch.len() => leases,
            Ok(_) => return Err(Unavailable::Quota),
            Err(error) => {
                // If the backend has written the leases, they are forfeited.
                self.engine.on_write_error(error);
                return Err(Unavailable::Quota);
            }
        };
        let (mut own, mut given_back) = (LeaseOutcome::Changed, Vec::new());
        for ((subject, quota), lease) in queued.into_keys().zip(quotas).zip(leases) {
            let is_own = subject == account.subject();
            let is_put = lease.zip(quota).is_some_and(|(lease, (holder, quota))| {
                let word = LeaseWord::new(lease.void_from, lease.units);
                let left = LeftWord::new(lease.left, now);
                quota.is_since(lease.quota_version)
                    && self.engine.records.index.put_lease(holder, quota, word, left)
            });
            match lease {
                Some(_) if is_put => {
                    holders.note(&self.engine, &subject);
                    if is_own {
                        own = LeaseOutcome::Leased;
                    }
                }
                Some(lease) => {
                    given_back.push(UsageChange::GiveBack { of: subject, lease, at: now });
                }
                None => {}
            }
        }
        if !given_back.is_empty() {
            // If this fails the leases are forfeited; they are of quotas that have changed anyway.
            let written = self.engine.records.backend.record_usage(&given_back);
            let _ = written.map_err(|error| self.engine.on_write_error(error));
        }
        drop(holders);
        if let LeaseOutcome::Changed = own {
            self.reload_account(account)?;
        }
        Ok(own)
    }

    /// Reloads an account whose quota was changed in the backend and not yet in the index.
    fn reload_account(&self, account: &Account) -> Result<(), Unavailable> {
        let _applied_log = self.engine.records.lock_applied_log();
        if self.engine.records.availability.is_recovering() {
            return Err(Unavailable::Recovering);
        }
        let mut affected = AffectedRecords::default();
        match account.subject() {
            UsageSubject::Key(key) => _ = affected.keys.insert(key, account.owner),
            UsageSubject::Owner(owner) => _ = affected.owners.insert(owner),
        }
        self.engine.records.reload(&affected).map_err(|_| Unavailable::Quota)
    }

    /// Gives back the rest of all leases. The store is closed, so no thread requests more.
    ///
    /// # Errors
    /// The first error of the backend, after all leases were tried. Those that aren't given back
    /// are forfeited, as after a crash.
    pub(super) fn give_back_all(&self) -> Result<(), Error> {
        let mut holders = self.lock_holders();
        if self.engine.records.availability.is_recovering() {
            let is_none = holders.keys.is_empty() && holders.owners.is_empty();
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let keys = std::mem::take(&mut holders.keys).into_iter().map(UsageSubject::Key);
        let owners = std::mem::take(&mut holders.owners).into_iter().map(UsageSubject::Owner);
        let at = self.engine.records.now();
        let mut rests = keys.chain(owners).filter_map(|subject| {
            let lease = self.take_rest(&subject)?;
            Some(UsageChange::GiveBack { of: subject, lease, at })
        });
        let mut first = Ok(());
        loop {
            let batch: Vec<UsageChange> = rests.by_ref().take(CHUNK).collect();
            if batch.is_empty() {
                return first;
            }
            if let Err(error) = self.engine.records.backend.record_usage(&batch) {
                let is_unknown = error.kind() == BackendErrorKind::OutcomeUnknown;
                first = first.and(Err(error.into()));
                if is_unknown && self.engine.records.backend.recover().is_err() {
                    // No write may follow one whose outcome is unknown.
                    self.engine.records.availability.set_recovering(false);
                    return first;
                }
            }
        }
    }

    /// Takes the rest of one lease out of the index; `None` if nothing is left of it.
    fn take_rest(&self, subject: &UsageSubject) -> Option<Lease> {
        let (word, limiter) =
            self.engine.records.index.take_lease(holder_of(&self.engine, subject)?)?;
        let void_from = word.void_from();
        let start = |period: Period| {
            let last = void_from?.as_millis().checked_sub(1)?;
            Some(period.start_of(Timestamp::clamped_millis(last)))
        };
        let period = limiter.period().and_then(start).unwrap_or(Timestamp::MIN);
        let since = Version::new(limiter.since());
        let units = word.held();
        (units > 0).then_some(Lease { quota_version: since, period, units, left: 0, void_from })
    }
}

impl QuotaLeases {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        let engine = Arc::clone(engine);
        Self { engine, queue: LeaseQueue::default(), holders: Mutex::default() }
    }

    fn lock_holders(&self) -> MutexGuard<'_, LeaseHolders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseQueue {
    /// Adds the uses that a verification needs.
    fn add(&self, subject: UsageSubject, needed: u64) {
        let first = Needs { needed: 0, least: needed };
        let mut queued = self.lock();
        let needs = queued.entry(subject).or_insert(first);
        needs.needed += needed;
        needs.least = needs.least.min(needed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UsageSubject, Needs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseHolders {
    /// Notes a holder of a lease. Now and then removes the holders that have no quota any more.
    fn note(&mut self, engine: &Engine, subject: &UsageSubject) {
        match subject {
            UsageSubject::Key(id) => _ = self.keys.insert(*id),
            UsageSubject::Owner(id) => _ = self.owners.insert(*id),
        }
        if self.keys.len() + self.owners.len() < self.sweep_at.max(CHUNK) {
            return;
        }
        let has_quota = |subject| {
            holder_of(engine, &subject)
                .is_some_and(|holder| engine.records.index.quota(holder).is_some())
        };
        self.keys.retain(|id| has_quota(UsageSubject::Key(*id)));
        self.owners.retain(|id| has_quota(UsageSubject::Owner(*id)));
        self.sweep_at = 2 * (self.keys.len() + self.owners.len());
    }
}

/// Returns the index's name of a quota's holder; `None` for an owner that the index doesn't have.
fn holder_of(engine: &Engine, subject: &UsageSubject) -> Option<Whose> {
    match subject {
        UsageSubject::Key(id) => Some(Whose::Key(*id, None)),
        UsageSubject::Owner(id) => engine.records.index.owner_number(id).map(Whose::Owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The backend learns the smallest need too, so that a request for more than is left doesn't
    /// keep a smaller one waiting.
    #[test]
    fn needs_are_summed_and_the_smallest_is_kept() {
        let (queue, of) = (LeaseQueue::default(), |id| UsageSubject::Key(KeyId::from_u128(id)));
        for (id, needed) in [(1, 20_000), (1, 3), (2, 7), (1, 5)] {
            queue.add(of(id), needed);
        }
        let needs = |needed, least| Some(Needs { needed, least });
        let queued = queue.lock();
        assert_eq!(queued.get(&of(1)).copied(), needs(20_008, 3));
        assert_eq!(queued.get(&of(2)).copied(), needs(7, 7));
    }
}
