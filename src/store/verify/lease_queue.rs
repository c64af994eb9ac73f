//! The leases that are to be fetched, in their order, and the pauses after failures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::store::types::reserved::Whose;

/// Pause after the first failure; doubled after each later one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The holder of a quota that is spent.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Account {
    pub(in crate::store) owner: OwnerId,
    pub(in crate::store) holder: Whose,
}

/// A verification's need of a lease.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Need {
    pub(in crate::store) account: Account,
    /// The time by which the verification judges.
    pub(in crate::store) at: Timestamp,
    /// The uses that it takes; 0 if it only looks.
    pub(in crate::store) uses: u32,
}

/// The place of a waiting verification: its deadline, and a number of its own.
pub(super) type Place = (Instant, u64);

/// A lease that is to be fetched.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) account: Account,
    pub(super) at: Timestamp,
    /// The uses of the waiting verification that takes most, and of the one that takes least; `None`
    /// if none waits to take some.
    pub(super) uses: Option<(u32, u32)>,
    /// Whether the next lease was asked for before the last one ends.
    pub(super) is_ahead: bool,
    /// Whether it is fetched for later verifications too, after one that didn't wait to the end.
    is_kept: bool,
    pub(super) waiters: BTreeSet<Place>,
}

/// The turn of a quota: those that a verification has waited for come first, in their order. So
/// `false` is the better first part.
type Turn = (bool, u64);

/// Leases to be fetched, at most one for each quota. Verifications that wait come first.
#[derive(Debug, Default)]
pub(super) struct LeaseQueue {
    wanted: BTreeMap<UsageSubject, (Turn, Wanted)>,
    /// The quotas that are wanted, by their turns.
    order: BTreeMap<Turn, UsageSubject>,
    /// The number of the last turn.
    last_turn: u64,
    /// A failure pauses its own quota; a busy backend pauses all.
    pauses: BTreeMap<UsageSubject, Pause>,
    busy: Option<Pause>,
}

/// The leases to be fetched now.
#[derive(Debug)]
pub(super) enum Due {
    Now(Vec<Wanted>),
    /// None; the next ones are due then, if any are.
    Later(Option<Instant>),
    /// None until then: all are paused.
    Paused(Instant),
}

/// A pause after a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    until: Instant,
    length: Duration,
}

impl Account {
    pub(in crate::store) fn subject(&self) -> UsageSubject {
        match self.holder {
            Whose::Key(id, _) => UsageSubject::Key(id),
            Whose::Owner(_) => UsageSubject::Owner(self.owner),
        }
    }
}

impl Wanted {
    fn new(account: Account, at: Timestamp) -> Self {
        let waiters = BTreeSet::new();
        Self { account, at, uses: None, is_ahead: false, is_kept: false, waiters }
    }

    /// A lease that no verification waits for.
    pub(super) fn ahead(account: Account, at: Timestamp) -> Self {
        Self { is_ahead: true, ..Self::new(account, at) }
    }

    /// The lease that a verification needs, for a later one.
    pub(super) fn for_need(need: &Need) -> Self {
        let uses = (need.uses > 0).then_some((need.uses, need.uses));
        Self { uses, is_kept: true, ..Self::new(need.account, need.at) }
    }

    /// Removes the places of verifications that wait no more.
    fn keep_waiting(&mut self, still_waits: impl Fn(&Place) -> bool) {
        let before = self.waiters.len();
        self.waiters.retain(still_waits);
        self.is_kept |= self.waiters.len() < before;
    }

    fn merge(&mut self, other: Self) {
        self.at = self.at.max(other.at);
        self.uses = match (self.uses, other.uses) {
            (Some((most, least)), Some((more, less))) => Some((most.max(more), least.min(less))),
            (own, other) => own.or(other),
        };
        self.is_ahead |= other.is_ahead;
        self.is_kept |= other.is_kept;
        self.waiters.extend(other.waiters);
    }
}

impl Pause {
    fn after(before: Option<Self>, now: Instant) -> Self {
        let recent = before.filter(|before| now < before.until + LONGEST_PAUSE);
        let length = recent.map_or(FIRST_PAUSE, |before| (before.length * 2).min(LONGEST_PAUSE));
        Self { until: now + length, length }
    }

    fn end(pause: Option<&Self>, now: Instant) -> Option<Instant> {
        pause.map(|pause| pause.until).filter(|until| *until > now)
    }
}

impl LeaseQueue {
    /// Adds a verification's need.
    pub(super) fn wait(&mut self, need: &Need, place: Place) {
        let waiters = BTreeSet::from([place]);
        self.add(Wanted { waiters, is_kept: false, ..Wanted::for_need(need) });
    }

