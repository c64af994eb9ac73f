//! Fetching of leases: what is wanted becomes one durable write, whose leases go into the index.

use std::time::Instant;
use std::{mem, thread};

use super::lease_holders::{LeaseHolders, LeaseOrigin};
use super::lease_queue::{Account, Due, Place, Wanted};
use super::lease_waits::{LeaseWaits, Outcome};
use super::quota_leases::QuotaLeases;
use crate::backend::{BackendError, BackendErrorKind, Damage, UsageChange, UsageSubject};
use crate::key::{Lease, LeaseRequest, QuotaState, VersionedQuota};
use crate::store::engine::{AffectedRecords, Next, Worked};
use crate::store::index::{LeaseWord, Leased, LeftWord};
use crate::store::types::error::Error;
use crate::store::types::reserved::Whose;
use crate::store::types::verify_error::Unavailable;

/// Number of leases, and of those given back, in one write. Those who wait get their answers when
/// all of it is written.
const BATCH: usize = 512;
/// Number of holders that are looked at for renewal before those who wait have their turn.
const PIECE: usize = 256;
/// Number of writes of one step that may fail, and none succeed, before the rest of a batch waits for a
/// pause: then it may not be the quotas that fail.
const MAX_FAILED: usize = 8;

/// A step of a write.
#[derive(Debug)]
enum Step {
    GiveBack(UsageSubject, Lease),
    Lease(Fetch),
}

/// A lease that is being fetched.
#[derive(Debug)]
struct Fetch {
    wanted: Wanted,
    request: LeaseRequest,
}

/// The end of the writes of one batch.
#[derive(Debug, Default)]
struct Written {
    /// Those that weren't written, nor failed.
    postponed: Vec<Wanted>,
    /// The kind of an error after which the rest isn't written.
    stopped_by: Option<BackendErrorKind>,
    succeeded: usize,
    failed: usize,
    error: Option<Error>,
}

/// The verifications that wait for a batch, woken at its end. If its writing panics, they hear so:
/// they are in no queue any more, and would wait until their deadlines.
struct Waiters<'a> {
    waits: &'a LeaseWaits,
    places: Vec<Place>,
}

impl Drop for Waiters<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let retry_after = self.waits.later();
            let outcome = Outcome::Failed(Unavailable::Quota { retry_after });
            self.waits.end(mem::take(&mut self.places), outcome);
        }
        self.waits.wake_ended();
    }
}

impl QuotaLeases {
    /// The work of the thread that fetches.
    pub(super) fn work(&self) -> Worked {
        let (result, next) = self.fetch();
        let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
        let next = pause.map_or(Next::WhenWoken, Next::After);
        result.map_or_else(|| Worked::nothing(next), |result| Worked::with(result, next))
    }

    /// Fetches all leases that are due. Returns the result, if there was something to do, and when
    /// paused ones are due.
    pub(super) fn fetch(&self) -> (Option<Result<(), Error>>, Option<Instant>) {
        let mut result = None;
        loop {
            // Dropped after the lock is released, also if this panics: what is woken may settle
            // another reservation, and wait for the lock.
            let mut waiters = Waiters { waits: &self.waits, places: Vec::new() };
            // Before the queue: who calls this waits for what another thread took out of it.
            let mut holders = self.lock_holders();
            let wanted = match self.waits.take(BATCH) {
                Due::Now(wanted) => wanted,
                Due::Paused(until) => return (result, Some(until)),
                Due::Later(next) if !holders.renews() => return (result, next),
                Due::Later(_) => self.renewals(&mut holders),
            };
            waiters.places = wanted.iter().flat_map(|wanted| &wanted.waiters).copied().collect();
            let written = self.serve(&mut holders, wanted);
            drop(holders);
            result = match (result, written.error) {
                (Some(Err(first)), _) => Some(Err(first)),
                (_, Some(error)) => Some(Err(error)),
                // The health goes on to show the error of a quota that keeps failing.
                (before, None) => {
                    let is_well = written.succeeded > 0 && !self.waits.is_any_failing();
                    before.or(is_well.then_some(Ok(())))
                }
            };
        }
    }

