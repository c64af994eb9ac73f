//! Joining the changes of concurrent callers into one durable step.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::Error;
use crate::backend::{Applied, BackendError, BackendErrorKind, Change, Rejection};

/// How many changes one step takes at most.
const MAX_BATCH: usize = 256;

/// What came of one change.
pub(super) type Outcome = Result<Result<Applied, Rejection>, Error>;

/// Callers that wait for a step, and the one among them who leads it.
///
/// Whoever finds nobody leading takes what is queued and commits it for all; those who come
/// meanwhile queue up for the next step.
#[derive(Debug, Default)]
pub(super) struct Committer {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_led: bool,
    queue: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    change: Change,
    ticket: Ticket,
}

/// Where a caller finds its outcome.
type Ticket = Arc<Mutex<Option<Outcome>>>;

/// Held by whoever leads: nobody else commits meanwhile.
#[derive(Debug)]
pub(super) struct Lead<'a>(&'a Committer);

impl Committer {
    /// Commits a change, alone or with others, by `step`, which is called by one thread at a time.
    pub(super) fn commit(
        &self,
        change: Change,
        step: impl Fn(&Lead<'_>, &[Change]) -> Result<Vec<Result<Applied, Rejection>>, Error>,
    ) -> Outcome {
        let ticket = Ticket::default();
        let mut state = self.lock();
        state.queue.push(Pending { change, ticket: Arc::clone(&ticket) });
        loop {
            if let Some(outcome) = take(&ticket) {
                return outcome;
            }
            if state.is_led {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let lead = self.lead(&mut state);
            let rest = state.queue.len().min(MAX_BATCH);
            let rest = state.queue.split_off(rest);
            let batch = mem::replace(&mut state.queue, rest);
            drop(state);
            let (changes, tickets): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|pending| (pending.change, pending.ticket)).unzip();
            let tickets = Tickets(tickets);
            let outcomes: Box<dyn Iterator<Item = Outcome>> = match step(&lead, &changes) {
                Ok(outcomes) => Box::new(outcomes.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),
            };
            tickets.answer(outcomes);
            drop(tickets);
            drop(lead);
            state = self.lock();
        }
    }

    /// Waits until nobody leads, and leads: for what may not happen beside a commit.
    pub(super) fn pause(&self) -> Lead<'_> {
        let mut state = self.lock();
        while state.is_led {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.lead(&mut state)
    }

    fn lead(&self, state: &mut State) -> Lead<'_> {
        state.is_led = true;
        Lead(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lead<'_> {
    /// Also when a step panics: others must not wait for ever.
    fn drop(&mut self) {
        self.0.lock().is_led = false;
        self.0.moved.notify_all();
    }
}

/// Those who wait for a step: each gets an answer, also when the step panics.
#[derive(Debug)]
struct Tickets(Vec<Ticket>);

impl Tickets {
    fn answer(&self, outcomes: impl Iterator<Item = Outcome>) {
        for (ticket, outcome) in self.0.iter().zip(outcomes) {
            let mut place = ticket.lock().unwrap_or_else(PoisonError::into_inner);
            place.get_or_insert(outcome);
        }
    }
}

impl Drop for Tickets {
    fn drop(&mut self) {
        let kind = BackendErrorKind::OutcomeUnknown;
        let unknown = Error::OutcomeUnknown(BackendError::new(kind, "store", "commit"));
        self.answer(std::iter::repeat_with(|| Err(unknown.clone())));
    }
}

fn take(ticket: &Ticket) -> Option<Outcome> {
    ticket.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_change_is_committed_once_and_steps_never_overlap() {
        let committer = Committer::default();
        let (steps, inside, changes) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        let step = |_: &Lead<'_>, batch: &[Change]| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            steps.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            let outcomes = batch
                .iter()
                .map(|_| {
                    let n = changes.fetch_add(1, Ordering::SeqCst) + 1;
                    Ok(Applied { first_event: n, last_event: n, external_ids: Vec::new() })
                })
                .collect();
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(outcomes)
        };
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let commit = || committer.commit(Change::default(), step);
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
        let committer = Committer::default();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        committer.commit(Change::default(), |_, batch| {
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
    fn an_error_reaches_every_caller_of_the_step() {
        let committer = Committer::default();
        let failed = committer.commit(Change::default(), |_, _| {
            Err(Error::Unavailable(crate::store::error::Unavailable::Recovering))
        });
        assert!(matches!(failed, Err(Error::Unavailable(_))));
    }
}
