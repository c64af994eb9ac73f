//! A backend that fails when a test wants it to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::damaged::DamagedRecords;
use super::fault::{Fault, Moment, Target};
use crate::backend::{
    Backend, BackendCall, BackendCallKind, BackendError, BackendErrorKind, Change, CommitOutcome,
    Damage, DamagedRecord, EventPage, EventQuery, Finding, KeyPage, KeyPageQuery, OwnerPage,
    OwnerPageQuery, Rejection, Scanned, check_by_reading,
};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord};

/// A backend around any other, with faults injected.
///
/// While no fault is [injected](Failing::inject), it behaves as the backend that it wraps. After an
/// error of unknown outcome it refuses to commit, to prune and to record usage, until
/// [`recover`](Backend::recover) has returned `Ok`. It [counts](Failing::commits_refused) these
/// refusals.
///
/// ```
/// use keyhasp::backend::{Backend, BackendErrorKind, Memory};
/// use keyhasp::testing::{Failing, Fault, Moment, Target, sample};
///
/// let backend = Failing::new(Memory::new());
/// backend.commit(&[sample::create_metadata(&sample::metadata()?)?])?;
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

#[derive(Debug, Default)]
struct State {
    /// Each fault, with the number of its operations that still pass.
    faults: Vec<(Fault, u64)>,
    damaged: DamagedRecords,
    is_uncertain: bool,
    operations: u64,
    commits_refused: u64,
}

impl State {
    /// Counts an operation of this kind; returns when it is to fail, if it is.
    fn next(&mut self, target: Target) -> Option<Moment> {
        self.operations += 1;
        let mut moment = None;
        // Later faults count this operation even if an earlier fault strikes it.
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

    /// Returns the wrapped backend, which has no faults.
    #[must_use]
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Adds a fault to those that were injected already. `nth` 0 counts as 1.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push((fault, fault.nth.saturating_sub(1)));
    }

    /// Damages a record: a key, an owner or an event. From now on reads show the damage in its place,
    /// and changes that rest on it are refused. A purge removes a damaged key. The records that a store
    /// has read already are damaged for it when it reads them again.
    pub fn damage(&self, record: DamagedRecord) {
        self.state().damaged.add(record);
    }

    /// Removes all faults and damage. An unknown outcome stays unknown until recovery.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.damaged.clear();
    }

    /// Returns whether an outcome is unknown, so that nothing is committed.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.state().is_uncertain
    }

    /// Counts the operations of every kind until now. A test that fails each of them in turn
    /// counts them first.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Counts the calls to commit, prune or record usage that came while an outcome was unknown.
    #[must_use]
    pub fn commits_refused(&self) -> u64 {
        self.state().commits_refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self) -> DamagedRecords {
        self.state().damaged.clone()
    }

    /// Returns an error if this record is damaged.
    fn check_whole(
        &self,
        record: DamagedRecord,
        operation: &'static str,
    ) -> Result<(), BackendError> {
        match self.damaged().of(record) {
            Some(damage) => Err(BackendError::damaged(self.inner.name(), operation, damage)),
            None => Ok(()),
        }
    }

    fn error(&self, kind: BackendErrorKind, operation: &'static str) -> BackendError {
        BackendError::new(kind, self.inner.name(), operation).with_source("a fault was injected")
    }

    /// Refuses while an outcome is unknown. The error isn't `OutcomeUnknown`: nothing happened.
    fn check_certain(&self, operation: &'static str) -> Result<(), BackendError> {
        let mut state = self.state();
        if !state.is_uncertain {
            return Ok(());
        }
        state.commits_refused += 1;
        let error = BackendError::new(BackendErrorKind::Io, self.inner.name(), operation);
        Err(error.with_source("a previous outcome is unknown, recover first"))
    }
}