    /// Gives a place up. Without one there is no need any more, unless the lease was asked for ahead,
    /// or for later ones.
    pub(super) fn leave(&mut self, subject: &UsageSubject, place: Place) {
        let Some((turn, queued)) = self.wanted.get_mut(subject) else { return };
        if !queued.waiters.remove(&place) || !queued.waiters.is_empty() || queued.is_kept {
            return;
        }
        queued.uses = None;
        if !queued.is_ahead {
            self.order.remove(turn);
            self.wanted.remove(subject);
        }
    }

    /// Removes the place of a verification that waits no longer. The need stays, so that a later
    /// one finds the lease.
    pub(super) fn expire(&mut self, subject: &UsageSubject, place: Place) {
        if let Some((_, queued)) = self.wanted.get_mut(subject) {
            queued.is_kept |= queued.waiters.remove(&place);
        }
    }

    /// Adds what is wanted to what is queued.
    pub(super) fn add(&mut self, wanted: Wanted) {
        let subject = wanted.account.subject();
        self.last_turn += 1;
        let turn = (wanted.waiters.is_empty(), self.last_turn);
        match self.wanted.get_mut(&subject) {
            Some((before, queued)) => {
                queued.merge(wanted);
                if before.0 <= turn.0 {
                    return;
                }
                self.order.remove(before);
                *before = turn;
            }
            None => _ = self.wanted.insert(subject, (turn, wanted)),
        }
        self.order.insert(turn, subject);
    }

    /// Takes up to so many leases that are due.
    pub(super) fn take(&mut self, now: Instant, limit: usize) -> Due {
        self.pauses.retain(|_, pause| now < pause.until + LONGEST_PAUSE);
        if let Some(until) = self.busy_until(now) {
            return Due::Paused(until);
        }
        let (mut turns, mut next) = (Vec::new(), None);
        for (turn, subject) in &self.order {
            match Pause::end(self.pauses.get(subject), now) {
                Some(until) => next = Some(next.map_or(until, |next: Instant| next.min(until))),
                None if turns.len() == limit => break,
                None => turns.push(*turn),
            }
        }
        if turns.is_empty() {
            return Due::Later(next);
        }
        let taken = turns.iter().filter_map(|turn| self.wanted.remove(&self.order.remove(turn)?));
        Due::Now(taken.map(|(_, wanted)| wanted).collect())
    }

    /// Returns when a lease of this quota is tried next, if that is paused.
    pub(super) fn paused_until(&self, subject: &UsageSubject, now: Instant) -> Option<Instant> {
        Pause::end(self.pauses.get(subject), now).max(self.busy_until(now))
    }

    /// Pauses a quota whose lease couldn't be fetched; returns until when. One without a waiter
    /// is tried again then, until the pauses are longest.
    pub(super) fn fail(&mut self, wanted: &Wanted, now: Instant) -> Instant {
        let pause = self.pause(wanted.account.subject(), now);
        if wanted.is_ahead && pause.length < LONGEST_PAUSE {
            self.add(Wanted::ahead(wanted.account, wanted.at));
        }
        pause.until
    }

    /// Pauses a quota after a failure.
    pub(super) fn pause(&mut self, subject: UsageSubject, now: Instant) -> Pause {
        let pause = Pause::after(self.pauses.get(&subject).copied(), now);
        self.pauses.insert(subject, pause);
        pause
    }

    /// Pauses all quotas, since another process has the database. What is wanted stays queued, with
    /// the places of those who still wait.
    pub(super) fn pause_all(
        &mut self,
        wanted: Vec<Wanted>,
        now: Instant,
        still_waits: impl Fn(&Place) -> bool,
    ) {
        self.busy = Some(Pause::after(self.busy, now));
        for mut wanted in wanted {
            wanted.keep_waiting(&still_waits);
            self.add(wanted);
        }
    }

    /// Returns when a busy backend is tried next.
    pub(super) fn busy_until(&self, now: Instant) -> Option<Instant> {
        Pause::end(self.busy.as_ref(), now)
    }

    /// The backend has written.
    pub(super) fn end_busy(&mut self) {
        self.busy = None;
    }

