//! Leases of quotas. A lease is a part of a quota's uses that this process has reserved in the
//! backend, and spends without a further write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease_holders::{LeaseHolders, LeaseOrigin, LeaseQueue, Needs};
use crate::backend::{BackendError, BackendErrorKind, Damage, Sharing, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::key::{Lease, QuotaState, RejectReason, VersionedQuota};
use crate::store::engine::{AffectedRecords, Engine};
use crate::store::index::{DroppedLease, LeaseWord, LeftWord, Limiter, QuotaMark, Whose};
use crate::store::types::error::Error;
use crate::store::types::verify_error::{Unavailable, VerifyError};

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
    pub(super) engine: Arc<Engine>,
    queue: LeaseQueue,
    /// Held during a request. Without it each verification would make a durable write of its own,
    /// and several would lease the same quota.
    holders: Mutex<LeaseHolders>,
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
        if limiter.missing(now, uses) == 0 {
            return Ok(());
        }
        if limiter.lacks(now, uses, self.recheck()) {
            return Err(exhausted(limiter.lease().void_from()));
        }
        Ok(())
    }

    /// Returns an error if no use is left of a quota. Takes none, and writes nothing: reads what is
    /// left if this process doesn't know it.
    #[inline]
    pub(in crate::store) fn look(
        &self,
        account: impl FnOnce() -> Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        validate: impl Fn() -> bool,
    ) -> Result<(), VerifyError> {
        if limiter.has_some(now, self.recheck()) {
            return Ok(());
        }
        self.read_left(account(), limiter, now, &validate)
    }

    /// Milliseconds for which what is left beside a lease is known.
    fn recheck(&self) -> Option<u64> {
        match self.engine.records.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { .. } => Some(RECHECK_AFTER),
        }
    }

    /// Reads what is left of a quota, and notes it in the index.
    #[cold]
    fn read_left(
        &self,
        account: Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        validate: &dyn Fn() -> bool,
    ) -> Result<(), VerifyError> {
        let unavailable = |reason| Err(VerifyError::Unavailable(reason));
        if self.engine.records.availability.is_forked() {
            return unavailable(Unavailable::Forked);
        }
        let Some(account) = account else { return unavailable(Unavailable::Recovering) };
        let subject = account.subject();
        for _ in 0..MAX_CHANGES {
            // Locked: a lease that another thread takes comes before this reading, or after what it
            // notes.
            let mut holders = self.lock_holders();
            if limiter.has_some(now, self.recheck()) {
                return Ok(());
            }
            // If the limits were replaced, `judge` drops this error and reads them again.
            if !validate() {
                return unavailable(Unavailable::Quota);
            }
            self.collect_returns(&mut holders, [&subject], now);
            let read = self.stored_quota(&subject).map_err(|error| self.unreadable(error));
            let Some((run, mut state)) = read.map_err(VerifyError::Unavailable)? else {
                drop(holders);
                self.reload_account(&account).map_err(VerifyError::Unavailable)?;
                continue;
            };
            // As `apply_usage` will give them back.
            let returns = holders.returns.iter().filter(|(of, _)| *of == subject);
            let stored = state;
            for (_, lease) in returns.filter(|_| stored.is_some()) {
                state = Some(run.refund(state, now, *lease));
            }
            let is_stored = state == stored;
            let is_noted = is_stored && state == Some(run.state_at(state, now));
            let state = run.state_at(state, now);
            let word = LeaseWord::new(run.void_from(&state), 0);
            let quota = limiter.quota().filter(|quota| quota.is_since(run.quota_version));
            // A use must reach the backend if it begins the count or a period, also if it is
            // refused. So it mustn't find this noted.
            let left = if is_noted { LeftWord::new(state.left, now) } else { LeftWord::UNKNOWN };
            let is_known = quota.is_some_and(|quota| {
                self.engine.records.index.put_lease(account.holder, quota, word, left)
            });
            if is_known && state.left > 0 {
                return Ok(());
            }
            if is_known {
                return Err(exhausted(word.void_from()));
            }
            drop(holders);
            self.reload_account(&account).map_err(VerifyError::Unavailable)?;
        }
        unavailable(Unavailable::Quota)
    }

    /// Reads a quota and its state, which is `None` before the first use; `None` if there is no quota,
    /// or if it was replaced meanwhile.
    fn stored_quota(
        &self,
        subject: &UsageSubject,
    ) -> Result<Option<(VersionedQuota, Option<QuotaState>)>, BackendError> {
        let backend = &self.engine.records.backend;
        let limits = match subject {
            UsageSubject::Key(id) => backend.key(*id)?.map(|key| key.limits),
            UsageSubject::Owner(id) => backend.owner(id)?.map(|owner| owner.limits),
        };
        let Some(quota) = limits.and_then(|limits| limits.quota) else { return Ok(None) };
        let usage = backend.usage(std::slice::from_ref(subject))?.pop();
        let state = usage.and_then(|usage| usage.quota);
        let run = quota.value;
        if state.is_some_and(|state| state.quota_version > run.quota_version) {
            return Ok(None);
        }
        let Some(state) = run.own_state(state) else {
            let lost = Damage::lost_quota(subject);
            return Err(BackendError::damaged(backend.name(), "read usage", lost));
        };
        Ok(Some((run, Some(state).filter(QuotaState::has_begun))))
    }

    fn unreadable(&self, error: BackendError) -> Unavailable {
        match self.engine.records.noted_damage(error) {
            Ok(_) => Unavailable::Damaged,
            Err(_) => Unavailable::Quota,
        }
    }

    /// Collects the rests of leases that are no longer spent: those of quotas that were replaced,
    /// and of these subjects those that are void.
    pub(super) fn collect_returns<'a>(
        &self,
        holders: &mut LeaseHolders,
        subjects: impl IntoIterator<Item = &'a UsageSubject>,
        now: Timestamp,
    ) {
        let index = &self.engine.records.index;
        for (subject, rest) in index.take_dropped_leases() {
            holders.keep(subject, rest);
        }
        for subject in subjects {
            let holder = holder_of(&self.engine, subject);
            if let Some(rest) = holder.and_then(|holder| index.take_void_lease(holder, now)) {
                holders.keep(*subject, rest);
            }
        }
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
        if self.engine.records.availability.is_forked() {
            return unavailable(Unavailable::Forked);
        }
        let Some(account) = account else { return unavailable(Unavailable::Recovering) };
        let mut changes = 0;
        loop {
            if let Some(lease) = limiter.spend(now, uses) {
                return Ok(lease);
            }
            self.check(limiter, now, uses)?;
            // If the limits were replaced, `LimitJudge::judge` drops this error and reads them again.
            if !validate() || changes == MAX_CHANGES {
                return unavailable(Unavailable::Quota);
            }
            let needed = limiter.missing(now, uses);
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
        let queued = self.queue.take();
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
        // Read before the request. If a quota is replaced meanwhile, the lease may be more than the
        // new quota has left: `put_lease` then finds another quota, and the lease is given back. Read
        // also before the rests of leases are collected: a rest that comes later than they then is of
        // a quota that `put_lease` doesn't find, so that its origin is still known when it is kept.
        let quotas = queued.keys().map(|subject| {
            let is_own = *subject == account.subject();
            let holder =
                if is_own { Some(account.holder) } else { holder_of(&self.engine, subject) };
            holder.and_then(|holder| Some((holder, self.engine.records.index.quota(holder)?)))
        });
        let quotas: Vec<_> = quotas.collect();
        self.collect_returns(&mut holders, queued.keys(), now);
        // Before the leases, which may take what is given back.
        let returns = holders.take_returns(now, CHUNK);
        let batch: Vec<UsageChange> =
            returns.iter().cloned().chain(queued.iter().map(lease)).collect();
        let leases = match self.engine.records.backend.record_usage(&batch) {
            Ok(leases) if leases.len() == batch.len() => leases,
            Ok(_) => return Err(Unavailable::Quota),
            Err(error) => {
                // If the backend has written the batch, its leases are forfeited, and what was given
                // back isn't given back twice.
                if error.kind() != BackendErrorKind::OutcomeUnknown {
                    holders.put_back(returns);
                }
                self.engine.on_write_error(error);
                return Err(Unavailable::Quota);
            }
        };
        let mut own = LeaseOutcome::Changed;
        let leases = leases.into_iter().skip(returns.len());
        for ((subject, quota), lease) in queued.into_keys().zip(quotas).zip(leases) {
            let Some(lease) = lease else { continue };
            if self.put_lease(&mut holders, subject, quota, &lease, now) {
                if subject == account.subject() {
                    own = LeaseOutcome::Leased;
                }
            } else if lease.units > 0 {
                holders.returns.push((subject, lease));
            }
        }
        drop(holders);
        if let LeaseOutcome::Changed = own {
            // Unless it is damaged: a backend leases nothing of it.
            self.stored_quota(&account.subject()).map_err(|error| self.unreadable(error))?;
            self.reload_account(account)?;
        }
        Ok(own)
    }

    /// Puts a lease into the index; returns whether the quota is still the one that was read before.
    fn put_lease(
        &self,
        holders: &mut LeaseHolders,
        subject: UsageSubject,
        quota: Option<(Whose, QuotaMark)>,
        lease: &Lease,
        now: Timestamp,
    ) -> bool {
        let Some((holder, quota)) = quota.filter(|(_, quota)| quota.is_since(lease.quota_version))
        else {
            return false;
        };
        let index = &self.engine.records.index;
        // Two origins can't be told apart in one word.
        let is_other = |origin: &LeaseOrigin| *origin != LeaseOrigin::of(lease);
        if holders.held.get(&subject).is_some_and(is_other) {
            self.collect_lease(holders, holder, subject);
        }
        let word = LeaseWord::new(lease.void_from, lease.units);
        let is_put = index.put_lease(holder, quota, word, LeftWord::new(lease.left, now));
        if is_put {
            holders.note(subject, lease, |subject| {
                holder_of(&self.engine, subject).is_some_and(|holder| index.quota(holder).is_some())
            });
        }
        is_put
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

    /// Takes the rest of a lease out of the index, to be given back.
    pub(super) fn collect_lease(
        &self,
        holders: &mut LeaseHolders,
        holder: Whose,
        subject: UsageSubject,
    ) {
        if let Some((word, limiter)) = self.engine.records.index.take_lease(holder) {
            let rest = DroppedLease { since: limiter.since(), units: word.held() };
            holders.keep(subject, rest);
        }
    }

    /// Gives back the rest of all leases. The store is closed, so no thread requests more.
    ///
    /// # Errors
    /// The first error of the backend, after all leases were tried. Those that aren't given back
    /// are forfeited, as after a crash.
    pub(super) fn give_back_all(&self) -> Result<(), Error> {
        let mut holders = self.lock_holders();
        if self.engine.records.availability.is_recovering() {
            let is_none = holders.held.is_empty() && holders.returns.is_empty();
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let at = self.engine.records.now();
        let subjects: Vec<UsageSubject> = holders.held.keys().copied().collect();
        for subject in subjects {
            let holder = holder_of(&self.engine, &subject);
            if let Some(holder) = holder {
                self.collect_lease(&mut holders, holder, subject);
            }
        }
        // After the leases: the rest of one whose quota was replaced meanwhile is among these.
        self.collect_returns(&mut holders, [], at);
        holders.held.clear();
        let mut first = Ok(());
        loop {
            let batch = holders.take_returns(at, CHUNK);
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
}

impl QuotaLeases {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        let engine = Arc::clone(engine);
        Self { engine, queue: LeaseQueue::default(), holders: Mutex::default() }
    }

    pub(super) fn lock_holders(&self) -> MutexGuard<'_, LeaseHolders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exhausted(refilled_at: Option<Timestamp>) -> VerifyError {
    VerifyError::Rejected(RejectReason::QuotaExhausted { refilled_at })
}

/// Returns the index's name of a quota's holder; `None` for an owner that the index doesn't have.
pub(super) fn holder_of(engine: &Engine, subject: &UsageSubject) -> Option<Whose> {
    match subject {
        UsageSubject::Key(id) => Some(Whose::Key(*id, None)),
        UsageSubject::Owner(id) => engine.records.index.owner_number(id).map(Whose::Owner),
    }
}
