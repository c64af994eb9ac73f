//! A backend that fails when a test wants it to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, CommitOutcome, EventPage, EventQuery,
    KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange,
    UsageOutcome, UsageSubject,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};

/// Any backend, with faults put in its way.
///
/// While nothing is [injected](Failing::inject) it is the backend that it wraps. After an error of
/// unknown outcome it refuses to commit, to prune and to take in usage until [`recover`](Backend::recover) returned
/// `Ok`, and [counts](Failing::commits_refused) how often somebody tried.
///
/// ```
/// use keyhasp::backend::{Backend, BackendErrorKind, Memory};
/// use keyhasp::testing::{Failing, Fault, Moment, Target, sample};
///
/// let backend = Failing::new(Memory::new());
/// backend.open_metadata(&sample::metadata()?)?;
/// // The second commit from now takes effect, but its answer is lost.
/// backend.inject(Fault { target: Target::Commits, nth: 2, moment: Moment::After, lasting: false });
///
/// let create = |id| sample::create_owner(&sample::owner(id)?);
/// backend.commit(&[create("acme")?])?;
/// let error = backend.commit(&[create("beta")?]).unwrap_err();
/// assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
/// assert!(backend.commit(&[create("gamma")?]).is_err());
/// backend.recover()?;
/// assert!(backend.owner(&sample::owner_id("beta")?)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Failing<B> {
    inner: B,
    state: Mutex<State>,
}

/// What is to fail, when and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which operations count, and may fail.
    pub target: Target,
    /// Which of them is the first to fail, counted from now: 1 is the next.
    pub nth: u64,
    /// Before or after it takes effect.
    pub moment: Moment,
    /// Whether all later ones fail too.
    pub lasting: bool,
}

/// Operations that a [`Fault`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All but `name`, `sharing` and `close`.
    Any,
    /// `commit`.
    Commits,
    /// Whatever changes nothing, but for `wait`.
    Reads,
    /// `recover`.
    Recoveries,
    /// `record_usage`.
    Usage,
    /// `wait`.
    Waits,
    /// `commit`, `open_metadata`, `prune_events` and `record_usage`.
    Writes,
}

/// When an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When it has done its work, but before it answers: of a write, the outcome is unknown; a
    /// read, a recovery and a wait fail with `Io`.
    After,
    /// Before it does anything, with an error of this kind. It may be `OutcomeUnknown`: then the
    /// write is one that didn't get through.
    Before(BackendErrorKind),
}

#[derive(Debug, Default)]
struct State {
    /// Each with how many more of its operations it lets pass.
    faults: Vec<(Fault, u64)>,
    is_uncertain: bool,
    operations: u64,
    commits_refused: u64,
}

impl Target {
    fn includes(self, other: Self) -> bool {
        let is_write = matches!(other, Self::Commits | Self::Usage);
        self == Self::Any || self == other || (self == Self::Writes && is_write)
    }
}

impl State {
    /// Counts an operation of this kind; tells when it is to fail, if it is.
    fn next(&mut self, target: Target) -> Option<Moment> {
        self.operations += 1;
        let mut moment = None;
        // All faults count, also when one before them strikes.
        self.faults.retain_mut(|(fault, passing)| {
            if !fault.target.includes(target) {
                return true;
            }
            if *passing > 0 {
                *passing -= 1;
                return true;
            }
            moment = moment.or(Some(fault.moment));
            fault.lasting
        });
        moment
    }
}

