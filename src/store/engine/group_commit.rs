//! Joining the changes of concurrent callers in one durable write.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::backend::{Applied, BackendError, BackendErrorKind, Change, Rejection};
use crate::store::types::error::Error;

/// Largest number of changes in a batch.
const MAX_BATCH: usize = 256;

/// The outcome of one change.
pub(in crate::store) type Outcome = Result<Result<Applied, Rejection>, Error>;

/// The queue of changes, and the guard under which one thread commits them.
///
/// A caller that finds the guard free acquires it and commits the queued changes of all callers as
/// one batch. Callers that come meanwhile queue for the next batch.
#[derive(Debug, Default)]
pub(in crate::store) struct GroupCommit {
    /// Locked, so that two threads can't both find the guard free and commit at the same time, and
    /// so that no thread misses a wake between its look at the state and its wait.
    state: Mutex<State>,
    /// Notified when a thread drops the guard. Without it the waiting threads would never wake.
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A thread holds the guard.
    is_committing: bool,
    queue: Vec<QueuedChange>,
    /// Number of times that a thread has acquired the guard.
    acquisitions: u64,
    /// Number of threads that wait in `acquire`.
    acquiring: usize,
}

#[derive(Debug)]
struct QueuedChange {
    change: Change,
    slot: CompletionSlot,
}

/// The outcome of a caller's change, once it has one. Locked, since the thread that commits the
/// batch writes it and the caller reads it.
type CompletionSlot = Arc<Mutex<Option<Outcome>>>;

/// Permission to write to the backend. While a thread holds it, no other thread commits.
#[derive(Debug)]
pub(in crate::store) struct CommitGuard<'a>(&'a GroupCommit);

impl GroupCommit {
    /// Commits a change, alone or in a batch with others, by `commit_batch`. One thread at a time
    /// calls `commit_batch`.
    pub(in crate::store) fn commit(
        &self,
        change: Change,
        commit_batch: impl Fn(
            &CommitGuard<'_>,
            &[Change],
        ) -> Result<Vec<Result<Applied, Rejection>>, Error>,
    ) -> Outcome {
        let slot = CompletionSlot::default();
        let mut state = self.lock();
        state.queue.push(QueuedChange { change, slot: Arc::clone(&slot) });
        loop {
            if let Some(outcome) = take_outcome(&slot) {
                return outcome;
            }
            if state.is_committing {
                state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let guard = self.guard(&mut state);
            // The batch holds this caller's own change. Otherwise, if the batch panicked, this
            // thread would unwind and leave in the queue a change that no caller waits for.
            let own = state.queue.iter().position(|queued| Arc::ptr_eq(&queued.slot, &slot));
            if let Some(own) = own.filter(|own| *own >= MAX_BATCH) {
                let own = state.queue.remove(own);
                state.queue.insert(MAX_BATCH - 1, own);
            }
            let rest = state.queue.len().min(MAX_BATCH);
            let rest = state.queue.split_off(rest);
            let batch = mem::replace(&mut state.queue, rest);
            drop(state);
            let (changes, slots): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|queued| (queued.change, queued.slot)).unzip();
            let slots = CompletionSlots(slots);
            let outcomes: Box<dyn Iterator<Item = Outcome>> = match commit_batch(&guard, &changes) {
                Ok(outcomes) => Box::new(outcomes.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),
            };
            slots.answer(outcomes);
            drop(slots);
            drop(guard);
            state = self.lock();
        }
    }

    /// Waits until no thread commits, and returns the guard: for a write that must not run beside a
    /// commit.
    ///
    /// If other threads wait already, one of them acquires the guard first. A thread that does long
    /// work in steps, and acquires the guard for each, lets others commit in between. Without this
    /// rule it would acquire the guard again before a woken thread runs.
    pub(in crate::store) fn acquire(&self) -> CommitGuard<'_> {
        let mut state = self.lock();
        let (acquisitions, is_behind_another) = (state.acquisitions, state.acquiring > 0);
        state.acquiring += 1;
        while state.is_committing
            || (state.acquisitions == acquisitions
                && (is_behind_another || !state.queue.is_empty()))
        {
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.acquiring -= 1;
        self.guard(&mut state)
    }

