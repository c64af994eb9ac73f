//! Joining the changes of concurrent callers into one durable step.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::backend::{Applied, BackendError, BackendErrorKind, Change, Rejection};
use crate::store::types::error::Error;

/// How many changes one step takes at most.
const MAX_BATCH: usize = 256;

/// What came of one change.
pub(in crate::store) type Outcome = Result<Result<Applied, Rejection>, Error>;

/// Callers that wait for a step, and the one among them who leads it.
///
/// Whoever finds nobody leading takes what is queued and commits it for all; those who come
/// meanwhile queue up for the next step.
#[derive(Debug, Default)]
pub(in crate::store) struct GroupCommit {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_led: bool,
    queue: Vec<Pending>,
    /// How often somebody has led.
    turns: u64,
    /// How many wait to guard for something else than a commit.
    acquiring: usize,
}

#[derive(Debug)]
struct Pending {
    change: Change,
    slot: Slot,
}

/// Where a caller finds its outcome.
type Slot = Arc<Mutex<Option<Outcome>>>;

/// Held by whoever leads: nobody else commits meanwhile.
#[derive(Debug)]
pub(in crate::store) struct CommitGuard<'a>(&'a GroupCommit);

impl GroupCommit {
    /// Commits a change, alone or with others, by `step`, which is called by one thread at a time.
    pub(in crate::store) fn commit(
        &self,
        change: Change,
        step: impl Fn(&CommitGuard<'_>, &[Change]) -> Result<Vec<Result<Applied, Rejection>>, Error>,
    ) -> Outcome {
        let slot = Slot::default();
        let mut state = self.lock();
        state.queue.push(Pending { change, slot: Arc::clone(&slot) });
        loop {
            if let Some(outcome) = take(&slot) {
                return outcome;
            }
            if state.is_led {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let guard = self.guard(&mut state);
            // Its own among them: if the step panics, nothing stays behind that nobody waits for.
            let own = state.queue.iter().position(|pending| Arc::ptr_eq(&pending.slot, &slot));
            if let Some(own) = own.filter(|own| *own >= MAX_BATCH) {
                let own = state.queue.remove(own);
                state.queue.insert(MAX_BATCH - 1, own);
            }
            let rest = state.queue.len().min(MAX_BATCH);
            let rest = state.queue.split_off(rest);
            let batch = mem::replace(&mut state.queue, rest);
            drop(state);
            let (changes, slots): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|pending| (pending.change, pending.slot)).unzip();
            let slots = Slots(slots);
            let outcomes: Box<dyn Iterator<Item = Outcome>> = match step(&guard, &changes) {
                Ok(outcomes) => Box::new(outcomes.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),
            };
            slots.answer(outcomes);
            drop(slots);
            drop(guard);
            state = self.lock();
        }
    }

    /// Waits until nobody leads, and leads: for what may not happen beside a commit.
    ///
    /// If others wait already, one of them has its turn first. So whoever does something long in
    /// pieces, and leads anew for each, lets others in between; woken threads are slow to come.
    pub(in crate::store) fn acquire(&self) -> CommitGuard<'_> {
        let mut state = self.lock();
        let (turns, is_behind_another) = (state.turns, state.acquiring > 0);
        state.acquiring += 1;
        while state.is_led
            || (state.turns == turns && (is_behind_another || !state.queue.is_empty()))
        {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.acquiring -= 1;
        self.guard(&mut state)
    }

    fn guard(&self, state: &mut State) -> CommitGuard<'_> {
        state.is_led = true;
        state.turns = state.turns.wrapping_add(1);
        CommitGuard(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CommitGuard<'_> {
    /// Also when a step panics: others must not wait for ever.
    fn drop(&mut self) {
        self.0.lock().is_led = false;
        self.0.moved.notify_all();
    }
}

/// Those who wait for a step: each gets an answer, also when the step panics.
#[derive(Debug)]
struct Slots(Vec<Slot>);

impl Slots {
    fn answer(&self, outcomes: impl Iterator<Item = Outcome>) {
        for (slot, outcome) in self.0.iter().zip(outcomes) {
            let mut place = slot.lock().unwrap_or_else(PoisonError::into_inner);
            place.get_or_insert(outcome);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let kind = BackendErrorKind::OutcomeUnknown;
        let unknown = Error::OutcomeUnknown(BackendError::new(kind, "store", "commit"));
        self.answer(std::iter::repeat_with(|| Err(unknown.clone())));
    }
}

fn take(slot: &Slot) -> Option<Outcome> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_change_is_committed_once_and_steps_never_overlap() {
        let group_commit = GroupCommit::default();
        let (steps, inside, changes) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        let step = |_: &CommitGuard<'_>, batch: &[Change]| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            steps.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            let outcomes = batch
                .iter()
                .map(|_| {
                    let n = changes.fetch_add(1, Ordering::SeqCst) + 1;
                    Ok(Applied { first_event: n, last_event: n, numeric_ids: Vec::new() })
                })
                .collect();
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(outcomes)
        };
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let commit = || group_commit.commit(Change::default(), step);
                        (0..200).map(|_| commit().unwrap().unwrap().first_event).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=3_200).collect::<Vec<_>>());
        assert!(steps.load(Ordering::SeqCst) <= 3_200);
    }

    #[test]
    fn a_step_that_panics_leaves_nobody_waiting() {
        let group_commit = GroupCommit::default();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        group_commit.commit(Change::default(), |_, batch| {
                            if batch.len() > 1 {
                                panic!("planted");
                            }
                            std::thread::yield_now();
                            Ok(Vec::new())
                        })
                    })
                })
                .collect();
            callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        // Whoever didn't panic is told that nothing is known: also of a change without an answer.
        let unknown = |outcome: &Outcome| matches!(outcome, Err(Error::OutcomeUnknown(_)));
        assert!(outcomes.iter().flatten().all(unknown));
    }

    #[test]
    fn who_pauses_again_and_again_lets_others_in_between() {
        const ROUNDS: usize = 200;
        let (group_commit, steps) = (GroupCommit::default(), AtomicUsize::new(0));
        let step = |_: &CommitGuard<'_>, batch: &[Change]| {
            steps.fetch_add(1, Ordering::SeqCst);
            Ok(batch
                .iter()
                .map(|_| Ok(Applied { first_event: 1, last_event: 1, numeric_ids: Vec::new() }))
                .collect())
        };
        std::thread::scope(|scope| {
            let mut guard = group_commit.acquire();
            for round in 0..ROUNDS {
                let waiting = scope.spawn(|| group_commit.commit(Change::default(), step).is_ok());
                while group_commit.lock().queue.is_empty() {
                    std::thread::yield_now();
                }
                drop(guard);
                guard = group_commit.acquire();
                assert_eq!(steps.load(Ordering::SeqCst), round + 1);
                assert!(waiting.join().unwrap());
            }
            for round in ROUNDS..ROUNDS * 2 {
                let waiting = scope.spawn(|| {
                    let _guard = group_commit.acquire();
                    steps.fetch_add(1, Ordering::SeqCst)
                });
                while group_commit.lock().acquiring == 0 {
                    std::thread::yield_now();
                }
                drop(guard);
                guard = group_commit.acquire();
                assert_eq!(steps.load(Ordering::SeqCst), round + 1);
                assert_eq!(waiting.join().unwrap(), round);
            }
        });
    }

    #[test]
    fn a_step_that_panics_leaves_nothing_behind_that_nobody_waits_for() {
        let group_commit = GroupCommit::default();
        let others: Vec<Slot> = (0..MAX_BATCH).map(|_| Slot::default()).collect();
        group_commit.lock().queue.extend(others.iter().map(|slot| {
            let (change, slot) = (Change::default(), Arc::clone(slot));
            Pending { change, slot }
        }));
        let caller = || group_commit.commit(Change::default(), |_, _| panic!("planted"));
        let panicked = std::thread::scope(|scope| scope.spawn(caller).join());
        assert!(panicked.is_err());
        // As many as one step takes are done with: the caller's own, and all others but one.
        let last = others.iter().position(|slot| take(slot).is_none());
        assert_eq!(last, Some(MAX_BATCH - 1));
        let state = group_commit.lock();
        assert_eq!(state.queue.len(), 1);
        assert!(Arc::ptr_eq(&state.queue[0].slot, &others[MAX_BATCH - 1]));
    }

    #[test]
    fn an_error_reaches_every_caller_of_the_step() {
        let group_commit = GroupCommit::default();
        let failed = group_commit.commit(Change::default(), |_, _| {
            Err(Error::Unavailable(crate::store::types::error::Unavailable::Recovering))
        });
        assert!(matches!(failed, Err(Error::Unavailable(_))));
    }
}