    /// Serves what is wanted, in one write unless that fails.
    fn serve(&self, holders: &mut LeaseHolders, wanted: Vec<Wanted>) -> Written {
        let mut written = Written::default();
        if let Some(unavailable) = self.unavailable() {
            self.refuse(wanted, unavailable);
            return written;
        }
        self.collect_dropped(holders);
        let leases: Vec<_> =
            wanted.into_iter().filter_map(|wanted| self.begin(holders, wanted)).collect();
        if leases.is_empty() {
            return written;
        }
        // Before the leases, which may take what is given back.
        let returns = holders.take_returns(BATCH, |of| !self.waits.is_paused(of));
        let returns = returns.into_iter().map(|(of, lease)| Step::GiveBack(of, lease));
        self.write(
            holders,
            returns.chain(leases.into_iter().map(Step::Lease)).collect(),
            &mut written,
        );
        let postponed = mem::take(&mut written.postponed);
        if let Some(unavailable) = self.unavailable() {
            self.refuse(postponed, unavailable);
        } else if let Some(kind) = written.stopped_by {
            let is_long = self.waits.pause_all(postponed);
            if kind == BackendErrorKind::TimedOut && !is_long {
                // Another process commits now and then; that is no failure.
                written.error = None;
            }
        }
        written
    }

    /// Returns why no lease can be written now.
    fn unavailable(&self) -> Option<Unavailable> {
        let availability = &self.engine.records.availability;
        // Of the token nothing is in doubt; only the lease has to wait.
        let retry_after = self.waits.later();
        let recovering = availability.is_recovering().then_some(Unavailable::Quota { retry_after });
        availability.unavailable().or(recovering)
    }

    /// Answers those who wait for leases that can't be written.
    fn refuse(&self, wanted: Vec<Wanted>, unavailable: Unavailable) {
        let waiters = wanted.into_iter().flat_map(|wanted| wanted.waiters);
        self.waits.end(waiters, Outcome::Failed(unavailable));
    }

    /// Begins to fetch a lease, unless that needs no write.
    fn begin(&self, holders: &mut LeaseHolders, mut wanted: Wanted) -> Option<Fetch> {
        let (at, holder) = (wanted.at, wanted.account.holder);
        let Some(leased) = self.engine.records.index.leased(holder, at) else {
            self.waits.end(wanted.waiters, Outcome::Changed);
            return None;
        };
        let Leased { mut held, surplus, is_over, .. } = leased;
        if is_over {
            self.collect_void(holders, &wanted.account, at);
            if self.renews {
                holders.begin_renewal(at);
            }
        }
        let (most, least) = match wanted.uses {
            Some((most, least)) => (u64::from(most), u64::from(least)),
            None if wanted.is_ahead => {
                held -= self.collect_surplus(holders, &wanted, surplus);
                (0, 0)
            }
            None => {
                match self.read_left(holders, &wanted) {
                    Ok(outcome) => self.waits.end(wanted.waiters, outcome),
                    Err(error) if error.damage().is_some() => {
                        let outcome = Outcome::Failed(self.unreadable(error));
                        self.waits.end(wanted.waiters, outcome);
                    }
                    // The next write meets it too, and says so in the health.
                    Err(_) => self.waits.fail(wanted),
                }
                return None;
            }
        };
        if held >= most {
            // Another verification's need has brought enough.
            self.waits.end(mem::take(&mut wanted.waiters), Outcome::TryAgain);
            if !wanted.is_ahead {
                return None;
            }
        }
        let [needed, least] = [most, least].map(|uses| uses.saturating_sub(held));
        Some(Fetch { wanted, request: LeaseRequest { held, needed, least } })
    }

