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
use crate::store::engine::{Next, Signal, Worked};
use crate::store::types::verify_error::Unavailable;

/// Largest number of changes of a quota, or of its records in the index, while one verification waits.
const MAX_CHANGES: u8 = 100;

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
    /// The longest time that a verification waits.
    bound: Duration,
    /// Wakes the thread that fetches.
    pub(super) fetches: Arc<Signal>,
    /// Wakes the thread that watches the deadlines, and never calls the backend.
    pub(super) deadlines: Arc<Signal>,
}

#[derive(Debug, Default)]
struct List {
    queue: LeaseQueue,
    waiting: BTreeMap<Place, Waker>,
    done: BTreeMap<Place, Outcome>,
    /// The number of the last place.
    last: u64,
    /// The thread that fetches was woken, and has not found the queue empty since.
    is_fetching: bool,
    is_closed: bool,
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
    place: Option<(Place, UsageSubject)>,
    changes: u8,
}

impl LeaseWaits {
    pub(super) fn new(bound: Duration) -> Self {
        let (fetches, deadlines) = (Arc::default(), Arc::default());
        Self { list: Mutex::default(), bound, fetches, deadlines }
    }

    /// Begins the time of a verification that has to wait.
    pub(super) fn begin(self: &Arc<Self>) -> LeaseWait {
        let deadline = Instant::now() + self.bound;
        LeaseWait { waits: Arc::clone(self), deadline, place: None, changes: 0 }
    }

    /// Queues a lease that no verification waits for.
    pub(super) fn fetch_ahead(&self, account: Account, at: Timestamp) {
        let mut list = self.lock();
        if !list.is_closed {
            list.queue.add(Wanted::ahead(account, at));
            self.wake_fetcher(list);
        }
    }

    /// Takes up to so many leases that are due.
    pub(super) fn take(&self, limit: usize) -> Due {
        let mut list = self.lock();
        let due = list.queue.take(Instant::now(), limit);
        list.is_fetching = matches!(due, Due::Now(_));
        due
    }

    /// A lease of this quota was written.
    pub(super) fn end_pause(&self, subject: &UsageSubject) {
        self.lock().queue.end_pause(subject);
    }

    /// The backend has written.
    pub(super) fn end_busy(&self) {
        self.lock().queue.end_busy();
    }

    /// Pauses all quotas. Verifications whose deadline comes first hear when to try again. Returns
    /// whether the backend has been busy for long.
    pub(super) fn pause_all(&self, wanted: Vec<Wanted>) -> bool {
        let mut list = self.lock();
        list.queue.pause_all(wanted, Instant::now());
        list.queue.is_busy_for_long()
    }

