//! Waits alone, without a store. Time is injected.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::id::{KeyId, OwnerId};
use crate::store::types::reserved::Whose;

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

fn finish(waits: &LeaseWaits, waiters: impl IntoIterator<Item = Place>, outcome: Outcome) {
    waits.end(waiters, outcome);
    waits.wake_ended();
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
    finish(&waits, wanted.remove(0).waiters, Outcome::TryAgain);
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
    finish(&waits, wanted.into_iter().flat_map(|wanted| wanted.waiters), Outcome::Changed);
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
        finish(&waits, wanted.remove(0).waiters, Outcome::Changed);
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

/// While a write hangs, one quota may be asked for again and again.
#[test]
fn what_is_asked_for_ahead_takes_no_more_memory_than_the_quotas_do() {
    let waits = LeaseWaits::new(BOUND);
    for at in 0..5 * MOST_ASKED as u128 {
        waits.fetch_ahead(need(at % 3).account, Timestamp::MIN);
    }
    assert!(waits.lock_asked().len() <= MOST_ASKED);
    let Due::Now(wanted) = waits.take(9) else { panic!("nothing") };
    assert_eq!(wanted.len(), 3);
}

/// While a write hangs, verifications give up or are dropped, of the quota that is written and of
/// others. Of places nothing stays, of quotas only those that a later verification will need.
#[test]
fn those_who_have_gone_leave_nothing_behind() {
    let waits = Arc::new(LeaseWaits::new(BOUND));
    let waker = Waker::noop();
    let sizes = |waits: &LeaseWaits| {
        let list = waits.lock();
        (list.waiting.len(), list.done.len(), list.queue.sizes())
    };
    let written = wait(&waits, 1, waker);
    let Due::Now(hangs) = waits.take(9) else { panic!("nothing") };
    // Dropped, in each order: nothing is needed.
    for round in 0..50 {
        let mut all: Vec<_> = (0..4).map(|at| wait(&waits, at % 2 + 1, waker)).collect();
        all.rotate_left(round % 4);
        drop(all);
    }
    assert_eq!(sizes(&waits), (1, 0, (0, 0)));
    // One gives up while another is dropped: what was asked for stays, without a place.
    for _ in 0..50 {
        let mut all: Vec<_> = (1..4).map(|id| wait(&waits, id, waker)).collect();
        waits.expire(all[2].deadline);
        assert!(all[..2].iter_mut().all(|wait| poll(wait, waker).is_ready()));
        drop(wait(&waits, 3, waker));
        // The last one isn't polled any more.
    }
    drop(written);
    assert_eq!(sizes(&waits), (0, 0, (3, 0)));
    // The write fails: those that it was for are gone.
    waits.pause_all(hangs);
    assert_eq!(sizes(&waits), (0, 0, (3, 0)));
}

/// A verification that gives up hears when its own quota is tried next.
#[test]
fn who_gives_up_hears_when_its_own_quota_is_tried_next() {
    let waits = Arc::new(LeaseWaits::new(BOUND));
    let waker = Waker::noop();
    let subject = need(1).account.subject();
    let mut all = [wait(&waits, 1, waker), wait(&waits, 2, waker)];
    let (last, pause) = (all[1].deadline, Duration::from_millis(10));
    // Paused shortly before the deadlines: by the time that is injected.
    waits.lock().queue.pause(subject, last);
    waits.expire(last);
    let answer = |retry_after| Poll::Ready(Err(Unavailable::Quota { retry_after }));
    assert_eq!(all.each_mut().map(|one| poll(one, waker)), [pause, LONGEST_RETRY].map(answer));
}

/// The write that comes before a wait is told its end may hang: the deadline still counts.
#[test]
fn a_deadline_counts_until_the_end_is_told() {
    let waits = Arc::new(LeaseWaits::new(BOUND));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut all = [1, 2].map(|id| wait(&waits, id, &waker));
    let place = all[0].place.unwrap();
    waits.end([place], Outcome::TryAgain);
    assert!(all.iter_mut().all(|wait| poll(wait, &waker).is_pending()));
    assert_eq!(waits.lock().waiting.first_key_value().map(|(first, _)| *first), Some(place));
    // By then it is known to have ended well.
    waits.expire(all[0].deadline);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(poll(&mut all[0], &waker), Poll::Ready(Ok(())));
    assert!(poll(&mut all[1], &waker).is_pending());
}