    /// Writes steps. A failure that may be one quota's own is looked for by halves.
    fn write(&self, holders: &mut LeaseHolders, mut steps: Vec<Step>, written: &mut Written) {
        if written.stopped_by.is_some() {
            return self.postpone(holders, steps, written);
        }
        let batch: Vec<UsageChange> =
            steps.iter().map(|step| step.change(&self.engine.records.now())).collect();
        let backend = &self.engine.records.backend;
        let error = match backend.record_usage(&batch) {
            Ok(leases) if leases.len() == steps.len() => {
                self.waits.end_busy();
                written.succeeded += 1;
                for (step, lease) in steps.into_iter().zip(leases) {
                    if let Step::Lease(fetch) = step {
                        self.end(holders, fetch.wanted, lease);
                    }
                }
                return;
            }
            // The backend breaks its contract: what it wrote isn't known, and is never written twice.
            Ok(_) => BackendError::new(BackendErrorKind::OutcomeUnknown, backend.name(), "lease"),
            Err(error) => error,
        };
        let kind = error.kind();
        let may_be_of_all = written.succeeded == 0 && written.failed >= MAX_FAILED;
        match kind {
            // No write may follow one of unknown outcome before it is known, and none can follow the
            // others. The rest wasn't in this write: it is neither lost nor written twice.
            BackendErrorKind::Closed
            | BackendErrorKind::ForeignWriter
            | BackendErrorKind::OutcomeUnknown => {
                written.stopped_by = Some(kind);
                self.fail(holders, steps, error, written);
            }
            _ if kind == BackendErrorKind::TimedOut || may_be_of_all => {
                written.stopped_by = Some(kind);
                written.error = Some(self.engine.on_write_error(error));
                self.postpone(holders, steps, written);
            }
            _ if steps.len() == 1 => self.fail(holders, steps, error, written),
            _ => {
                let rest = steps.split_off(steps.len() / 2);
                self.write(holders, steps, written);
                self.write(holders, rest, written);
            }
        }
    }

    /// Keeps steps for later.
    fn postpone(&self, holders: &mut LeaseHolders, steps: Vec<Step>, written: &mut Written) {
        for step in steps {
            match step {
                Step::GiveBack(of, lease) => holders.returns.push((of, lease)),
                Step::Lease(fetch) => written.postponed.push(fetch.wanted),
            }
        }
    }

    /// Answers those who wait for steps that failed, and pauses their quotas.
    fn fail(
        &self,
        holders: &mut LeaseHolders,
        steps: Vec<Step>,
        error: BackendError,
        written: &mut Written,
    ) {
        let kind = error.kind();
        for step in steps {
            match step {
                Step::Lease(fetch) if kind == BackendErrorKind::Closed => {
                    let closed = Outcome::Failed(Unavailable::Closed);
                    self.waits.end(fetch.wanted.waiters, closed);
                }
                Step::Lease(fetch) => self.waits.fail(fetch.wanted),
                // If the backend has written the batch, its leases are forfeited, and what was given
                // back isn't given back twice.
                Step::GiveBack(..) if kind == BackendErrorKind::OutcomeUnknown => {}
                Step::GiveBack(of, lease) => {
                    self.waits.pause(&of);
                    holders.returns.push((of, lease));
                }
            }
        }
        written.failed += 1;
        written.error = Some(self.engine.on_write_error(error));
    }

    /// Puts a lease into the index, and answers those who wait for it.
    fn end(&self, holders: &mut LeaseHolders, wanted: Wanted, lease: Option<Lease>) {
        let subject = wanted.account.subject();
        if let Some(lease) = lease
            && lease.void_from.is_some_and(|end| end <= self.engine.records.now())
        {
            // The period has ended meanwhile.
            holders.returns.push((subject, lease));
            return self.waits.end(wanted.waiters, Outcome::TryAgain);
        }
        let is_put = |holders: &mut LeaseHolders| {
            lease.as_ref().is_some_and(|lease| self.put(holders, &wanted, lease))
        };
        if is_put(holders) {
            self.waits.end_pause(&subject);
            return self.waits.end(wanted.waiters, Outcome::TryAgain);
        }
        // A backend leases nothing of a damaged quota. Otherwise the quota was changed in the
        // backend, and not yet in the index.
        let whole = if lease.is_none() { self.stored_quota(&subject).map(drop) } else { Ok(()) };
        let outcome = match whole {
            Ok(()) => self.reloaded(&wanted.account),
            Err(error) => Outcome::Failed(self.unreadable(error)),
        };
        if !is_put(holders)
            && let Some(lease) = lease.filter(|lease| lease.units > 0)
        {
            holders.returns.push((subject, lease));
        }
        self.waits.end(wanted.waiters, outcome);
    }

