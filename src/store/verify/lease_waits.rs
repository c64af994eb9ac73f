//! The verifications that wait for leases, and their deadlines.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::lease_queue::{Account, Due, LeaseQueue, Need, Place, Wanted};
use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::process::Process;
use crate::store::engine::{Next, Signal, Worked};
use crate::store::types::verify_error::Unavailable;

/// Largest number of changes of a quota, or of its records in the index, while one verification waits.
const MAX_CHANGES: u8 = 100;

/// The most leases that are asked for ahead before the fetching thread looks.
const MOST_ASKED: usize = 1_024;

/// The shortest time after which to try again.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
/// The longest, where nothing tells.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// The verifications that wait for leases: the wakers of parked threads and of futures alike.
#[derive(Debug)]
pub(super) struct LeaseWaits {
    /// Locked, since verifications add to it while a thread fetches leases and another watches the
    /// deadlines. Without the lock an answer could miss the verification that waits for it.
    list: Mutex<List>,
    /// The leases that were asked for ahead, until the fetching thread queues them; at most
    /// [`MOST_ASKED`]. Locked for a push: a use that asks would otherwise wait while that thread works
    /// on the list.
    asked: Mutex<Vec<(Account, Timestamp)>>,
    /// The longest time that a verification waits.
    bound: Duration,
    /// A child has a copy of the lock, which a thread that it lacks may hold.
    process: Process,
    /// Wakes the thread that fetches.
    pub(super) fetches: Arc<Signal>,
    /// Wakes the thread that watches the deadlines, and never calls the backend.
    pub(super) deadlines: Arc<Signal>,
}

#[derive(Debug, Default)]
struct List {
    queue: LeaseQueue,
    waiting: BTreeMap<Place, Waiting>,
    done: BTreeMap<Place, Outcome>,
    /// The waits that ended, and aren't told so yet. Until then their deadlines count: a write that
    /// hangs before they are told must not keep them waiting.
    ended: Vec<(Place, Outcome)>,
    /// The number of the last place.
    last: u64,
    /// The thread that fetches was woken, and has not found the queue empty since.
    is_fetching: bool,
    is_closed: bool,
}

/// A verification that waits for the lease of a quota.
#[derive(Debug)]
struct Waiting {
    waker: Waker,
    subject: UsageSubject,
}

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The quota may have a lease now, or is known to be exhausted: the verification tries again.
    TryAgain,
    /// The quota was changed meanwhile: the verification tries again, but not for ever.
    Changed,
    Failed(Unavailable),
}

/// The place of a verification among those that wait for the lease of a quota. Dropping it gives the
/// place up.
pub struct LeaseWait {
    waits: Arc<LeaseWaits>,
    deadline: Instant,
    place: Option<Place>,
    changes: u8,
}

impl LeaseWaits {
    pub(super) fn new(bound: Duration) -> Self {
        let (fetches, deadlines) = (Arc::default(), Arc::default());
        let process = Process::current();
        Self { list: Mutex::default(), asked: Mutex::default(), bound, process, fetches, deadlines }
    }

    /// Begins the time of a verification that has to wait.
    pub(super) fn begin(self: &Arc<Self>) -> LeaseWait {
        let deadline = Instant::now() + self.bound;
        LeaseWait { waits: Arc::clone(self), deadline, place: None, changes: 0 }
    }

