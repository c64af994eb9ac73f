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
    /// How often somebody has led.
    turns: u64,
    /// How many wait to lead for something else than a commit.
    pausing: usize,
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
            // Its own among them: if the step panics, nothing stays behind that nobody waits for.
            let own = state.queue.iter().position(|pending| Arc::ptr_eq(&pending.ticket, &ticket));
            if let Some(own) = own.filter(|own| *own >= MAX_BATCH) {
                let own = state.queue.remove(own);
                state.queue.insert(MAX_BATCH - 1, own);
            }
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
    ///
    /// If others wait already, one of them has its turn first. So whoever does something long in
    /// pieces, and leads anew for each, lets others in between; woken threads are slow to come.
    pub(super) fn pause(&self) -> Lead<'_> {
        let mut state = self.lock();
        let (turns, is_behind_another) = (state.turns, state.pausing > 0);
        state.pausing += 1;
        while state.is_led
            || (state.turns == turns && (is_behind_another || !state.queue.is_empty()))
        {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.pausing -= 1;
        self.lead(&mut state)
    }

    fn lead(&self, state: &mut State) -> Lead<'_> {
        state.is_led = true;
        state.turns = state.turns.wrapping_add(1);
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
    fn who_pauses_again_and_again_lets_others_in_between() {
        const ROUNDS: usize = 200;
        let (committer, steps) = (Committer::default(), AtomicUsize::new(0));
        let step = |_: &Lead<'_>, batch: &[Change]| {
            steps.fetch_add(1, Ordering::SeqCst);
            Ok(batch
                .iter()
                .map(|_| Ok(Applied { first_event: 1, last_event: 1, external_ids: Vec::new() }))
                .collect())
        };
        std::thread::scope(|scope| {
            let mut lead = committer.pause();
            for round in 0..ROUNDS {
                let waiting = scope.spawn(|| committer.commit(Change::default(), step).is_ok());
                while committer.lock().queue.is_empty() {
                    std::thread::yield_now();
                }
                drop(lead);
                lead = committer.pause();
                assert_eq!(steps.load(Ordering::SeqCst), round + 1);
                assert!(waiting.join().unwrap());
            }
            for round in ROUNDS..ROUNDS * 2 {
                let waiting = scope.spawn(|| {
                    let _lead = committer.pause();
                    steps.fetch_add(1, Ordering::SeqCst)
                });
                while committer.lock().pausing == 0 {
                    std::thread::yield_now();
                }
                drop(lead);
                lead = committer.pause();
                assert_eq!(steps.load(Ordering::SeqCst), round + 1);
                assert_eq!(waiting.join().unwrap(), round);
            }
        });
    }

    #[test]
    fn a_step_that_panics_leaves_nothing_behind_that_nobody_waits_for() {
        let committer = Committer::default();
        let others: Vec<Ticket> = (0..MAX_BATCH).map(|_| Ticket::default()).collect();
        committer.lock().queue.extend(others.iter().map(|ticket| {
            let (change, ticket) = (Change::default(), Arc::clone(ticket));
            Pending { change, ticket }
        }));
        let caller = || committer.commit(Change::default(), |_, _| panic!("planted"));
        let panicked = std::thread::scope(|scope| scope.spawn(caller).join());
        assert!(panicked.is_err());
        // As many as one step takes are done with: the caller's own, and all others but one.
        let last = others.iter().position(|ticket| take(ticket).is_none());
        assert_eq!(last, Some(MAX_BATCH - 1));
        let state = committer.lock();
        assert_eq!(state.queue.len(), 1);
        assert!(Arc::ptr_eq(&state.queue[0].ticket, &others[MAX_BATCH - 1]));
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