    /// Puts a lease into the index; returns whether the quota there is the one that it is of. A lease
    /// of another may be more than that one has left.
    fn put(&self, holders: &mut LeaseHolders, wanted: &Wanted, lease: &Lease) -> bool {
        let (index, account) = (&self.engine.records.index, &wanted.account);
        let subject = account.subject();
        // Two origins can't be told apart in one word.
        if holders.origin_of(&subject).is_some_and(|origin| origin != LeaseOrigin::of(lease)) {
            if self.collect_lease(holders, account) != Some(lease.quota_version) {
                return false;
            }
            // The rest of the quota before this one is among these. Later its origin isn't known.
            self.collect_dropped(holders);
        }
        let word = LeaseWord::new(lease.void_from, lease.units);
        let left = LeftWord::new(lease.left, wanted.at);
        let is_put = index.put_lease(account.holder, lease.quota_version, word, left);
        if is_put {
            let has_quota = |holder| index.leased(holder, wanted.at).is_some();
            holders.note(account, lease, has_quota);
        }
        is_put
    }

    /// Reads what is left of a quota, and notes it in the index for those who look.
    fn read_left(
        &self,
        holders: &mut LeaseHolders,
        wanted: &Wanted,
    ) -> Result<Outcome, BackendError> {
        let (account, now) = (&wanted.account, wanted.at);
        let subject = account.subject();
        let Some((run, mut state)) = self.stored_quota(&subject)? else {
            return Ok(self.reloaded(account));
        };
        // As `apply_usage` will give them back.
        let returns = holders.returns.iter().filter(|(of, _)| *of == subject);
        let stored = state;
        for (_, lease) in returns.filter(|_| stored.is_some()) {
            state = Some(run.refund(state, now, *lease));
        }
        let is_noted = state == stored && state == Some(run.state_at(state, now));
        let state = run.state_at(state, now);
        let word = LeaseWord::new(run.void_from(&state), 0);
        // A rest that is too large for a word answers looks all the same.
        let is_exact = is_noted && state.left < u64::from(u32::MAX);
        let note = if is_exact { LeftWord::new } else { LeftWord::looked };
        let index = &self.engine.records.index;
        let version = run.quota_version;
        let is_put = index.put_lease(account.holder, version, word, note(state.left, now));
        Ok(if is_put { Outcome::TryAgain } else { self.reloaded(account) })
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
            Err(_) => Unavailable::Quota { retry_after: self.waits.later() },
        }
    }

    /// Reloads the record of an account.
    fn reloaded(&self, account: &Account) -> Outcome {
        let mut applied_log = self.engine.records.lock_applied_log();
        if self.engine.records.availability.is_recovering() {
            return Outcome::Failed(Unavailable::Quota { retry_after: self.waits.later() });
        }
        let mut affected = AffectedRecords::default();
        match account.subject() {
            UsageSubject::Key(key) => _ = affected.keys.insert(key, account.owner),
            UsageSubject::Owner(owner) => _ = affected.owners.insert(owner),
        }
        match self.engine.records.reload_and_catch_up(&affected, &mut applied_log) {
            Ok(()) => Outcome::Changed,
            Err(_) => Outcome::Failed(Unavailable::Quota { retry_after: self.waits.later() }),
        }
    }

    /// Looks at some more holders, whose leases became void when a period began. Returns those that
    /// were in use until then.
    fn renewals(&self, holders: &mut LeaseHolders) -> Vec<Wanted> {
        let index = &self.engine.records.index;
        let (at, piece) = holders.next_renewals(PIECE);
        let renewal = |holder: Whose| {
            let was_in_use = index.leased(holder, at)?.was_in_use;
            let (Whose::Key(_, Some(owner)) | Whose::Owner(owner)) = holder else { return None };
            let owner = index.owner_by(owner).filter(|_| was_in_use)?;
            Some(Wanted::ahead(Account { owner, holder }, at))
        };
        piece.into_iter().filter_map(renewal).collect()
    }
}

impl Step {
    fn change(&self, now: &crate::clock::Timestamp) -> UsageChange {
        match self {
            Self::GiveBack(of, lease) => UsageChange::GiveBack { of: *of, lease: *lease, at: *now },
            Self::Lease(fetch) => UsageChange::Lease {
                of: fetch.wanted.account.subject(),
                request: fetch.request,
                at: fetch.wanted.at,
            },
        }
    }
}