impl<B: Backend> Failing<B> {
    /// Wraps a backend; nothing fails yet.
    #[must_use]
    pub fn new(inner: B) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// The backend itself, past all faults.
    #[must_use]
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Has operations fail, besides those that were to fail already. `nth` 0 counts as 1.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push((fault, fault.nth.saturating_sub(1)));
    }

    /// Takes all faults away. An outcome that is unknown stays so until recovery.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Whether an outcome is unknown, so that nothing is committed.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.state().is_uncertain
    }

    /// How many operations there were, of whatever kind: a test that fails each of them in turn
    /// counts them first.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How often somebody wanted to commit, prune or take in usage while an outcome was unknown.
    #[must_use]
    pub fn commits_refused(&self) -> u64 {
        self.state().commits_refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: BackendErrorKind, operation: &'static str) -> BackendError {
        BackendError::new(kind, self.inner.name(), operation).with_source("a fault was injected")
    }

    fn read<T>(
        &self,
        target: Target,
        operation: &'static str,
        work: impl FnOnce(&B) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let moment = self.state().next(target);
        match moment {
            None => work(&self.inner),
            Some(Moment::Before(kind)) => Err(self.error(kind, operation)),
            Some(Moment::After) => {
                work(&self.inner)?;
                Err(self.error(BackendErrorKind::Io, operation))
            }
        }
    }

    fn write<T>(
        &self,
        target: Target,
        operation: &'static str,
        work: impl FnOnce(&B) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let moment = self.state().next(target);
        let failed = match moment {
            None => work(&self.inner),
            Some(Moment::Before(kind)) => Err(self.error(kind, operation)),
            Some(Moment::After) => work(&self.inner)
                .and_then(|_| Err(self.error(BackendErrorKind::OutcomeUnknown, operation))),
        };
        if let Err(error) = &failed
            && error.kind() == BackendErrorKind::OutcomeUnknown
        {
            self.state().is_uncertain = true;
        }
        failed
    }

    /// Refuses while an outcome is unknown. Not `OutcomeUnknown` itself: nothing happened.
    fn certain(&self, operation: &'static str) -> Result<(), BackendError> {
        let mut state = self.state();
        if !state.is_uncertain {
            return Ok(());
        }
        state.commits_refused += 1;
        let error = BackendError::new(BackendErrorKind::Io, self.inner.name(), operation);
        Err(error.with_source("an previous outcome is unknown, recover first"))
    }
}