    /// Returns the number of quotas that are wanted, and of places.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        assert_eq!(self.order.len(), self.wanted.len());
        let places = self.wanted.values().map(|(_, wanted)| wanted.waiters.len());
        (self.wanted.len(), places.sum())
    }

    /// Whether leases of a quota have failed again and again, and none came since.
    pub(super) fn is_any_failing(&self) -> bool {
        self.pauses.values().any(|pause| pause.length == LONGEST_PAUSE)
    }

    /// Whether the backend has been busy for long.
    pub(super) fn is_busy_for_long(&self) -> bool {
        self.busy.is_some_and(|busy| busy.length == LONGEST_PAUSE)
    }

    /// A lease of this quota was written.
    pub(super) fn end_pause(&mut self, subject: &UsageSubject) {
        self.pauses.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyId;

    fn account(id: u128) -> Account {
        let holder = Whose::Key(KeyId::from_u128(id), None);
        Account { owner: OwnerId::new("org").unwrap(), holder }
    }

    fn need(id: u128, uses: u32) -> Need {
        Need { account: account(id), at: Timestamp::MIN, uses }
    }

    fn ahead(id: u128) -> Wanted {
        Wanted::ahead(account(id), Timestamp::MIN)
    }

    /// The quotas that are due, with the greatest and smallest need, and the number of waiters.
    type Taken = Vec<(u128, Option<(u32, u32)>, usize)>;

    fn taken(due: &Due) -> Taken {
        let Due::Now(wanted) = due else { return Vec::new() };
        let id = |wanted: &Wanted| match wanted.account.subject() {
            UsageSubject::Key(id) => id.as_u128(),
            UsageSubject::Owner(_) => 0,
        };
        wanted.iter().map(|wanted| (id(wanted), wanted.uses, wanted.waiters.len())).collect()
    }

    /// One lease serves all who wait for it. Those with a waiter come first, each in the
    /// order in which they were asked for.
    #[test]
    fn needs_of_one_quota_are_one_and_come_before_what_nobody_waits_for() {
        let (mut queue, now) = (LeaseQueue::default(), Instant::now());
        queue.add(ahead(9));
        queue.add(ahead(4));
        for (at, (id, uses)) in
            [(7, 3), (2, 5), (7, 20_000), (9, 0), (7, 5), (2, 0)].into_iter().enumerate()
        {
            queue.wait(&need(id, uses), (now, at as u64));
        }
        queue.add(ahead(7));
        let first = queue.take(now, 2);
        assert_eq!(taken(&first), [(7, Some((20_000, 3)), 3), (2, Some((5, 5)), 2)]);
        let Due::Now(wanted) = first else { panic!("nothing") };
        assert!(wanted[0].is_ahead && !wanted[1].is_ahead);
        assert_eq!(taken(&queue.take(now, 9)), [(9, None, 1), (4, None, 0)]);
        assert!(matches!(queue.take(now, 9), Due::Later(None)));
    }

    #[test]
    fn a_failure_pauses_its_own_quota_and_a_busy_backend_all() {
        let (mut queue, start) = (LeaseQueue::default(), Instant::now());
        let of = |id| UsageSubject::Key(KeyId::from_u128(id));
        let mut now = start;
        for round in 0..8 {
            queue.wait(&need(1, 1), (now, 0));
            queue.wait(&need(2, 1), (now, 1));
            let Due::Now(wanted) = queue.take(now, 9) else { panic!("nothing in {round}") };
            let until = queue.fail(&wanted[0], now);
            assert_eq!(until - now, (FIRST_PAUSE * (1 << round)).min(LONGEST_PAUSE));
            queue.wait(&need(1, 1), (now, 2));
            queue.wait(&need(2, 1), (now, 3));
            assert_eq!(queue.paused_until(&of(1), now), Some(until));
            assert_eq!(queue.paused_until(&of(2), now), None);
            assert_eq!(taken(&queue.take(now, 9)), [(2, Some((1, 1)), 1)]);
            assert!(matches!(queue.take(now, 9), Due::Later(Some(next)) if next == until));
            now = until;
        }
        assert!(queue.is_any_failing());
        let Due::Now(wanted) = queue.take(now, 9) else { panic!("nothing") };
        queue.end_pause(&of(1));
        assert!(!queue.is_any_failing());
        queue.pause_all(wanted, now, |_| true);
        queue.wait(&need(2, 1), (now, 3));
        let until = now + FIRST_PAUSE;
        assert!(matches!(queue.take(now, 9), Due::Paused(end) if end == until));
        assert_eq!(queue.paused_until(&of(3), now), Some(until));
        assert_eq!(taken(&queue.take(until, 9)), [(1, Some((1, 1)), 1), (2, Some((1, 1)), 1)]);
        queue.end_busy();
        assert_eq!(queue.paused_until(&of(3), now), None);
    }

    /// A lease without a waiter is tried again after a failure, but not for ever.
    #[test]
    fn a_lease_ahead_is_tried_again() {
        let (mut queue, mut now) = (LeaseQueue::default(), Instant::now());
        queue.add(ahead(1));
        let mut tries = 0;
        while let Due::Now(wanted) = queue.take(now, 9) {
            now = queue.fail(&wanted[0], now);
            tries += 1;
        }
        assert_eq!(tries, 7);
    }
}