    /// Asks for a lease that no verification waits for. Wakes the fetching thread only if no
    /// other use has asked since it looked.
    pub(super) fn fetch_ahead(&self, account: Account, at: Timestamp) {
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            // A child has a copy of the lock, which a thread that it lacks may hold.
            Err(_) if self.process.is_forked() => return,
            Err(_) => self.lock_asked(),
        };
        if asked.len() == MOST_ASKED {
            drop(asked);
            // Merged there, by quota: a write that hangs must not fill memory.
            return self.lock().queue.add(Wanted::ahead(account, at));
        }
        asked.push((account, at));
        let is_first = asked.len() == 1;
        drop(asked);
        if is_first && !self.process.is_forked() {
            self.fetches.wake();
        }
    }

    /// Takes up to so many leases that are due.
    pub(super) fn take(&self, limit: usize) -> Due {
        let asked = mem::take(&mut *self.lock_asked());
        let mut list = self.lock();
        for (account, at) in asked {
            list.queue.add(Wanted::ahead(account, at));
        }
        let due = list.queue.take(Instant::now(), limit);
        list.is_fetching = matches!(due, Due::Now(_));
        due
    }

    /// A lease of this quota was written.
    pub(super) fn end_pause(&self, subject: &UsageSubject) {
        self.lock().queue.end_pause(subject);
    }

    /// Whether leases of a quota have failed again and again, and none came since.
    pub(super) fn is_any_failing(&self) -> bool {
        self.lock().queue.is_any_failing()
    }

    /// The backend has written.
    pub(super) fn end_busy(&self) {
        self.lock().queue.end_busy();
    }

    /// Pauses all quotas. Verifications whose deadline comes first hear when to try again. Returns
    /// whether the backend has been busy for long.
    pub(super) fn pause_all(&self, wanted: Vec<Wanted>) -> bool {
        let mut list = self.lock();
        let List { queue, waiting, .. } = &mut *list;
        queue.pause_all(wanted, Instant::now(), |place| waiting.contains_key(place));
        queue.is_busy_for_long()
    }

    /// Pauses a quota, and answers those who wait for it.
    pub(super) fn fail(&self, wanted: Wanted) {
        let now = Instant::now();
        let until = self.lock().queue.fail(&wanted, now);
        let retry_after = (until - now).max(SHORTEST_RETRY);
        self.end(wanted.waiters, Outcome::Failed(Unavailable::Quota { retry_after }));
    }

    /// Pauses a quota whose lease can't be given back.
    pub(super) fn pause(&self, subject: &UsageSubject) {
        self.lock().queue.pause(*subject, Instant::now());
    }

    /// Returns when it is worth to try again, where nothing tells.
    pub(super) fn later(&self) -> Duration {
        self.bound.clamp(SHORTEST_RETRY, LONGEST_RETRY)
    }

    /// Returns whether leases of this quota are paused.
    pub(super) fn is_paused(&self, subject: &UsageSubject) -> bool {
        self.lock().queue.paused_until(subject, Instant::now()).is_some()
    }

    /// Ends waits. The caller then tells the verifications, without a lock that they may need.
    pub(super) fn end(&self, waiters: impl IntoIterator<Item = Place>, outcome: Outcome) {
        self.lock().ended.extend(waiters.into_iter().map(|place| (place, outcome)));
    }

    /// Tells the verifications whose waits ended, and wakes them.
    pub(super) fn wake_ended(&self) {
        let wakers = self.lock().tell_ended();
        wake_all(wakers);
    }

    /// Answers the verifications whose deadline has come. The thread that calls this calls no
    /// backend, so nothing that a backend does delays an answer.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut list = self.lock();
        let mut wakers = list.tell_ended();
        let next = loop {
            match list.waiting.first_key_value() {
                Some((place, waiting)) if place.0 <= now => {
                    let (place, subject) = (*place, waiting.subject);
                    list.queue.expire(&subject, place);
                    let retry_after = self.retry_after(&list, &subject, now);
                    let outcome = Outcome::Failed(Unavailable::Quota { retry_after });
                    wakers.extend(list.end(place, outcome));
                }
                first => break first.map(|(place, _)| place.0),
            }
        };
        drop(list);
        wake_all(wakers);
        next
    }

    /// Returns when to try again for a verification that gives up.
    fn retry_after(&self, list: &List, subject: &UsageSubject, now: Instant) -> Duration {
        let due = list.queue.paused_until(subject, now);
        due.map_or(self.later(), |due| (due - now).max(SHORTEST_RETRY))
    }

    /// The work of the thread that watches the deadlines.
    pub(super) fn watch(&self) -> Worked {
        let now = Instant::now();
        let next = self.expire(now);
        let pause = next.map(|next| next.saturating_duration_since(now));
        Worked::nothing(pause.map_or(Next::WhenWoken, Next::After))
    }

    /// Answers all waiting verifications, and later ones, that the store is closed.
    pub(super) fn close(&self) {
        let mut list = self.lock();
        list.is_closed = true;
        let waiters: Vec<_> = list.waiting.keys().copied().collect();
        drop(list);
        self.end(waiters, Outcome::Failed(Unavailable::Closed));
        self.wake_ended();
    }

    fn wake_fetcher(&self, mut list: MutexGuard<'_, List>) {
        let was_fetching = mem::replace(&mut list.is_fetching, true);
        drop(list);
        if !was_fetching {
            self.fetches.wake();
        }
    }

    fn lock_asked(&self) -> MutexGuard<'_, Vec<(Account, Timestamp)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// Ends a wait that hasn't ended; returns its waker.
    fn end(&mut self, place: Place, outcome: Outcome) -> Option<Waker> {
        let waiting = self.waiting.remove(&place)?;
        self.done.insert(place, outcome);
        Some(waiting.waker)
    }

    /// Gives the waits that ended their answers; returns their wakers.
    fn tell_ended(&mut self) -> Vec<Waker> {
        let ended = mem::take(&mut self.ended).into_iter();
        ended.filter_map(|(place, outcome)| self.end(place, outcome)).collect()
    }
}