    /// Pauses a quota, and answers those who wait for it.
    pub(super) fn fail(&self, wanted: Wanted) {
        let now = Instant::now();
        let until = self.lock().queue.fail(&wanted, now);
        let retry_after = (until - now).max(SHORTEST_RETRY);
        self.finish(wanted.waiters, Outcome::Failed(Unavailable::Quota { retry_after }));
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

    /// Ends waits, and wakes the verifications.
    pub(super) fn finish(&self, waiters: Vec<Place>, outcome: Outcome) {
        let mut list = self.lock();
        let wakers = waiters.into_iter().filter_map(|place| list.end(place, outcome));
        let wakers: Vec<_> = wakers.collect();
        drop(list);
        wake_all(wakers);
    }

    /// Answers the verifications whose deadline has come. The thread that calls this calls no
    /// backend, so nothing that a backend does delays an answer.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut list = self.lock();
        let mut wakers = Vec::new();
        let next = loop {
            match list.waiting.first_key_value() {
                Some((place, _)) if place.0 <= now => {
                    let place = *place;
                    // The places don't tell the quota. A pause of all tells when to try again.
                    let due = list.queue.busy_until(now);
                    let retry_after =
                        due.map_or(self.later(), |due| (due - now).max(SHORTEST_RETRY));
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
        let waiters = list.waiting.keys().copied().collect();
        drop(list);
        self.finish(waiters, Outcome::Failed(Unavailable::Closed));
    }

    fn wake_fetcher(&self, mut list: MutexGuard<'_, List>) {
        let was_fetching = mem::replace(&mut list.is_fetching, true);
        drop(list);
        if !was_fetching {
            self.fetches.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// Ends a wait that hasn't ended; returns its waker.
    fn end(&mut self, place: Place, outcome: Outcome) -> Option<Waker> {
        let waker = self.waiting.remove(&place)?;
        self.done.insert(place, outcome);
        Some(waker)
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
            let retry_after = due.map_or(self.waits.later(), |due| (due - now).max(SHORTEST_RETRY));
            // A later verification finds the lease.
            list.queue.add(Wanted::for_need(need));
            self.waits.wake_fetcher(list);
            return Err(Unavailable::Quota { retry_after });
        }
        list.last += 1;
        let place = (self.deadline, list.last);
        list.waiting.insert(place, waker);
        list.queue.wait(need, place);
        self.place = Some((place, subject));
        let is_first = list.waiting.first_key_value().is_some_and(|(first, _)| *first == place);
        self.waits.wake_fetcher(list);
        if is_first {
            self.waits.deadlines.wake();
        }
        Ok(())
    }

    /// Polls the wait. Ready once the verification must try again, or with its answer.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), Unavailable>> {
        let Some((place, _)) = self.place else { return Poll::Ready(Ok(())) };
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
        let stale = list.waiting.get_mut(&place).map(|waker| mem::replace(waker, fresh));
        // A runtime's waker may do anything when it is dropped.
        drop(list);
        drop(stale);
        Poll::Pending
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        let Some((place, subject)) = self.place else { return };
        let mut list = self.waits.lock();
        let waker = list.waiting.remove(&place);
        list.done.remove(&place);
        list.queue.leave(&subject, place);
        drop(list);
        drop(waker);
    }
}

impl fmt::Debug for LeaseWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWait").field("waits", &self.place.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::id::{KeyId, OwnerId};
    use crate::store::index::Whose;

    const BOUND: Duration = Duration::from_secs(3_600);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("injected");
        }
    }

    fn need(id: u128) -> Need {
        let holder = Whose::Key(KeyId::from_u128(id), None);
        let account = Account { owner: OwnerId::new("org").unwrap(), holder };
        Need { account, at: Timestamp::MIN, uses: 1 }
    }

    fn wait(waits: &Arc<LeaseWaits>, id: u128, waker: &Waker) -> LeaseWait {
        let mut wait = waits.begin();
        wait.wait_for(&need(id), waker).unwrap();
        wait
    }

    fn poll(wait: &mut LeaseWait, waker: &Waker) -> Poll<Result<(), Unavailable>> {
        wait.poll(&Context::from_waker(waker))
    }