// The path is written out: with both traits in scope, a call on `Failing` would be ambiguous.
impl<B: Backend> crate::backend::BackendLayer for Failing<B> {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let damaged = self.damaged();
        self.inner.scan(&mut |scanned| visit(damaged.scanned(scanned)))
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        let damaged = self.damaged();
        self.inner.scan_owner(owner, &mut |scanned| visit(damaged.scanned(scanned)))
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.check_whole(DamagedRecord::Owner(*id), "read owner")?;
        self.inner.owner(id)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.check_whole(DamagedRecord::Key(id), "read key")?;
        self.inner.key(id)
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        let key = self.inner.key_by_numeric_id(id)?;
        if let Some(key) = &key {
            self.check_whole(DamagedRecord::Key(key.id), "read key")?;
        }
        Ok(key)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let damaged = self.damaged();
        if damaged.is_empty() {
            return self.inner.commit(batch);
        }
        let under: Vec<_> = batch.iter().map(|change| damaged.under(change)).collect();
        let is_whole =
            |(change, under): (&Change, &Option<Damage>)| under.is_none().then(|| change.clone());
        let passed: Vec<Change> = batch.iter().zip(&under).filter_map(is_whole).collect();
        let mut outcome = self.inner.commit(&passed)?.into_iter();
        for (change, applied) in passed.iter().zip(outcome.as_slice()) {
            if applied.is_ok() {
                self.state().damaged.forget_removed(change);
            }
        }
        let one = |under: Option<Damage>| match under {
            Some(damage) => Some(Err(Rejection::Damaged(Box::new(damage)))),
            None => outcome.next(),
        };
        Ok(under.into_iter().filter_map(one).collect())
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        Ok(self.damaged().page_of_keys(self.inner.page_keys(query)?))
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        Ok(self.damaged().page_of_owners(self.inner.page_owners(query)?))
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        Ok(self.damaged().page_of_events(self.inner.events(query)?))
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        check_by_reading(self)
    }

    fn around<T>(
        &self,
        call: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        use BackendCallKind::{Close, Commit, Prune, Read, Recover, Usage, Wait, Watch};
        let target = match call.kind {
            // The store watches by its own time, which is in no test's hand.
            Close | Watch => return run(),
            Commit => Target::Commits,
            Prune => Target::Writes,
            Read => Target::Reads,
            Recover => Target::Recoveries,
            Usage => Target::Usage,
            Wait => Target::Waits,
        };
        if matches!(call.kind, Commit | Prune | Usage) {
            self.check_certain(call.operation)?;
        }
        let is_write = matches!(call.kind, Commit | Prune | Usage);
        let moment = self.state().next(target);
        let answer = match moment {
            None => run(),
            Some(Moment::Before(kind)) => Err(self.error(kind, call.operation)),
            Some(Moment::After) => {
                let lost =
                    if is_write { BackendErrorKind::OutcomeUnknown } else { BackendErrorKind::Io };
                run().and_then(|_| Err(self.error(lost, call.operation)))
            }
        };
        match &answer {
            Err(error) if is_write && error.kind() == BackendErrorKind::OutcomeUnknown => {
                self.state().is_uncertain = true;
            }
            Ok(_) if call.kind == Recover => self.state().is_uncertain = false,
            _ => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Memory;
    use crate::testing::sample;

    fn opened() -> Failing<Memory> {
        let backend = Failing::new(Memory::new());
        let create = sample::create_metadata(&sample::metadata().unwrap()).unwrap();
        backend.commit(&[create]).unwrap();
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
        // Reads show whether it took effect.
        assert_eq!(backend.last_event().unwrap(), 1);
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
        let each: [(Target, Fails); 6] = [
            (Target::Commits, |b| create(b, "new").is_err()),
            (Target::Reads, |b| b.metadata().is_err()),
            (Target::Recoveries, |b| b.recover().is_err()),
            (Target::Waits, |b| b.wait(0, Duration::ZERO).is_err()),
            (Target::Usage, |b| b.record_usage(&[]).is_err()),
            (Target::Writes, |b| b.prune_events(sample::at(0), 9).is_err()),
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
        let before = backend.operations();
        backend.inject(fault(Target::Any, 3, FULL));
        backend.inject(fault(Target::Commits, 2, FULL));
        assert_eq!(create(&backend, "a"), Ok(()));
        assert!(backend.metadata().is_ok());
        // Both strike here: one error, and neither is left.
        assert_eq!(create(&backend, "b"), Err(BackendErrorKind::Full));
        assert_eq!(create(&backend, "b"), Ok(()));
        assert_eq!(backend.operations() - before, 4);
    }

    #[test]
    fn damaged_records_are_shown_as_such_and_refuse_what_rests_on_them() {
        let backend = opened();
        create(&backend, "a").unwrap();
        create(&backend, "b").unwrap();
        let keys = [1, 2].map(|number| sample::key(number, "a").unwrap());
        let creations = keys.clone().map(|key| sample::create_key(&key).unwrap());
        backend.commit(&creations).unwrap();
        assert_eq!(backend.check().unwrap(), []);
        let records = [
            DamagedRecord::Key(keys[0].id),
            DamagedRecord::Owner(sample::owner_id("b").unwrap()),
            DamagedRecord::Event(2),
        ];
        records.iter().for_each(|record| backend.damage(*record));
        assert!(backend.key(keys[0].id).unwrap_err().damage().is_some());
        assert!(backend.key(keys[1].id).unwrap().is_some());
        let found = backend.check().unwrap();
        let of = |finding: &crate::backend::Finding| match finding {
            crate::backend::Finding::Record(damage) => damage.record,
            _ => DamagedRecord::Unknown,
        };
        let mut found: Vec<String> = found.iter().map(|finding| of(finding).to_string()).collect();
        let mut expected = records.map(|record| record.to_string()).to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let changes =
            keys.clone().map(|key| sample::replace_key(&sample::changed_key(&key)).unwrap());
        let outcome = backend.commit(&changes).unwrap();
        assert!(matches!(outcome[..], [Err(Rejection::Damaged(_)), Ok(_)]), "{outcome:?}");
        backend.heal();
        assert!(backend.key(keys[0].id).unwrap().is_some());
    }
}