    fn guard(&self, state: &mut State) -> CommitGuard<'_> {
        state.is_committing = true;
        state.acquisitions = state.acquisitions.wrapping_add(1);
        CommitGuard(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CommitGuard<'_> {
    /// Releases the guard, also when a batch panics: otherwise the other threads would wait for
    /// ever.
    fn drop(&mut self) {
        self.0.lock().is_committing = false;
        // All, since threads wait for different things. A single woken thread may find only its
        // outcome and return, and the threads that wait for the guard would sleep on.
        self.0.released.notify_all();
    }
}

/// The completion slots of a batch. Each gets an outcome, also when the batch panics.
#[derive(Debug)]
struct CompletionSlots(Vec<CompletionSlot>);

impl CompletionSlots {
    fn answer(&self, outcomes: impl Iterator<Item = Outcome>) {
        for (slot, outcome) in self.0.iter().zip(outcomes) {
            slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        }
    }
}

impl Drop for CompletionSlots {
    /// Answers the slots that have no outcome yet: theirs is unknown.
    fn drop(&mut self) {
        let kind = BackendErrorKind::OutcomeUnknown;
        let unknown = Error::OutcomeUnknown(BackendError::new(kind, "store", "commit"));
        self.answer(std::iter::repeat_with(|| Err(unknown.clone())));
    }
}

fn take_outcome(slot: &CompletionSlot) -> Option<Outcome> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_change_is_committed_once_and_batches_never_overlap() {
        let group_commit = GroupCommit::default();
        let (batches, inside, changes) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        let commit_batch = |_: &CommitGuard<'_>, batch: &[Change]| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            batches.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            let outcomes = batch
                .iter()
                .map(|_| {
                    let n = changes.fetch_add(1, Ordering::SeqCst) + 1;
                    Ok(Applied { first_event: n, last_event: n, ..Applied::default() })
                })
                .collect();
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(outcomes)
        };
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let commit = || group_commit.commit(Change::default(), commit_batch);
                        (0..200).map(|_| commit().unwrap().unwrap().first_event).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=3_200).collect::<Vec<_>>());
        assert!(batches.load(Ordering::SeqCst) <= 3_200);
    }

    #[test]
    fn a_batch_that_panics_leaves_no_caller_waiting() {
        let group_commit = GroupCommit::default();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        group_commit.commit(Change::default(), |_, batch| {
                            if batch.len() > 1 {
                                panic!("injected");
                            }
                            std::thread::yield_now();
                            Ok(Vec::new())
                        })
                    })
                })
                .collect();
            callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        // A caller that didn't panic learns that its outcome is unknown, also where the batch
        // returned too few outcomes.
        let unknown = |outcome: &Outcome| matches!(outcome, Err(Error::OutcomeUnknown(_)));
        assert!(outcomes.iter().flatten().all(unknown));
    }

    #[test]
    fn a_thread_that_acquires_again_and_again_lets_others_in_between() {
        const ROUNDS: usize = 200;
        let (group_commit, batches) = (GroupCommit::default(), AtomicUsize::new(0));
        let commit_batch = |_: &CommitGuard<'_>, batch: &[Change]| {
            batches.fetch_add(1, Ordering::SeqCst);
            Ok(batch
                .iter()
                .map(|_| Ok(Applied { first_event: 1, last_event: 1, ..Applied::default() }))
                .collect())
        };
        std::thread::scope(|scope| {
            let mut guard = group_commit.acquire();
            for round in 0..ROUNDS {
                let waiting =
                    scope.spawn(|| group_commit.commit(Change::default(), commit_batch).is_ok());
                while group_commit.lock().queue.is_empty() {
                    std::thread::yield_now();
                }
                drop(guard);
                guard = group_commit.acquire();
                assert_eq!(batches.load(Ordering::SeqCst), round + 1);
                assert!(waiting.join().unwrap());
            }
            for round in ROUNDS..ROUNDS * 2 {
                let waiting = scope.spawn(|| {
                    let _guard = group_commit.acquire();
                    batches.fetch_add(1, Ordering::SeqCst)
                });
                while group_commit.lock().acquiring == 0 {
                    std::thread::yield_now();
                }
                drop(guard);
                guard = group_commit.acquire();
                assert_eq!(batches.load(Ordering::SeqCst), round + 1);
                assert_eq!(waiting.join().unwrap(), round);
            }
        });
    }

    #[test]
    fn a_batch_that_panics_leaves_no_change_without_a_caller() {
        let group_commit = GroupCommit::default();
        let others: Vec<_> = (0..MAX_BATCH).map(|_| CompletionSlot::default()).collect();
        group_commit.lock().queue.extend(others.iter().map(|slot| {
            let (change, slot) = (Change::default(), Arc::clone(slot));
            QueuedChange { change, slot }
        }));
        let caller = || group_commit.commit(Change::default(), |_, _| panic!("injected"));
        let panicked = std::thread::scope(|scope| scope.spawn(caller).join());
        assert!(panicked.is_err());
        // One batch is answered: the caller's own change, and all others except the last.
        let last = others.iter().position(|slot| take_outcome(slot).is_none());
        assert_eq!(last, Some(MAX_BATCH - 1));
        let state = group_commit.lock();
        assert_eq!(state.queue.len(), 1);
        assert!(Arc::ptr_eq(&state.queue[0].slot, &others[MAX_BATCH - 1]));
    }

    #[test]
    fn an_error_reaches_every_caller_of_the_batch() {
        let group_commit = GroupCommit::default();
        let failed = group_commit.commit(Change::default(), |_, _| {
            Err(Error::Unavailable(crate::store::types::verify_error::Unavailable::Recovering))
        });
        assert!(matches!(failed, Err(Error::Unavailable(_))));
    }
}