    /// Each is answered at its deadline, in their order, with when to try again. The time is injected.
    #[test]
    fn each_is_answered_at_its_deadline() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut all: Vec<_> = (0..5).map(|id| wait(&waits, id, &waker)).collect();
        for at in 0..all.len() {
            let deadline = all[at].deadline;
            let next = waits.expire(deadline - Duration::from_nanos(1));
            assert_eq!((next, woken.0.load(Ordering::SeqCst)), (Some(deadline), at));
            let next = all.get(at + 1).map(|wait| wait.deadline);
            assert_eq!(waits.expire(deadline), next);
            let failed = Err(Unavailable::Quota { retry_after: LONGEST_RETRY });
            assert_eq!(poll(&mut all[at], &waker), Poll::Ready(failed));
            assert!(all[at + 1..].iter_mut().all(|wait| poll(wait, &waker).is_pending()));
        }
        // When its time is over, it isn't begun again.
        let mut late = waits.begin();
        late.deadline = Instant::now();
        assert!(late.wait_for(&need(1), &waker).is_err());
    }

    /// A busy backend is tried again at a time that all who give up hear.
    #[test]
    fn who_gives_up_hears_when_to_try_again() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let waker = Waker::noop();
        let mut first = wait(&waits, 1, waker);
        let Due::Now(mut wanted) = waits.take(9) else { panic!("nothing") };
        // Each pause is longer than the one before.
        while !waits.pause_all(std::mem::take(&mut wanted)) {}
        waits.expire(first.deadline);
        let Poll::Ready(Err(Unavailable::Quota { .. })) = poll(&mut first, waker) else {
            panic!("no answer")
        };
        // One whose time is over before then isn't kept waiting.
        let mut short = waits.begin();
        short.deadline = Instant::now() + Duration::from_millis(200);
        let Err(Unavailable::Quota { retry_after }) = short.wait_for(&need(2), waker) else {
            panic!("no answer")
        };
        assert!(retry_after < BOUND);
    }

    /// A runtime's waker that panics keeps no other from being woken.
    #[test]
    fn a_waker_that_panics_harms_nobody() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let woken = Arc::<Woken>::default();
        let good = Waker::from(Arc::clone(&woken));
        let bad = Waker::from(Arc::new(Panics));
        let mut all: Vec<_> =
            [&bad, &good, &bad, &good].into_iter().map(|waker| wait(&waits, 1, waker)).collect();
        let Due::Now(mut wanted) = waits.take(9) else { panic!("nothing") };
        waits.finish(wanted.remove(0).waiters, Outcome::TryAgain);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert!(all.iter_mut().all(|wait| poll(wait, &good) == Poll::Ready(Ok(()))));
    }

    /// The task may move to another thread: its last waker counts. A wait that ended is no place in
    /// the list, and neither is one that was given up.
    #[test]
    fn the_last_waker_is_woken_and_no_place_is_left() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let (old, new) = (Arc::<Woken>::default(), Arc::<Woken>::default());
        let mut moved = wait(&waits, 1, &Waker::from(Arc::clone(&old)));
        let new_waker = Waker::from(Arc::clone(&new));
        assert!(poll(&mut moved, &new_waker).is_pending());
        drop(wait(&waits, 2, &new_waker));
        let Due::Now(wanted) = waits.take(9) else { panic!("nothing") };
        assert_eq!(wanted.len(), 1, "the other was given up");
        let waiters = wanted.into_iter().flat_map(|wanted| wanted.waiters).collect();
        waits.finish(waiters, Outcome::Changed);
        assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(poll(&mut moved, &new_waker), Poll::Ready(Ok(())));
        let list = waits.lock();
        assert!(list.waiting.is_empty() && list.done.is_empty());
    }

    /// A quota that changes all the time keeps no verification waiting for ever.
    #[test]
    fn changes_come_to_an_end() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let waker = Waker::noop();
        let mut wait = waits.begin();
        let mut changes = 0;
        loop {
            wait.wait_for(&need(1), waker).unwrap();
            let Due::Now(mut wanted) = waits.take(9) else { panic!("nothing") };
            waits.finish(wanted.remove(0).waiters, Outcome::Changed);
            changes += 1;
            if poll(&mut wait, waker) != Poll::Ready(Ok(())) {
                break;
            }
        }
        assert_eq!(changes, MAX_CHANGES + 1);
    }

    #[test]
    fn closing_answers_all_and_those_who_come_later() {
        let waits = Arc::new(LeaseWaits::new(BOUND));
        let waker = Waker::noop();
        let mut first = wait(&waits, 1, waker);
        waits.close();
        let closed = Unavailable::Closed;
        assert_eq!(poll(&mut first, waker), Poll::Ready(Err(closed)));
        assert_eq!(waits.begin().wait_for(&need(1), waker), Err(closed));
        waits.fetch_ahead(need(3).account, Timestamp::MIN);
        assert_eq!(waits.expire(Instant::now() + BOUND * 2), None);
    }
}