impl<B: Backend> Backend for Failing<B> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    fn open_metadata(&self, initial: &StoreMetadata) -> Result<StoreMetadata, BackendError> {
        self.write(Target::Writes, "open", |inner| inner.open_metadata(initial))
    }

    fn metadata(&self) -> Result<StoreMetadata, BackendError> {
        self.read(Target::Reads, "read metadata", B::metadata)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.read(Target::Reads, "scan", |inner| inner.scan(visit))
    }

    fn expected_keys(&self) -> u64 {
        self.inner.expected_keys()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.read(Target::Reads, "scan owner", |inner| inner.scan_owner(owner, visit))
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.read(Target::Reads, "read owner", |inner| inner.owner(id))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.read(Target::Reads, "read key", |inner| inner.key(id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.read(Target::Reads, "read key", |inner| inner.key_by_numeric_id(id))
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.certain("commit")?;
        self.write(Target::Commits, "commit", |inner| inner.commit(batch))
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.read(Target::Reads, "list keys", |inner| inner.page_keys(query))
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.read(Target::Reads, "count keys", |inner| inner.count_keys(filter))
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.read(Target::Reads, "list owners", |inner| inner.page_owners(query))
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.read(Target::Reads, "read events", |inner| inner.events(query))
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.read(Target::Reads, "read events", B::last_event)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.certain("prune events")?;
        self.write(Target::Writes, "prune events", |inner| inner.prune_events(before, limit))
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        self.read(Target::Waits, "wait", |inner| inner.wait(after, timeout))
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.certain("take in usage")?;
        self.write(Target::Usage, "take in usage", |inner| inner.record_usage(batch))
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.read(Target::Reads, "read usage", |inner| inner.usage(of))
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.read(Target::Recoveries, "recover", B::recover)?;
        self.state().is_uncertain = false;
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Memory;
    use crate::testing::sample;

    fn opened() -> Failing<Memory> {
        let backend = Failing::new(Memory::new());
        backend.open_metadata(&sample::metadata().unwrap()).unwrap();
        backend
    }

    fn create(backend: &impl Backend, id: &str) -> Result<(), BackendErrorKind> {
        let change = sample::create_owner(&sample::owner(id).unwrap()).unwrap();
        let outcome = backend.commit(&[change]).map_err(|error| error.kind())?;
        outcome[0].as_ref().unwrap();
        Ok(())
    }

    fn exists(backend: &Failing<Memory>, id: &str) -> bool {
        backend.inner().owner(&sample::owner_id(id).unwrap()).unwrap().is_some()
    }

    fn fault(target: Target, nth: u64, moment: Moment) -> Fault {
        Fault { target, nth, moment, lasting: false }
    }

    const FULL: Moment = Moment::Before(BackendErrorKind::Full);
    const UNKNOWN: Moment = Moment::Before(BackendErrorKind::OutcomeUnknown);

    #[test]
    fn the_nth_commit_fails_once_before_it_takes_effect() {
        let backend = opened();
        backend.inject(fault(Target::Commits, 2, FULL));
        assert_eq!(create(&backend, "a"), Ok(()));
        assert_eq!(create(&backend, "b"), Err(BackendErrorKind::Full));
        assert!(!exists(&backend, "b") && !backend.is_uncertain());
        assert_eq!(create(&backend, "b"), Ok(()));
        assert_eq!(backend.commits_refused(), 0);
    }

    #[test]
    fn lasting_faults_last_until_they_are_healed() {
        let backend = opened();
        backend.inject(Fault { lasting: true, ..fault(Target::Commits, 1, FULL) });
        for _ in 0..3 {
            assert_eq!(create(&backend, "a"), Err(BackendErrorKind::Full));
        }
        backend.heal();
        assert_eq!(create(&backend, "a"), Ok(()));
    }

    #[test]
    fn an_unknown_outcome_is_of_a_change_that_took_effect_or_of_one_that_did_not() {
        for (moment, took_effect) in [(Moment::After, true), (UNKNOWN, false)] {
            let backend = opened();
            backend.inject(fault(Target::Commits, 1, moment));
            assert_eq!(create(&backend, "a"), Err(BackendErrorKind::OutcomeUnknown));
            assert_eq!(exists(&backend, "a"), took_effect, "{moment:?}");
        }
    }

    #[test]
    fn nothing_is_committed_between_an_unknown_outcome_and_recovery() {
        let backend = opened();
        backend.inject(fault(Target::Commits, 1, UNKNOWN));
        backend.inject(fault(Target::Recoveries, 1, Moment::Before(BackendErrorKind::Io)));
        assert!(create(&backend, "a").is_err() && backend.is_uncertain());
        assert_eq!(create(&backend, "a"), Err(BackendErrorKind::Io));
        assert!(backend.prune_events(sample::at(1), 9).is_err());
        assert!(!exists(&backend, "a"));
        // Reads tell what became of it.
        assert_eq!(backend.last_event().unwrap(), 0);
        // A recovery that failed is none.
        assert!(backend.recover().is_err() && backend.is_uncertain());
        assert_eq!(create(&backend, "a"), Err(BackendErrorKind::Io));
        backend.recover().unwrap();
        assert!(!backend.is_uncertain());
        assert_eq!(create(&backend, "a"), Ok(()));
        assert_eq!(backend.commits_refused(), 3);
    }

    #[test]
    fn targets_tell_operations_apart() {
        let io = Moment::Before(BackendErrorKind::Io);
        type Fails = fn(&Failing<Memory>) -> bool;
        let each: [(Target, Fails); 7] = [
            (Target::Commits, |b| create(b, "new").is_err()),
            (Target::Reads, |b| b.metadata().is_err()),
            (Target::Recoveries, |b| b.recover().is_err()),
            (Target::Waits, |b| b.wait(0, Duration::ZERO).is_err()),
            (Target::Usage, |b| b.record_usage(&[]).is_err()),
            (Target::Writes, |b| b.prune_events(sample::at(0), 9).is_err()),
            (Target::Writes, |b| b.open_metadata(&sample::metadata().unwrap()).is_err()),
        ];
        for (position, (target, _)) in each.iter().enumerate() {
            for (other, (_, fails)) in each.iter().enumerate() {
                let backend = opened();
                backend.inject(Fault { lasting: true, ..fault(*target, 1, io) });
                // Commits and usage are writes too.
                let other_target = each[other].0;
                let is_among = [Target::Commits, Target::Usage].contains(&other_target);
                let expected =
                    each[position].0 == other_target || (*target == Target::Writes && is_among);
                assert_eq!(fails(&backend), expected, "{target:?} and operation {other}");
                backend.heal();
                backend.inject(fault(Target::Any, 1, io));
                assert!(fails(&backend), "any and operation {other}");
            }
        }
    }

    #[test]
    fn an_answer_lost_after_a_read_leaves_nothing_uncertain() {
        let backend = opened();
        for target in [Target::Reads, Target::Waits] {
            backend.inject(fault(target, 1, Moment::After));
        }
        let mut shown = 0;
        create(&backend, "a").unwrap();
        assert!(backend.scan(&mut |_| shown += 1).is_err());
        assert_eq!(shown, 1);
        let error = backend.wait(0, Duration::ZERO).unwrap_err();
        assert_eq!((error.kind(), error.backend()), (BackendErrorKind::Io, "memory"));
        assert!(!backend.is_uncertain());
    }

    #[test]
    fn faults_count_apart_and_operations_are_counted() {
        let backend = opened();
        backend.inject(fault(Target::Any, 3, FULL));
        backend.inject(fault(Target::Commits, 2, FULL));
        assert_eq!(create(&backend, "a"), Ok(()));
        assert!(backend.metadata().is_ok());
        // Both strike here: one error, and neither is left.
        assert_eq!(create(&backend, "b"), Err(BackendErrorKind::Full));
        assert_eq!(create(&backend, "b"), Ok(()));
        assert_eq!(backend.operations(), 5);
    }
}