/// Wakes verifications, without the lock of the list: a waker that is called may poll, and take it.
/// A runtime's waker may panic; the others are woken all the same.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl LeaseWait {
    /// Takes a place, unless the deadline comes before the lease can.
    pub(super) fn wait_for(&mut self, need: &Need, waker: &Waker) -> Result<(), Unavailable> {
        let now = Instant::now();
        let waker = waker.clone();
        let mut list = self.waits.lock();
        if list.is_closed {
            return Err(Unavailable::Closed);
        }
        let subject = need.account.subject();
        let due = list.queue.paused_until(&subject, now);
        if self.deadline <= now || due.is_some_and(|due| due > self.deadline) {
            let retry_after = self.waits.retry_after(&list, &subject, now);
            // A later verification finds the lease.
            list.queue.add(Wanted::for_need(need));
            self.waits.wake_fetcher(list);
            return Err(Unavailable::Quota { retry_after });
        }
        list.last += 1;
        let place = (self.deadline, list.last);
        list.waiting.insert(place, Waiting { waker, subject });
        list.queue.wait(need, place);
        self.place = Some(place);
        let is_first = list.waiting.first_key_value().is_some_and(|(first, _)| *first == place);
        self.waits.wake_fetcher(list);
        if is_first {
            self.waits.deadlines.wake();
        }
        Ok(())
    }

    /// Polls the wait. Ready once the verification must try again, or with its answer.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), Unavailable>> {
        let Some(place) = self.place else { return Poll::Ready(Ok(())) };
        if self.waits.process.is_forked() {
            return Poll::Ready(Err(Unavailable::Forked));
        }
        let mut list = self.waits.lock();
        if let Some(outcome) = list.done.remove(&place) {
            drop(list);
            self.place = None;
            self.changes += u8::from(matches!(outcome, Outcome::Changed));
            return Poll::Ready(match outcome {
                Outcome::Failed(unavailable) => Err(unavailable),
                _ if self.changes > MAX_CHANGES => {
                    Err(Unavailable::Quota { retry_after: self.waits.later() })
                }
                Outcome::TryAgain | Outcome::Changed => Ok(()),
            });
        }
        let fresh = context.waker().clone();
        let waiting = list.waiting.get_mut(&place);
        let stale = waiting.map(|waiting| mem::replace(&mut waiting.waker, fresh));
        // A runtime's waker may do anything when it is dropped.
        drop(list);
        drop(stale);
        Poll::Pending
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        let Some(place) = self.place.filter(|_| !self.waits.process.is_forked()) else { return };
        let mut list = self.waits.lock();
        let waiting = list.waiting.remove(&place);
        match &waiting {
            Some(waiting) => list.queue.leave(&waiting.subject, place),
            None => _ = list.done.remove(&place),
        }
        // A runtime's waker may do anything when it is dropped.
        drop(list);
        drop(waiting);
    }
}

impl fmt::Debug for LeaseWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWait").field("waits", &self.place.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
